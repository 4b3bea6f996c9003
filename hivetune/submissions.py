"""One submission, from its commitment to factors in memory: the checks every role makes in the same way.

Cheap before expensive: the commitment costs nothing, one metadata call tells the size, only the exact size is
downloaded, and only the committed bytes are read.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hivetune.adapter import FILE_NAME, Stamp, file_size, folder_of, read_adapter
from hivetune.commitments import PREFIX_BYTES, SubmissionPointer, unpack
from hivetune.dora import Factors
from hivetune.errors import RejectedSubmission
from hivetune.releases import Located, OnChain
from hivetune.rounds import Round

log = logging.getLogger(__name__)


class Described(Protocol):
    """A file as the Hub lists it."""

    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str | None: ...


class SubmissionSource(Protocol):
    """Where revealed files come from. `revealed` is None when the Hub is certain that there is no such file."""

    def revealed(self, repo: str, path: str) -> tuple[str, Described] | None: ...
    def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opened:
    """A submission that passed every check of form."""

    hotkey: str
    pointer: SubmissionPointer
    revision: str
    path: Path
    factors: dict[str, Factors]


def committed(hotkey: str, commitment: OnChain, located: Located, now: Round) -> SubmissionPointer:
    """The pointer of a commitment that counts in this round; RejectedSubmission for any other."""
    pointer = unpack(commitment.data)
    if not isinstance(pointer, SubmissionPointer):
        raise RejectedSubmission("bad_commitment", f"{hotkey} committed to a {type(pointer).__name__}")
    if pointer.round_id != now.round_id:
        raise RejectedSubmission("wrong_round", f"committed for round {pointer.round_id}, want {now.round_id}")
    if commitment.block < now.first_block:
        raise RejectedSubmission("too_early", f"committed in block {commitment.block}, round starts {now.first_block}")
    if commitment.block > now.deadline:
        raise RejectedSubmission("late", f"committed in block {commitment.block}, deadline {now.deadline}")
    if pointer.release_prefix != located.sha256[: 2 * PREFIX_BYTES]:
        raise RejectedSubmission("wrong_release", f"trained on {pointer.release_prefix}, want {located.sha256[:16]}")
    return pointer


def open_submission(
    hotkey: str, pointer: SubmissionPointer, located: Located, now: Round, source: SubmissionSource, into: Path
) -> Opened:
    """Find, size-check, download and strictly read a submission's file; RejectedSubmission says what was wrong."""
    path = f"{folder_of(now.round_id)}/{FILE_NAME}"
    stamp = Stamp(hotkey=hotkey, round_id=now.round_id, release_sha256=located.sha256)
    size = file_size(located.release.layout, stamp)
    found = source.revealed(pointer.repo, path)
    if found is None:
        raise RejectedSubmission("not_revealed", f"{pointer.repo} has no {path}")
    revision, remote = found
    if remote.size != size:
        raise RejectedSubmission("wrong_size", f"{remote.size} bytes, want {size}")
    if remote.sha256 != pointer.file_sha256:
        raise RejectedSubmission("wrong_digest", f"file {remote.sha256}, committed to {pointer.file_sha256}")
    into.parent.mkdir(parents=True, exist_ok=True)
    source.download(pointer.repo, revision, path, sha256=pointer.file_sha256, size=size, into=into)
    factors = read_adapter(into, located.release.layout, stamp)
    return Opened(hotkey=hotkey, pointer=pointer, revision=revision, path=into, factors=factors)
