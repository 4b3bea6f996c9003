"""Admission of a round: each bad submission has its reason, and costs the others nothing."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from hivetune.adapter import FILE_NAME, Stamp, write_adapter
from hivetune.commitments import SubmissionPointer, pack
from hivetune.dora import Factors
from hivetune.model import BaseModel, digest_of
from hivetune.releases import Located
from hivetune.rounds import round_by_id
from tests.conftest import (
    locate,
    make_layout,
    make_plan,
    make_release,
    make_scoring,
    random_factors,
    untrained_layer,
    weights_of,
)
from tests.test_submissions import OnChain, Remote, Shelf
from validator.intake import Candidate, Intake

NOW = round_by_id(make_plan(), 2)
SIZE = 0.02  # of the random deltas: about as far as an honest round goes


class Fair:
    """A Hub and a chain for one round on the llama base."""

    def __init__(self, folder: Path, base: BaseModel) -> None:
        self.weights = weights_of(base)
        self.located: Located = locate(make_release(make_layout(base)))
        self.shelf = Shelf(folder / "hub")
        self.commitments: dict[str, OnChain] = {}
        self._folder = folder

    def enter(
        self, hotkey: str, factors: Mapping[str, Factors], *, block: int = NOW.first_block, stamp: Stamp | None = None
    ) -> None:
        """Reveal a file and commit to it."""
        file = self.shelf.folder / hotkey / "x" / "round-000002" / FILE_NAME
        file.parent.mkdir(parents=True)
        own = Stamp(hotkey=hotkey, round_id=2, release_sha256=self.located.sha256)
        digest = write_adapter(file, self.located.release.layout, stamp or own, factors)
        pointer = SubmissionPointer(
            round_id=2, release_prefix=self.located.sha256[:16], file_sha256=digest, repo=f"{hotkey}/x"
        )
        self.commitments[hotkey] = OnChain(block, pack(pointer))

    def honest(self, hotkey: str, seed: int, *, block: int = NOW.first_block) -> None:
        self.enter(hotkey, random_factors(self.weights, seed=seed, size=SIZE), block=block)

    def collect(self) -> dict[str, Candidate]:
        intake = Intake(self.located, NOW, self.shelf, self.weights, self._folder / "inbox", beacon="")
        return {candidate.hotkey: candidate for candidate in intake.collect(self.commitments)}

    def reasons(self) -> dict[str, str]:
        """Why each was rejected; an empty reason for the admitted."""
        return {
            hotkey: candidate.rejection.reason if candidate.rejection else ""
            for hotkey, candidate in self.collect().items()
        }


@pytest.fixture
def fair(tmp_path: Path, llama: BaseModel) -> Fair:
    """Three honest miners."""
    fair = Fair(tmp_path, llama)
    for index, hotkey in enumerate(("a1", "b2", "c3")):
        fair.honest(hotkey, seed=index)
    return fair


HONEST = {"a1": "", "b2": "", "c3": ""}


def scaled(factors: Mapping[str, Factors], product: float, magnitude: float = 1.0) -> dict[str, Factors]:
    return {
        name: Factors(
            down_RI=layer.down_RI * product, up_OR=layer.up_OR * product, magnitude_O=layer.magnitude_O * magnitude
        )
        for name, layer in factors.items()
    }


def test_honest_submissions_are_admitted_in_hotkey_order(fair: Fair) -> None:
    fair.commitments = dict(reversed(fair.commitments.items()))
    found = fair.collect()
    assert list(found) == ["a1", "b2", "c3"]
    for hotkey, candidate in found.items():
        assert candidate.rejection is None
        assert candidate.adapter is not None
        assert (candidate.adapter.hotkey, candidate.repo, candidate.revision) == (hotkey, f"{hotkey}/x", "f" * 40)
        assert candidate.relative_norm is not None
        assert 0.001 < candidate.relative_norm < 0.2


def test_admission_leaves_the_base_alone(fair: Fair) -> None:
    before = digest_of(fair.weights)
    fair.collect()
    assert digest_of(fair.weights) == before


def test_every_kind_of_bad_entry_at_once_costs_the_honest_nothing(fair: Fair) -> None:
    random = random_factors(fair.weights, seed=9, size=SIZE)
    fair.honest("late", seed=20, block=NOW.deadline + 1)
    fair.honest("old", seed=21, block=NOW.first_block - 1)
    fair.honest("unrevealed", seed=22)
    (fair.shelf.folder / "unrevealed" / "x" / "round-000002" / FILE_NAME).unlink()
    fair.commitments["garbage"] = OnChain(NOW.first_block, b"\xff" * 128)
    fair.commitments["nothing"] = OnChain(NOW.first_block, b"")
    fair.enter("robber", random, stamp=Stamp(hotkey="victim", round_id=2, release_sha256=fair.located.sha256))
    fair.enter("lazy", {name: untrained_layer(weight_OI) for name, weight_OI in fair.weights.items()})
    fair.enter("loud", scaled(random, 1.0, magnitude=1.6))
    fair.enter("louder", scaled(random, 1.0, magnitude=50.0))
    nan = random_factors(fair.weights, seed=10, size=SIZE)
    next(iter(nan.values())).up_OR[0, 0] = math.nan
    fair.enter("nan", nan)
    fair.honest("a-copy", seed=1, block=NOW.deadline)
    fair.honest("liar", seed=23)
    fair.shelf.said["liar/x"] = Remote(size=1, sha256="0" * 64)
    assert fair.reasons() == HONEST | {
        "late": "late",
        "old": "too_early",
        "unrevealed": "not_revealed",
        "garbage": "bad_commitment",
        "nothing": "bad_commitment",
        "robber": "wrong_owner",
        "lazy": "untrained",
        "loud": "norm_outlier",
        "louder": "norm_too_large",
        "nan": "not_finite",
        "a-copy": "duplicate",
        "liar": "wrong_size",
    }


def test_a_rejected_candidate_still_says_what_it_promised(fair: Fair) -> None:
    fair.enter("lazy", {name: untrained_layer(weight_OI) for name, weight_OI in fair.weights.items()})
    fair.honest("late", seed=20, block=NOW.deadline + 1)
    found = fair.collect()
    assert found["lazy"].repo == "lazy/x"
    assert len(found["lazy"].file_sha256) == 64
    assert found["lazy"].adapter is None
    assert found["late"].repo == ""


def test_ten_times_the_norm_is_an_outlier(fair: Fair) -> None:
    fair.enter("z9", random_factors(fair.weights, seed=9, size=10 * SIZE))
    assert fair.reasons() == HONEST | {"z9": "norm_outlier"}
    assert fair.collect()["z9"].adapter is None


def test_a_delta_larger_than_the_base_is_too_large(fair: Fair) -> None:
    fair.enter("z9", random_factors(fair.weights, seed=9, size=60 * SIZE))
    assert fair.reasons() == HONEST | {"z9": "norm_too_large"}


def test_the_outlier_limit_is_the_one_of_the_release(fair: Fair) -> None:
    fair.enter("z9", random_factors(fair.weights, seed=9, size=10 * SIZE))
    release = make_release(fair.located.release.layout, scoring=make_scoring(max_norm_ratio=20.0))
    fair.located = Located(
        release=release, sha256=fair.located.sha256, repo=fair.located.repo, revision=fair.located.revision
    )
    assert fair.reasons() == HONEST | {"z9": ""}


def test_a_crowd_of_small_deltas_makes_no_outliers_of_the_others(fair: Fair) -> None:
    """One delta in many files owns the median of norms, and would have everybody else rejected."""
    for part in range(7):
        fair.enter(f"part-{part}", random_factors(fair.weights, seed=20 + part, size=SIZE / 20))
    assert [fair.reasons()[hotkey] for hotkey in HONEST] == [""] * 3


@pytest.mark.parametrize(("product", "magnitude"), [(1e18, 1.0), (1e25, 1.0), (1e37, 1.0), (1e37, 1e37), (1e37, 0.0)])
def test_numbers_that_overflow_are_rejected_and_spoil_nobody_elses_measure(
    fair: Fair, product: float, magnitude: float
) -> None:
    """Finite factors whose product is not: the norm comes out as nan, which passes every comparison with a limit."""
    fair.enter("z9", scaled(random_factors(fair.weights, seed=9), product, magnitude))
    found = fair.reasons()
    assert found.pop("z9") in ("norm_too_large", "norm_outlier", "not_finite", "ill_conditioned")
    assert found == HONEST


def test_the_oldest_commitment_owns_the_tensors(fair: Fair) -> None:
    fair.honest("0-copy", seed=1, block=NOW.first_block + 1)
    found = fair.collect()
    rejection = found["0-copy"].rejection
    assert rejection is not None
    assert rejection.reason == "duplicate"
    assert "b2" in rejection.detail
    assert found["b2"].rejection is None


def test_in_one_block_exactly_one_of_two_twins_is_kept(fair: Fair) -> None:
    fair.honest("0-copy", seed=1)
    reasons = fair.reasons()
    assert sorted([reasons["0-copy"], reasons["b2"]]) == ["", "duplicate"]
    smaller = min(("0-copy", "b2"), key=lambda hotkey: fair.collect()[hotkey].file_sha256)
    assert reasons[smaller] == ""


def test_a_rejected_original_does_not_own_its_tensors(fair: Fair) -> None:
    """A late commitment never becomes public property of the one who was in time."""
    fair.honest("late", seed=30, block=NOW.deadline + 1)
    fair.honest("in-time", seed=30, block=NOW.deadline)
    assert fair.reasons() == HONEST | {"late": "late", "in-time": ""}


def test_a_copy_with_one_changed_number_is_a_near_copy(fair: Fair) -> None:
    factors = random_factors(fair.weights, seed=1, size=SIZE)
    next(iter(factors.values())).up_OR[0, 0] += 1e-3
    fair.enter("near", factors, block=NOW.deadline)
    assert fair.reasons() == HONEST | {"near": "near_copy"}


def test_nobody_at_all_is_an_empty_round(fair: Fair) -> None:
    fair.commitments = {}
    assert fair.collect() == {}


def test_a_round_of_bad_entries_alone_admits_nobody(fair: Fair) -> None:
    fair.commitments = {hotkey: OnChain(NOW.deadline + 1, b"") for hotkey in ("x", "y")}
    assert fair.reasons() == {"x": "bad_commitment", "y": "bad_commitment"}


def test_rejected_files_leave_the_disk(fair: Fair, tmp_path: Path) -> None:
    fair.enter("loud", scaled(random_factors(fair.weights, seed=9), 1.0, magnitude=50.0))
    fair.collect()
    assert sorted(path.stem for path in (tmp_path / "inbox").iterdir()) == ["a1", "b2", "c3"]


def test_the_norm_is_measured_against_the_adapted_weights(fair: Fair) -> None:
    base = torch.sqrt(
        sum((weight_OI.double().square().sum() for weight_OI in fair.weights.values()), torch.tensor(0.0))
    )
    adapter = fair.collect()["a1"].adapter
    assert adapter is not None
    assert fair.collect()["a1"].relative_norm == pytest.approx(adapter.norm / float(base))
