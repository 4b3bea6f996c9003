"""What validators remember of earlier rounds: the files that their own receipts admitted, to know them again.

A receipt names repository, revision and digest, so whoever repeats a round gathers the same files. Each is measured on
the present base, because that is what a replayed file would act on.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from hivetune.adapter import FILE_NAME, Stamp, file_size, folder_of, read_adapter
from hivetune.commitments import is_repo
from hivetune.errors import RejectedSubmission
from hivetune.files import sha256_of
from hivetune.merging import Adapter, prepare
from hivetune.printable import printable
from hivetune.records import AdapterLayout, Entry, Receipt
from hivetune.submissions import SubmissionSource
from validator.intake import file_of
from validator.originality import Work

log = logging.getLogger(__name__)

MEMORY_ROUNDS = 3  # how many rounds back a file is known again


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierFile:
    """One admitted submission of an earlier round, on disk."""

    stamp: Stamp
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What could be had."""

    files: tuple[EarlierFile, ...]  # by round, then in the order of the receipt
    missing: tuple[str, ...]  # sha256 of the others, ascending


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlierFiles:
    """A folder of the files that receipts of the last rounds name."""

    source: SubmissionSource
    folder: Path
    without: frozenset[str] = frozenset()  # sha256 of those to do without, as the receipt did that is being repeated

    def gather(
        self, receipts: Sequence[Receipt], round_id: int, layout: AdapterLayout, submissions: Path | None = None
    ) -> Gathered:
        """Fetch what is not here yet, or take it from the last round's `submissions`; files of no use are removed.

        A file that its owner took away is missing, and the round goes on without it. RetryableError when the Hub is
        away.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        wanted = list(_admitted(recent(receipts, round_id)))
        names = {self._path(entry) for _, entry in wanted}
        for path in self.folder.iterdir():
            if path not in names:
                path.unlink()
        files, missing = [], []
        for receipt, entry in wanted:
            stamp = Stamp(hotkey=entry.hotkey, round_id=receipt.round_id, release_sha256=receipt.release_sha256)
            if entry.file_sha256 not in self.without and self._have(entry, stamp, layout, submissions):
                files.append(EarlierFile(stamp=stamp, path=self._path(entry)))
            else:
                missing.append(entry.file_sha256)
        return Gathered(files=tuple(files), missing=tuple(sorted(missing)))

    def _have(self, entry: Entry, stamp: Stamp, layout: AdapterLayout, submissions: Path | None) -> bool:
        path = self._path(entry)
        if path.exists():
            return True
        left = file_of(submissions, entry.hotkey) if submissions is not None else path
        if left.exists() and sha256_of(left) == entry.file_sha256:
            left.replace(path)
            return True
        name = f"{folder_of(stamp.round_id)}/{FILE_NAME}"
        size = file_size(layout, stamp)
        try:
            self.source.download(entry.repo, entry.revision, name, sha256=entry.file_sha256, size=size, into=path)
        except RejectedSubmission as gone:
            log.warning("%s of round %d cannot be had any more: %s", printable(entry.hotkey), stamp.round_id, gone)
            return False
        return True

    def _path(self, entry: Entry) -> Path:
        return self.folder / f"{entry.file_sha256}.safetensors"


def recent(receipts: Sequence[Receipt], round_id: int) -> list[Receipt]:
    """Those of the last rounds before this one, in the order of rounds."""
    found = [receipt for receipt in receipts if round_id - MEMORY_ROUNDS <= receipt.round_id < round_id]
    return sorted(found, key=lambda receipt: receipt.round_id)


def works_of(files: Sequence[EarlierFile], layout: AdapterLayout, weights: Mapping[str, Tensor]) -> list[Work]:
    """The files as deltas of these weights, each read and measured whenever it is needed."""
    return [
        Work(name=f"{file.stamp.hotkey} in round {file.stamp.round_id}", load=partial(_load, file, layout, weights))
        for file in files
    ]


def _load(file: EarlierFile, layout: AdapterLayout, weights: Mapping[str, Tensor]) -> Adapter:
    factors = read_adapter(file.path, layout, file.stamp)
    return prepare(file.stamp.hotkey, factors, weights, layout.scale)


def _admitted(receipts: Sequence[Receipt]) -> Iterator[tuple[Receipt, Entry]]:
    """Entries with a file that was admitted; what a stranger's receipt says of it must be of the right form."""
    for receipt in receipts:
        for entry in receipt.entries:
            digests = re.fullmatch(r"[0-9a-f]{64}", entry.file_sha256) and re.fullmatch(r"[0-9a-f]{40}", entry.revision)
            if entry.verdict != "rejected" and digests and is_repo(entry.repo):
                yield receipt, entry
