"""Real git object ids, so that a 40-hex revision covers every byte of a repository.

A large file stands in the tree as its LFS pointer (git-lfs `docs/spec.md`), which names its sha256 and its size.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of a tree. `oid` is the git id: of the pointer for an LFS file, of the bytes for any other."""

    oid: str
    sha256: str
    size: int
    lfs: bool


def object_id(kind: str, body: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def lfs_entry(sha256: str, size: int) -> Entry:
    return Entry(oid=object_id("blob", lfs_pointer(sha256, size)), sha256=sha256, size=size, lfs=True)


def inline_entry(data: bytes) -> Entry:
    return Entry(oid=object_id("blob", data), sha256=hashlib.sha256(data).hexdigest(), size=len(data), lfs=False)


def folder_ids(files: Mapping[str, Entry]) -> dict[str, str]:
    """Tree id of each folder; the root is the empty string. No path may be both a file and a folder."""
    children: dict[str, dict[str, str | None]] = {"": {}}
    for path, entry in files.items():
        folder, _, leaf = path.rpartition("/")
        children.setdefault(folder, {})[leaf] = entry.oid
        while folder:
            parent, _, name = folder.rpartition("/")
            children.setdefault(parent, {})[name] = None
            folder = parent
    ids: dict[str, str] = {}
    deepest_first = sorted(children, key=lambda folder: folder.count("/") + 1 if folder else 0, reverse=True)
    for folder in deepest_first:
        prefix = f"{folder}/" if folder else ""
        rows = [(name, oid or ids[prefix + name], oid is None) for name, oid in children[folder].items()]
        # git sorts a folder as if its name ended with a slash.
        rows.sort(key=lambda row: (row[0] + "/" if row[2] else row[0]).encode())
        body = b"".join(
            (b"40000 " if is_folder else b"100644 ") + name.encode() + b"\0" + bytes.fromhex(oid)
            for name, oid, is_folder in rows
        )
        ids[folder] = object_id("tree", body)
    return ids


def commit_id(*, tree: str, parent: str | None, author: str, message: str, unix_time: int) -> str:
    person = f"{author} <{author}@hub> {unix_time} +0000"
    lines = [f"tree {tree}", *([f"parent {parent}"] if parent else []), f"author {person}", f"committer {person}"]
    return object_id("commit", ("\n".join(lines) + f"\n\n{message}").encode())
