"""The gate and the pay on briefly trained adapters: cheating does not pay, and one cheat costs nobody else."""

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivetune.dora import Factors
from hivetune.errors import RejectedSubmission
from hivetune.evaluation import Batch, losses
from hivetune.merging import Adapter
from hivetune.model import BaseModel, digest_of
from hivetune.records import ScoringPlan
from hivetune.rounds import round_by_id
from hivetune.statistics import Estimate
from tests.conftest import (
    admitted,
    locate,
    make_layout,
    make_plan,
    make_release,
    make_scoring,
    random_factors,
    untrained_layer,
    weights_of,
)
from validator.intake import Candidate
from validator.receipts import Registration, make_receipt
from validator.scoring import Scorer, Scores, batch_tokens, completeness_error, least_credit, pay, to_drop

HONEST = ("honest-0", "honest-1", "honest-2")


def scorer_of(base: BaseModel, batches: Sequence[Batch], plan: ScoringPlan | None = None) -> Scorer:
    return Scorer(base, weights_of(base), batches, 2.0, plan or make_scoring(), lambda _activity: None)


@pytest.fixture(scope="module")
def scorer(llama: BaseModel, batches: list[Batch]) -> Scorer:
    return scorer_of(llama, batches)


@pytest.fixture(scope="module")
def fair_pay(scorer: Scorer, honest: list[Adapter]) -> dict[str, float]:
    """What the honest earn among themselves."""
    return pay(scorer.score(honest))


def reversed_of(base: BaseModel, adapter: Adapter) -> Adapter:
    """An adapter that goes about as far the other way: B with the other sign."""
    weights = weights_of(base)
    factors = {
        name: Factors(
            down_RI=layer.down_RI,
            up_OR=-layer.up_OR,
            magnitude_O=(2 * weights[name].norm(dim=1) - layer.magnitude_O).clamp_min(0),
        )
        for name, layer in adapter.factors.items()
    }
    return admitted(base, f"reversed-{adapter.hotkey}", factors)


def noise(base: BaseModel, seed: int, size: float = 0.03) -> Adapter:
    """A free rider who never trained."""
    return admitted(base, f"noise-{seed:03d}", random_factors(weights_of(base), seed=100 + seed, size=size))


def cancelling(base: BaseModel, adapter: Adapter, size: float) -> Adapter:
    """Two huge rank-one terms that cancel in exact arithmetic, but not in the same way in every formula."""
    generator = torch.Generator().manual_seed(0)
    factors = {}
    for name, layer in adapter.factors.items():
        down_RI, up_OR = layer.down_RI.clone(), layer.up_OR.clone()
        down_RI[2:] = size * down_RI[2]
        up_OR[:, 2] = size * torch.randn(len(up_OR), generator=generator)
        up_OR[:, 3] = -up_OR[:, 2]
        factors[name] = Factors(down_RI=down_RI, up_OR=up_OR, magnitude_O=layer.magnitude_O)
    return admitted(base, "z-cancelling", factors)


def with_entry(scorer: Scorer, honest: list[Adapter], *others: Adapter) -> Scores:
    return scorer.score(sorted([*honest, *others], key=lambda adapter: adapter.hotkey))


def assert_close_pay(found: dict[str, float], expected: dict[str, float], rel: float = 0.02) -> None:
    assert {hotkey: found.get(hotkey, 0.0) for hotkey in expected} == pytest.approx(expected, rel=rel)


def test_the_honest_are_all_paid_in_proportion_to_their_credit(scorer: Scorer, honest: list[Adapter]) -> None:
    scores = scorer.score(honest)
    assert scores.paid == HONEST
    weights = pay(scores)
    assert sum(weights.values()) == pytest.approx(1)
    for one, other in itertools.combinations(HONEST, 2):
        ratio = scores.credit[one].mean / scores.credit[other].mean
        assert weights[one] / weights[other] == pytest.approx(ratio)
    assert scores.completeness_error is not None
    assert abs(scores.completeness_error) < 0.02
    assert scores.merged_loss is not None
    assert scores.merged_loss < scorer.base_loss - 0.1


