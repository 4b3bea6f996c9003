"""A release is repeated to the bit from public files, and whatever its manifest lies about is named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from averager.merge import MERGE_PLANS
from averager.merged_base import Merge, mapped_weights, write_merged_base
from averager.release import list_files, next_release
from averager.repetition import first_difference
from hivetune.adapter import Stamp, write_adapter
from hivetune.clipping import clip_candidates
from hivetune.files import sha256_of
from hivetune.merging import prepare_all, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.records import Contribution, MergeReport, Release
from hivetune.releases import Located
from tests.conftest import locate, make_layout, make_release, random_factors, weights_of

HOTKEYS = ("5Alice", "5Bob", "5Carol")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A release as the averager makes it, and what anybody can fetch of it."""

    release: Release
    report: MergeReport
    parent: Located
    base_folder: Path
    submissions: dict[str, Path]
    previous: Path | None = None

    def difference(self, into: Path, *, threads: int | None = None, **changes: object) -> str:
        """With fields of the manifest or, by `report_` before their names, of its report changed."""
        lies = {name: value for name, value in changes.items() if not name.startswith("report_")}
        of_report = {name.removeprefix("report_"): value for name, value in changes.items() if name not in lies}
        report = self.report.model_copy(update=of_report)
        release = self.release.model_copy(update={"merge": report, **lies})
        return first_difference(
            release, report, self.parent, self.base_folder, self.submissions, into, threads, self.previous
        )


def contribution(hotkey: str, path: Path, coefficient: float) -> Contribution:
    return Contribution(
        hotkey=hotkey, repo="a/b", revision="a" * 40, file_sha256=sha256_of(path), coefficient=coefficient
    )


@pytest.fixture
def published(llama: BaseModel, base_folders: dict[str, Path], tmp_path: Path) -> Published:
    base, base_folder = llama, base_folders["llama"]
    layout = make_layout(base)
    parent = locate(make_release(layout, files=list_files(sorted(base_folder.iterdir()))))
    factors = {hotkey: random_factors(weights_of(base), seed=i) for i, hotkey in enumerate(HOTKEYS)}
    submissions = {hotkey: tmp_path / f"{hotkey}.safetensors" for hotkey in HOTKEYS}
    for hotkey, path in submissions.items():
        write_adapter(path, layout, Stamp(hotkey=hotkey, round_id=4, release_sha256=parent.sha256), factors[hotkey])
    adapters = prepare_all(factors, weights_of(base), layout.scale)
    clip = clip_candidates([adapter.norm for adapter in adapters])[0]
    coefficients = uniform_coefficients(adapters, clip)
    report = MergeReport(
        round_id=4, beacon="0xab", method="uniform", momentum=0.0, scale=1.125, clip=clip,
        contributions=tuple(contribution(h, submissions[h], c) for h, c in zip(HOTKEYS, coefficients, strict=True)),
        loss_before=2.0, loss_after=1.5, improvement=0.5, lower=0.4, upper=0.6,
    )  # fmt: skip
    merge = Merge(adapters=adapters, coefficients=coefficients, step=report.scale, layout=layout)
    files = list_files(write_merged_base(base_folder, merge, tmp_path / "made"))
    return Published(
        release=next_release(parent, files, report), report=report, parent=parent, base_folder=base_folder,
        submissions=submissions,
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 3])
def test_an_honest_release_is_repeated_to_the_bit(published: Published, tmp_path: Path, threads: int) -> None:
    assert published.difference(tmp_path / "again", threads=threads) == ""


