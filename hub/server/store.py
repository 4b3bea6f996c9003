"""Blobs on disk, addressed by sha256: written to a temporary file, flushed to the disk, then renamed.

A file under `blobs/` is therefore always whole; what a killed server leaves is under `incoming/` and swept at start.
"""

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import BinaryIO

from hub.server.errors import bad_request

_BLOCK_BYTES = 4 << 20
_PART_LIFETIME_S = 86_400


class IncomingFile:
    """A temporary file that hashes what is written to it and refuses to grow past what was announced."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path = path
        self.size = 0
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            raise bad_request(f"More bytes than announced: over {self._max_bytes}")
        self._hash.update(data)
        self._file.write(data)

    def move_to(self, target: Path) -> None:
        """Make the bytes durable, then visible under `target` in one step."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Drop what was not moved; harmless afterwards."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class BlobStore:
    """Only one server may use a folder at a time, because the sweep at start removes unfinished files."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._incoming = root / "incoming"
        self._parts = root / "parts"
        for folder in (self._blobs, self._incoming, self._parts):
            folder.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256[2:4] / sha256

    def holds(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def open_incoming(self, *, max_bytes: int) -> IncomingFile:
        return IncomingFile(self._incoming / secrets.token_hex(12), max_bytes=max_bytes)

    def keep(self, incoming: IncomingFile, *, sha256: str, size: int) -> None:
        """Publish a finished upload, if it is what was announced."""
        if incoming.size != size or incoming.sha256 != sha256:
            raise bad_request(f"Got {incoming.size} bytes with sha256 {incoming.sha256}, want {size} with {sha256}")
        incoming.move_to(self.path(sha256))

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.holds(sha256):
            incoming = self.open_incoming(max_bytes=len(data))
            try:
                incoming.write(data)
                self.keep(incoming, sha256=sha256, size=len(data))
            finally:
                incoming.discard()
        return sha256

    def keep_part(self, incoming: IncomingFile, *, repo_id: int, sha256: str, number: int) -> None:
        """Parts outlive a restart of the server, so that a large upload can go on."""
        incoming.move_to(self._part(repo_id, sha256, number))

    def join_parts(self, *, repo_id: int, sha256: str, size: int, count: int) -> None:
        parts = [self._part(repo_id, sha256, number) for number in range(1, count + 1)]
        if not all(part.is_file() for part in parts):
            raise bad_request("Not all parts were uploaded")
        incoming = self.open_incoming(max_bytes=size)
        try:
            for part in parts:
                with part.open("rb") as source:
                    while block := source.read(_BLOCK_BYTES):
                        incoming.write(block)
            self.keep(incoming, sha256=sha256, size=size)
        finally:
            incoming.discard()
        for part in parts:
            part.unlink(missing_ok=True)

    def remove(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def _part(self, repo_id: int, sha256: str, number: int) -> Path:
        return self._parts / f"{repo_id}-{sha256}-{number}"

    def _sweep(self) -> None:
        for unfinished in self._incoming.iterdir():
            unfinished.unlink()
        for part in self._parts.iterdir():
            if time.time() - part.stat().st_mtime > _PART_LIFETIME_S:
                part.unlink()