def test_solo_improvements_are_paired_differences(scorer: Scorer, honest: list[Adapter], batches: list[Batch]) -> None:
    solo = scorer.score(honest[:1]).solo["honest-0"]
    tokens = sum(batch_tokens(batches))
    assert solo.improvement.mean == pytest.approx((sum(scorer.base_nats) - sum(solo.batch_nats)) / tokens)
    assert solo.improvement.lower > 0


def test_a_harmful_adapter_is_dropped_and_costs_the_honest_nothing(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, fair_pay: dict[str, float]
) -> None:
    harmful = reversed_of(llama, honest[0])
    scores = with_entry(scorer, honest, harmful)
    assert scores.paid == HONEST
    assert scores.credit[harmful.hotkey].upper < 0
    assert_close_pay(pay(scores), fair_pay)


def test_as_many_harmful_as_honest_are_all_dropped(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, fair_pay: dict[str, float]
) -> None:
    scores = with_entry(scorer, honest, *(reversed_of(llama, adapter) for adapter in honest))
    assert scores.paid == HONEST
    assert_close_pay(pay(scores), fair_pay)


def test_a_free_rider_with_nothing_gets_nothing(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, fair_pay: dict[str, float]
) -> None:
    idle = admitted(llama, "idle", {name: untrained_layer(w) for name, w in weights_of(llama).items()})
    scores = with_entry(scorer, honest, idle)
    assert pay(scores).get("idle", 0.0) < 1e-4
    assert_close_pay(pay(scores), fair_pay)


@pytest.mark.parametrize("count", [1, 4])
def test_a_few_worthless_entries_change_no_honest_pay(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, fair_pay: dict[str, float], count: int
) -> None:
    assert_close_pay(pay(with_entry(scorer, honest, *(noise(llama, seed) for seed in range(count)))), fair_pay)


def test_a_crowd_of_worthless_entries_changes_no_honest_pay(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch]
) -> None:
    """More of them than the gate has passes."""
    few = scorer_of(llama, batches[:3])
    fair_pay = pay(few.score(honest))
    assert set(fair_pay) == set(HONEST)
    assert_close_pay(pay(with_entry(few, honest, *(noise(llama, seed) for seed in range(10)))), fair_pay)


def test_factors_that_cancel_are_rejected_before_they_break_the_credits(
    honest: list[Adapter], llama: BaseModel
) -> None:
    """Huge rank-one parts whose sum is small: rounding makes dense and low-rank forms disagree by a fifth."""
    with pytest.raises(RejectedSubmission, match="ill_conditioned"):
        cancelling(llama, honest[0], 1e4)


def test_a_copy_shares_with_its_original_and_takes_from_nobody_twice(scorer: Scorer, honest: list[Adapter]) -> None:
    """Copies that pass admission dilute the copied one the most: why they must be found there."""
    twin = Adapter(hotkey="twin", factors=honest[0].factors, shapes=honest[0].shapes, norm=honest[0].norm)
    weights = pay(with_entry(scorer, honest, twin))
    assert weights["twin"] == pytest.approx(weights["honest-0"], rel=1e-3)


def test_scaling_a_delta_up_pays_no_more(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, fair_pay: dict[str, float]
) -> None:
    """The norm is clipped to the median; what is left is a worse delta of the same length."""
    weights = weights_of(llama)
    louder = {
        name: Factors(
            down_RI=layer.down_RI,
            up_OR=3 * layer.up_OR,
            magnitude_O=weights[name].norm(dim=1) + 3 * (layer.magnitude_O - weights[name].norm(dim=1)),
        )
        for name, layer in honest[0].factors.items()
    }
    scores = scorer.score([admitted(llama, "honest-0", louder), *honest[1:]])
    assert pay(scores).get("honest-0", 0.0) < 1.1 * fair_pay["honest-0"]