@pytest.fixture
def carried(published: Published, tmp_path: Path) -> Published:
    """The release after `published`, in a subnet that merges with momentum."""
    merging = MERGE_PLANS["momentum"]
    parent = locate(published.release.model_copy(update={"merging": merging}))
    base_folder, layout = tmp_path / "made", parent.release.layout
    weights = mapped_weights(base_folder, layout)
    factors = {hotkey: random_factors(weights, seed=10 + i) for i, hotkey in enumerate(HOTKEYS)}
    submissions = {hotkey: tmp_path / f"{hotkey}-next.safetensors" for hotkey in HOTKEYS}
    for hotkey, path in submissions.items():
        write_adapter(path, layout, Stamp(hotkey=hotkey, round_id=5, release_sha256=parent.sha256), factors[hotkey])
    adapters = prepare_all(factors, weights, layout.scale)
    clip = clip_candidates([adapter.norm for adapter in adapters])[0]
    coefficients = uniform_coefficients(adapters, clip)
    report = published.report.model_copy(
        update={
            "round_id": 5,
            "method": "momentum",
            "momentum": 0.413,
            "clip": clip,
            "contributions": tuple(
                contribution(h, submissions[h], c) for h, c in zip(HOTKEYS, coefficients, strict=True)
            ),
        }
    )
    merge = Merge(
        adapters=adapters, coefficients=coefficients, step=report.scale, layout=layout, momentum=report.momentum,
        previous=published.base_folder,
    )  # fmt: skip
    files = list_files(write_merged_base(base_folder, merge, tmp_path / "carried"))
    return Published(
        release=next_release(parent, files, report), report=report, parent=parent, base_folder=base_folder,
        submissions=submissions, previous=published.base_folder,
    )  # fmt: skip


@pytest.mark.parametrize("threads", [1, 3])
def test_a_release_with_momentum_is_repeated_to_the_bit(carried: Published, tmp_path: Path, threads: int) -> None:
    assert carried.difference(tmp_path / "again", threads=threads) == ""


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        ({"report_momentum": 0.414}, "model.safetensors has sha256"),
        ({"report_momentum": 0.81}, "the momentum is 0.81, allowed are 0 to 0.8"),
        ({"report_momentum": -0.1}, "the momentum is -0.1"),
        ({"report_method": "uniform"}, "the method is uniform, the release says momentum"),
        ({"merging": MERGE_PLANS["uniform"]}, "the manifest's merging is not its parent's"),
    ],
)
def test_a_lie_about_momentum_is_named(carried: Published, tmp_path: Path, lie: dict[str, object], named: str) -> None:
    assert named in carried.difference(tmp_path / "again", **lie)


LIES: dict[str, tuple[Callable[[Published], dict[str, object]], str]] = {
    "another scale": (lambda p: {"report_scale": 1.126}, "model.safetensors has sha256"),
    "a scale that is not tried": (lambda p: {"report_scale": 1.6}, "the scale is 1.6, tried are 0.75 to 1.5"),
    "momentum in a uniform subnet": (lambda p: {"report_momentum": 0.1}, "the momentum is 0.1, allowed are 0 to 0.0"),
    "another coefficient": (
        lambda p: {
            "report_contributions": (
                p.report.contributions[0].model_copy(update={"coefficient": 0.4}),
                *p.report.contributions[1:],
            )
        },
        "5Alice has coefficient 0.4, the rule gives",
    ),
    "another clip": (lambda p: {"report_clip": 2 * p.report.clip}, "the rule gives"),
    "somebody left out": (
        lambda p: {"report_contributions": p.report.contributions[:2]},
        "5Alice has coefficient",
    ),
    "another order": (
        lambda p: {"report_contributions": p.report.contributions[::-1]},
        "in the order of their hotkeys",
    ),
    "somebody twice": (lambda p: {"report_contributions": p.report.contributions[:1] * 3}, "each once"),
    "another round": (lambda p: {"report_round_id": 5}, "not admissible: wrong_round"),
    "another layout": (
        lambda p: {"layout": p.release.layout.model_copy(update={"alpha": 3.0})},
        "the manifest's layout is not its parent's",
    ),
    "another round plan": (
        lambda p: {"rounds": p.release.rounds.model_copy(update={"deadline": 7})},
        "the manifest's rounds is not its parent's",
    ),
    "a file left out": (lambda p: {"files": p.release.files[1:]}, "is missing from the manifest"),
    "a file made up": (
        lambda p: {"files": (*p.release.files, p.release.files[0].model_copy(update={"path": "z.json"}))},
        "z.json is not in the repeated release",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_manifest_is_named(published: Published, tmp_path: Path, lie: str) -> None:
    changes, named = LIES[lie]
    assert named in published.difference(tmp_path / "again", **changes(published))


def test_a_submission_of_another_owner_is_named(published: Published, tmp_path: Path) -> None:
    swapped = {**published.submissions, "5Bob": published.submissions["5Carol"]}
    lying = Published(
        release=published.release, report=published.report, parent=published.parent,
        base_folder=published.base_folder, submissions=swapped,
    )  # fmt: skip
    assert "not admissible: wrong_owner" in lying.difference(tmp_path / "again")
