"""Following the subnet owner's pointer: which release a round starts from, and its files, verified, on disk.

The chain says who the owner is and what it points to; every byte below that is checked against a digest. A node
refuses a pointer that goes back, changes a release it has seen, or breaks the chain of parents.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hivetune.commitments import Pointer, ReleasePointer, unpack
from hivetune.errors import RejectedSubmission, RetryableError
from hivetune.files import write_atomically
from hivetune.records import FileEntry, Release
from hivetune.rounds import Round, round_at

log = logging.getLogger(__name__)

MANIFEST_NAME = "release.json"
_MAX_MANIFEST_BYTES = 4 << 20


class OnChain(Protocol):
    """A commitment as the ledger reads it."""

    @property
    def block(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class PointerSource(Protocol):
    """The part of the ledger that following releases needs."""

    def owner_hotkey(self) -> str: ...
    def commitment(self, hotkey: str, at: str | None = None) -> OnChain | None: ...


class FileSource(Protocol):
    """The part of the Hub client that following releases needs."""

    def read_bytes(self, repo: str, revision: str, path: str, *, max_bytes: int) -> bytes: ...
    def fetch(
        self,
        repo: str,
        revision: str,
        path: str,
        *,
        sha256: str,
        size: int,
        into: Path,
        kind: Literal["model", "dataset"] = "model",
    ) -> Path: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """A verified manifest and where its files lie."""

    release: Release
    sha256: str
    repo: str
    revision: str


class ReleaseFollower:
    """Keeps a node on the current release; its folder holds verified files and the last release seen."""

    def __init__(self, pointers: PointerSource, files: FileSource, folder: Path) -> None:
        self._pointers = pointers
        self._files = files
        self._folder = folder
        self._known: dict[tuple[str, str, str], Located] = {}

    def current(self) -> tuple[Located, int]:
        """The release the owner points to, and the block in which it was set."""
        owner = self._pointers.owner_hotkey()
        found = self._pointers.commitment(owner)
        if found is None:
            raise RetryableError(f"the subnet's owner {owner} has published no release yet")
        located = self._locate(_release_pointer(found.data, owner))
        self._refuse_rollback(located)
        return located, found.block

    def at_block(self, block: int) -> tuple[Located, Round | None]:
        """The round a block belongs to and the release it starts from: the last one set before its first block.

        A release published late, inside the round, counts from the next round on.
        """
        located, set_at = self.current()
        now = round_at(located.release.rounds, block)
        if now is not None and set_at >= now.first_block and located.release.parent is not None:
            located = self.parent(located)
        return located, now

    def history(self) -> Iterator[Located]:
        """The current release, its parent, and so on down to release 0."""
        located, _ = self.current()
        yield located
        while located.release.parent is not None:
            located = self.parent(located)
            yield located

    def parent(self, located: Located) -> Located:
        """The release before; RetryableError for the first one."""
        parent = located.release.parent
        if parent is None:
            raise RetryableError(f"release {located.release.number} has no parent")
        return self._locate(
            ReleasePointer(
                number=located.release.number - 1,
                manifest_sha256=parent.manifest_sha256,
                revision=parent.revision,
                repo=parent.repo,
            )
        )

    def base_folder(self, located: Located) -> Path:
        """The release's model on disk, fetched and verified on first use; older releases are removed."""
        folder = self._folder / f"release-{located.release.number:06d}-{located.sha256[:12]}"
        if not folder.exists():
            self._remove_old_bases(keep=located.release.number - 1)
            log.info("release %d: fetching %d files", located.release.number, len(located.release.files))
            part = folder.with_name(folder.name + ".part")
            part.mkdir(parents=True, exist_ok=True)
            for entry in located.release.files:
                self._fetch_once(located.repo, located.revision, entry, part / entry.path, kind="model")
            part.rename(folder)
        return folder

    def data_file(self, release: Release, entry: FileEntry) -> Path:
        """One verified file of the release's dataset on disk."""
        into = self._folder / "data" / f"{entry.sha256[:16]}-{Path(entry.path).name}"
        return self._fetch_once(release.data.repo, release.data.revision, entry, into, kind="dataset")

    def _fetch_once(
        self, repo: str, revision: str, entry: FileEntry, into: Path, *, kind: Literal["model", "dataset"]
    ) -> Path:
        if not into.exists():
            into.parent.mkdir(parents=True, exist_ok=True)
            self._files.fetch(repo, revision, entry.path, sha256=entry.sha256, size=entry.size, into=into, kind=kind)
        return into

    def _locate(self, pointer: ReleasePointer) -> Located:
        key = (pointer.manifest_sha256, pointer.repo, pointer.revision)
        if key not in self._known:
            data = self._files.read_bytes(pointer.repo, pointer.revision, MANIFEST_NAME, max_bytes=_MAX_MANIFEST_BYTES)
            if hashlib.sha256(data).hexdigest() != pointer.manifest_sha256:
                raise RetryableError(f"{pointer.repo}: the manifest is not the one the chain points to")
            release = Release.parse(data)
            self._known[key] = Located(
                release=release, sha256=pointer.manifest_sha256, repo=pointer.repo, revision=pointer.revision
            )
        located = self._known[key]
        if located.release.number != pointer.number:
            raise RetryableError(f"release {located.release.number} stands where the chain says {pointer.number}")
        return located

    def _refuse_rollback(self, located: Located) -> None:
        """Hold the pointer to the last release this node saw: no way back, no other past."""
        path = self._folder / "last-release.json"
        seen = json.loads(path.read_text()) if path.exists() else None
        if seen is not None:
            ancestor = located
            if located.release.number < seen["number"]:
                raise RetryableError(f"the owner points back to release {located.release.number} from {seen['number']}")
            while ancestor.release.number > seen["number"]:
                ancestor = self.parent(ancestor)
            if ancestor.sha256 != seen["sha256"]:
                raise RetryableError(f"release {seen['number']} has changed: refusing another past")
        if seen is None or located.sha256 != seen["sha256"]:
            write_atomically(path, json.dumps({"number": located.release.number, "sha256": located.sha256}).encode())

    def _remove_old_bases(self, *, keep: int) -> None:
        for folder in self._folder.glob("release-*"):
            number = folder.name.split("-")[1]
            if number.isdigit() and int(number) < keep:
                shutil.rmtree(folder)


def read_pointers(commitments: Mapping[str, OnChain]) -> dict[str, tuple[Pointer, int]]:
    """The well-formed pointers among a subnet's commitments, with their blocks, by hotkey."""
    found = {}
    for hotkey, commitment in commitments.items():
        try:
            found[hotkey] = (unpack(commitment.data), commitment.block)
        except RejectedSubmission as rejected:
            log.debug("%s: %s", hotkey, rejected)
    return found


def _release_pointer(data: bytes, owner: str) -> ReleasePointer:
    try:
        pointer = unpack(data)
    except RejectedSubmission as rejected:
        raise RetryableError(f"the owner {owner} points to no release: {rejected}") from None
    if not isinstance(pointer, ReleasePointer):
        raise RetryableError(f"the owner {owner} points to a {type(pointer).__name__}, want a release")
    return pointer