def test_nobody_is_paid_when_the_credits_do_not_add_up(
    llama: BaseModel, batches: list[Batch], honest: list[Adapter]
) -> None:
    strict = scorer_of(llama, batches, make_scoring(max_completeness_error=1e-12))
    scores = strict.score(honest)
    assert scores.paid == ()
    assert pay(scores) == {}
    assert scores.completeness_error is not None
    assert all(credit.mean > 0 for credit in scores.credit.values())


def test_nobody_is_paid_when_nobody_helps(scorer: Scorer, honest: list[Adapter], llama: BaseModel) -> None:
    scores = scorer.score([reversed_of(llama, adapter) for adapter in honest])
    assert scores.paid == ()
    assert pay(scores) == {}
    assert scores.merged_loss is None
    assert scores.completeness_error is None


def test_an_empty_round_has_scores(scorer: Scorer) -> None:
    scores = scorer.score([])
    assert (scores.paid, dict(scores.solo), pay(scores)) == ((), {}, {})


def test_a_broken_loss_is_a_rejection_and_spoils_nothing(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, fair_pay: dict[str, float]
) -> None:
    huge = {
        name: Factors(down_RI=layer.down_RI, up_OR=layer.up_OR, magnitude_O=torch.full_like(layer.magnitude_O, 1e38))
        for name, layer in honest[0].factors.items()
    }
    scores = with_entry(scorer, honest, admitted(llama, "huge", huge))
    assert scores.rejected["huge"].reason == "broken_loss"
    assert "huge" not in scores.solo
    assert "huge" not in scores.credit
    assert_close_pay(pay(scores), fair_pay, rel=1e-9)


def test_scoring_leaves_the_base_alone_and_repeats_itself(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, batches: list[Batch]
) -> None:
    before = digest_of(weights_of(llama))
    first, second = scorer.score(honest), scorer.score(honest)
    assert first == second
    assert digest_of(weights_of(llama)) == before
    assert losses(llama, batches, {}) == scorer.base_nats


def test_every_step_is_announced(llama: BaseModel, batches: list[Batch], honest: list[Adapter]) -> None:
    said: list[str] = []
    Scorer(llama, weights_of(llama), batches, 2.0, make_scoring(), said.append).score(honest)
    assert said[0] == "measuring the base"
    assert [line for line in said if line.startswith("testing")] == [f"testing {hotkey[:8]}" for hotkey in HONEST]
    assert said[-1] == "measuring the merge"


ESTIMATES = st.tuples(st.floats(-1, 1), st.floats(0.001, 1)).map(
    lambda pair: Estimate(mean=pair[0], lower=pair[0] - pair[1], upper=pair[0] + pair[1])
)


@given(st.dictionaries(st.text(max_size=3), ESTIMATES, min_size=1, max_size=6), st.booleans())
def test_the_gate_never_drops_the_proven_and_never_keeps_the_harmful(
    credits: dict[str, Estimate], patient: bool
) -> None:
    dropped = to_drop(credits, patient=patient)
    assert dropped <= set(credits)
    least = least_credit([credit.mean for credit in credits.values()])
    assert not any(credits[hotkey].lower > least for hotkey in dropped)
    harmful = {hotkey for hotkey, credit in credits.items() if credit.upper < 0}
    assert harmful <= dropped
    if not dropped:
        assert all(credit.lower > least >= 0 for credit in credits.values())


