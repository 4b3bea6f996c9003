"""What a repository, a path and a ref may be called; everything else is answered with 400."""

import re
from typing import Literal, cast

from hub.server.errors import bad_request

RepoKind = Literal["model", "dataset"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_PATH_CHARS = 1024
_MAX_SEGMENT_CHARS = 255


def is_commit(text: str) -> bool:
    return _COMMIT.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """The Hub's rule for owners and repositories: no `..`, no `--`, no `.git` at the end, no dot or dash at the end."""
    return (
        _NAME.fullmatch(text) is not None
        and ".." not in text
        and "--" not in text
        and not text.endswith((".git", ".", "-"))
    )


def check_name(text: str) -> str:
    if not is_name(text):
        raise bad_request(f"Invalid name: {text!r}")
    return text


def check_kind(text: str) -> RepoKind:
    if text not in ("model", "dataset"):
        raise bad_request(f"Repository type {text!r} is not served here, only model and dataset")
    return cast(RepoKind, text)


def check_path(path: str) -> str:
    """A relative path that is safe in a git tree and in any folder a client may write it to."""
    if not path or len(path) > _MAX_PATH_CHARS or "\\" in path or any(ord(char) < 32 for char in path):
        raise bad_request(f"Invalid path: {path!r}")
    for segment in path.split("/"):
        if segment in ("", ".", "..") or segment.lower() == ".git" or len(segment) > _MAX_SEGMENT_CHARS:
            raise bad_request(f"Invalid path: {path!r}")
    return path


def check_ref(name: str) -> str:
    """A branch or a tag. 40 hex digits are refused: such a name could pose as a commit."""
    bad_shape = _REF.fullmatch(name) is None or is_commit(name) or ".." in name or "//" in name
    if bad_shape or name.startswith("refs/") or name.endswith(("/", ".", ".lock")):
        raise bad_request(f"Invalid ref name: {name!r}")
    return name
