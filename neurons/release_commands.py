"""`hivetune release`: the subnet's releases, and whether anybody else's computer makes the same bytes."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from averager.repetition import first_difference, stamp_of
from chain.ledger import Ledger
from hivetune.adapter import FILE_NAME, file_size, folder_of
from hivetune.errors import ConfigError
from hivetune.records import MergeReport
from hivetune.releases import Located, ReleaseFollower
from hub.client import HubClient
from neurons.output import make_table, say_aside, show
from neurons.release_options import ReleaseOptions, VerifyOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseLine:
    """One release of the list."""

    number: int
    round: int | None  # None for release 0
    contributions: int
    improvement: float | None  # nats per token, on the round's acceptance text
    lower: float | None
    manifest_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """What came of repeating a release."""

    number: int
    parent: int
    contributions: int
    files: int
    same: bool
    difference: str  # the first one; "" when all bytes are the same


def list_releases(options: ReleaseOptions) -> None:
    """Print every release, the newest first."""
    with tempfile.TemporaryDirectory(prefix="hivetune-") as folder:
        follower, _ = _open(options, Path(folder))
        lines = [_line(located) for located in follower.history()]
    rows = [
        [
            str(line.number),
            "" if line.round is None else str(line.round),
            str(line.contributions),
            "" if line.improvement is None else f"{line.improvement:+.4f}",
            "" if line.lower is None else f"{line.lower:+.4f}",
            line.manifest_sha256[:12],
        ]
        for line in lines
    ]
    columns = ["release", "round", "merged", "gain (nats)", "at least", "manifest"]
    show(lines, lambda: make_table(columns, rows, right=columns[:5]), as_json=options.as_json)


def verify_release(options: VerifyOptions) -> None:
    """Repeat a release's merge and compare its files byte for byte; ConfigError names the first difference."""
    with tempfile.TemporaryDirectory(prefix="hivetune-") as temporary:
        folder = Path(temporary)
        follower, hub = _open(options, folder / "state")
        located, parent, report = _found(follower, options.number)
        say_aside(f"fetching release {parent.release.number}")
        base_folder = follower.base_folder(parent)
        submissions = _fetch_submissions(hub, parent, report, folder / "submissions")
        previous = None
        if report.momentum and parent.release.parent is not None:
            say_aside(f"fetching release {parent.release.number - 1}, of which the merge repeats a part of a step")
            previous = follower.base_folder(follower.parent(parent))
        say_aside(f"repeating the merge of {len(submissions)} submissions")
        difference = first_difference(
            located.release, report, parent, base_folder, submissions, folder / "repeated", options.threads or None,
            previous,
        )  # fmt: skip
    if difference:
        raise ConfigError(f"release {options.number} cannot be repeated: {difference}")
    found = Repeated(
        number=options.number,
        parent=parent.release.number,
        contributions=len(submissions),
        files=len(located.release.files),
        same=True,
        difference=difference,
    )
    show(found, lambda: _sentence(found), as_json=options.as_json)


def _sentence(found: Repeated) -> str:
    return (
        f"release {found.number}: {found.contributions} submissions merged into release {found.parent} again, "
        f"all {found.files} files the same to the bit"
    )


def _open(options: ReleaseOptions, state: Path) -> tuple[ReleaseFollower, HubClient]:
    ledger = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash)
    hub = HubClient(options.hub)
    return ReleaseFollower(ledger, hub, state), hub


def _found(follower: ReleaseFollower, number: int) -> tuple[Located, Located, MergeReport]:
    """The release, its parent, and how it was merged."""
    history = list(_down_to(follower, number - 1))
    if number > history[0].release.number:
        raise ConfigError(f"there is no release {number} yet, the last one is {history[0].release.number}")
    if number == 0:
        raise ConfigError("release 0 was not merged: the subnet's owner published it")
    located, parent = history[-2:]
    if located.release.merge is None:
        raise ConfigError(f"release {number} does not say how it was merged")
    return located, parent, located.release.merge


def _down_to(follower: ReleaseFollower, number: int) -> Iterator[Located]:
    for located in follower.history():
        yield located
        if located.release.number <= number:
            return


def _fetch_submissions(hub: HubClient, parent: Located, report: MergeReport, into: Path) -> dict[str, Path]:
    """The files that the manifest names, of the digests that it names."""
    into.mkdir()
    fetched = {}
    for one in report.contributions:
        size = file_size(parent.release.layout, stamp_of(one, report, parent))
        path = f"{folder_of(report.round_id)}/{FILE_NAME}"
        target = into / f"{one.hotkey}.safetensors"
        fetched[one.hotkey] = hub.fetch(one.repo, one.revision, path, sha256=one.file_sha256, size=size, into=target)
    return fetched


def _line(located: Located) -> ReleaseLine:
    merge = located.release.merge
    return ReleaseLine(
        number=located.release.number,
        round=merge.round_id if merge else None,
        contributions=len(merge.contributions) if merge else 0,
        improvement=merge.improvement if merge else None,
        lower=merge.lower if merge else None,
        manifest_sha256=located.sha256,
    )