def test_the_gate_drops_by_degrees() -> None:
    proven = Estimate(mean=1.0, lower=0.5, upper=1.5)
    unproven = Estimate(mean=0.1, lower=-0.1, upper=0.3)
    idle = Estimate(mean=0.0, lower=-0.1, upper=0.1)
    harmful = Estimate(mean=-1.0, lower=-1.5, upper=-0.5)
    bad = Estimate(mean=-0.2, lower=-0.5, upper=0.1)
    half_as_bad = Estimate(mean=-0.1, lower=-0.4, upper=0.2)
    assert to_drop({"a": proven, "b": unproven, "c": idle, "d": harmful}, patient=True) == {"d"}
    assert to_drop({"a": proven, "b": bad, "c": half_as_bad, "d": idle}, patient=True) == {"b", "c"}
    assert to_drop({"a": proven, "b": unproven, "c": idle}, patient=True) == {"c"}
    assert to_drop({"a": proven, "b": unproven, "c": idle}, patient=False) == {"b", "c"}
    assert to_drop({"a": proven, "b": unproven}, patient=True) == {"b"}
    assert to_drop({"a": proven}, patient=True) == set()


def test_a_place_in_the_merge_takes_a_hundredth_of_an_equal_part() -> None:
    """However sure it is: next to nothing would dilute the others as much as a member does."""
    proven = Estimate(mean=1.0, lower=0.5, upper=1.5)
    sure_of_nothing = Estimate(mean=0.001, lower=0.0009, upper=0.0011)
    sure_of_little = Estimate(mean=0.02, lower=0.015, upper=0.025)
    assert to_drop({"a": proven, "b": sure_of_nothing}, patient=True) == {"b"}
    assert to_drop({"a": proven, "b": sure_of_little}, patient=True) == set()
    assert to_drop({"b": sure_of_nothing}, patient=True) == set()
    assert least_credit([proven.mean, -2.0]) == least_credit([]) == 0.0


def test_completeness_is_relative_to_the_improvement() -> None:
    assert completeness_error(1.05, 1.0) == pytest.approx(0.05)
    assert completeness_error(1.0, 0.0) == completeness_error(1.0, -1.0) == 1.0


def test_a_receipt_tells_of_everybody_and_survives_its_bytes(
    scorer: Scorer, honest: list[Adapter], llama: BaseModel, batches: list[Batch]
) -> None:
    harmful = reversed_of(llama, honest[0])
    adapters = [*honest, harmful]
    scores = scorer.score(adapters)
    located, now = locate(make_release(make_layout(llama))), round_by_id(make_plan(), 2)
    late = Candidate(hotkey="late", rejection=RejectedSubmission("late", "committed in block 9, deadline 8"))
    candidates = [
        *(Candidate(hotkey=a.hotkey, repo="a/b", relative_norm=0.1, adapter=a) for a in honest),
        late,
        Candidate(hotkey=harmful.hotkey, repo="a/b", relative_norm=0.1, adapter=harmful),
    ]
    receipt = make_receipt(
        validator="5V", previous=None, located=located, now=now, beacon="0xab", sequence_ids=[1, 2],
        batch_tokens=batch_tokens(batches), candidates=candidates,
        registrations={c.hotkey: Registration(uid=uid, block=0) for uid, c in enumerate(candidates)}, earlier=[],
        scorer=scorer, scores=scores,
    )  # fmt: skip
    assert type(receipt).parse(receipt.to_bytes()) == receipt
    told = {entry.hotkey: (entry.verdict, entry.reason, entry.weight > 0) for entry in receipt.entries}
    assert told == {
        **{hotkey: ("paid", "", True) for hotkey in HONEST},
        "late": ("rejected", "late", False),
        harmful.hotkey: ("unpaid", "harmful", False),
    }
    assert math.fsum(entry.weight for entry in receipt.entries) == pytest.approx(1)
    assert 0 <= receipt.replicate_spread < 1e-5
    tokens = sum(receipt.batch_tokens)
    for entry in receipt.entries:
        if entry.verdict == "paid":
            assert entry.credit == pytest.approx(math.fsum(entry.credit_nats) / tokens)
            assert entry.share == entry.weight
    assert len({entry.shard for entry in receipt.entries}) == 5
