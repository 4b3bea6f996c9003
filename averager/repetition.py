"""Repeating a release's merge from what is public: the parent's files and the submissions that the manifest names."""

from collections.abc import Mapping
from pathlib import Path

from averager.merged_base import Merge, mapped_weights, write_merged_base
from averager.release import list_files
from hivetune.adapter import Stamp, read_adapter
from hivetune.clipping import clip_candidates
from hivetune.errors import RejectedSubmission
from hivetune.merging import Adapter, prepare_all, uniform_coefficients
from hivetune.records import Contribution, FileEntry, MergeReport, Release
from hivetune.releases import Located

_KEPT = ("protocol", "layout", "data", "rounds", "scoring", "merging")  # of the parent's manifest


def stamp_of(contribution: Contribution, report: MergeReport, parent: Located) -> Stamp:
    """What a contribution's file must say of itself."""
    return Stamp(hotkey=contribution.hotkey, round_id=report.round_id, release_sha256=parent.sha256)


def first_difference(
    release: Release,
    report: MergeReport,
    parent: Located,
    base_folder: Path,
    submissions: Mapping[str, Path],
    into: Path,
    threads: int | None = None,
    previous: Path | None = None,
) -> str:
    """Merge again and compare; the first thing in which the manifest and the rules differ, "" for none.

    `submissions` are the contributions' files by hotkey, already of the digests that the manifest names; the repeated
    files are left in `into`.
    Equal bytes are promised on one type of processor with one build of torch (decision 0011). `previous` is the folder
    of the parent's parent, needed where there was momentum.
    """
    for field in _KEPT:
        if getattr(release, field) != getattr(parent.release, field):
            return f"the manifest's {field} is not its parent's"
    if lie := _wrong_step(report, parent.release):
        return lie
    hotkeys = [contribution.hotkey for contribution in report.contributions]
    if hotkeys != sorted(set(hotkeys)):
        return "the contributions do not stand in the order of their hotkeys, each once"
    try:
        adapters = _read(report, parent, base_folder, submissions)
    except RejectedSubmission as rejected:
        return f"a submission in the merge is not admissible: {rejected}"
    candidates = clip_candidates([adapter.norm for adapter in adapters])
    if report.clip not in candidates:
        return f"deltas are clipped to {report.clip}, the rule gives {' or '.join(map(str, candidates))}"
    coefficients = uniform_coefficients(adapters, report.clip)
    for contribution, coefficient in zip(report.contributions, coefficients, strict=True):
        if contribution.coefficient != coefficient:
            return f"{contribution.hotkey} has coefficient {contribution.coefficient}, the rule gives {coefficient}"
    merge = Merge(
        adapters=adapters, coefficients=coefficients, step=report.scale, layout=parent.release.layout,
        momentum=report.momentum, previous=previous,
    )  # fmt: skip
    return compare_files(release.files, list_files(write_merged_base(base_folder, merge, into, threads)))


def _wrong_step(report: MergeReport, base: Release) -> str:
    """In what the report's method and step go beyond the base's plan, "" for nothing."""
    plan = base.merging
    if report.method != plan.method:
        return f"the method is {report.method}, the release says {plan.method}"
    if not plan.scales[0] <= report.scale <= plan.scales[-1]:
        return f"the scale is {report.scale}, tried are {plan.scales[0]} to {plan.scales[-1]}"
    most = plan.momenta[-1] if plan.momenta and base.parent is not None else 0.0
    if not 0 <= report.momentum <= most:
        return f"the momentum is {report.momentum}, allowed are 0 to {most}"
    return ""


def compare_files(published: tuple[FileEntry, ...], repeated: tuple[FileEntry, ...]) -> str:
    """The first file that differs, "" for none."""
    found = {entry.path: entry for entry in repeated}
    for entry in published:
        if entry.path not in found:
            return f"{entry.path} is not in the repeated release"
        if found[entry.path] != entry:
            return f"{entry.path} has sha256 {entry.sha256}, repeated {found[entry.path].sha256}"
    if extra := found.keys() - {entry.path for entry in published}:
        return f"{min(extra)} is missing from the manifest"
    return ""


def _read(report: MergeReport, parent: Located, base_folder: Path, submissions: Mapping[str, Path]) -> list[Adapter]:
    layout = parent.release.layout
    factors = {
        one.hotkey: read_adapter(submissions[one.hotkey], layout, stamp_of(one, report, parent))
        for one in report.contributions
    }
    return prepare_all(factors, mapped_weights(base_folder, layout), layout.scale)
