"""What the client tells about a repository, read from the library's answers."""

from dataclasses import dataclass
from typing import Literal

from huggingface_hub.hf_api import RepoFile, RepoFolder

from hub.names import is_commit

RepoKind = Literal["model", "dataset"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file as the Hub lists it, with a sha256 for LFS files only: the Hub's word until the bytes are checked."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CommitInfo:
    """One commit of a repository's history."""

    revision: str
    title: str
    created_unix_s: float


def as_remote_file(item: RepoFile | RepoFolder) -> RemoteFile | None:
    """None for a folder; an item with fields of another type is an unreadable answer."""
    if not isinstance(item, RepoFile):
        return None
    sha256 = item.lfs.sha256 if item.lfs is not None else None
    if not isinstance(item.size, int) or not isinstance(item.path, str) or not isinstance(sha256, str | None):
        raise TypeError(f"file listing with path {item.path!r}, size {item.size!r}, sha256 {sha256!r}")
    return RemoteFile(path=item.path, size=item.size, sha256=sha256)


def as_revision(oid: str | None) -> str:
    if not isinstance(oid, str) or not is_commit(oid):
        raise ValueError(f"the Hub named {str(oid)[:80]!r} for a revision")
    return oid
