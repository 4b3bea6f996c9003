"""Names that cannot exist on a Hub are refused before any request, so that none can shape a URL or a local path."""

import re

from hub.failures import NotOnHub

_PART = re.compile(r"[A-Za-z0-9._-]{1,96}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_MAX_PATH_CHARS = 1024


def check_repo(repo: str) -> str:
    owner, slash, name = repo.partition("/")
    for part in (owner, name):
        bad = _PART.fullmatch(part) is None or ".." in part or "--" in part or part[0] in ".-" or part[-1] in ".-"
        if not slash or bad or part.endswith(".git"):
            raise NotOnHub(f"{repo!r} cannot be a repository: want owner/name of letters, digits, '.', '_' and '-'")
    return repo


def check_revision(revision: str) -> str:
    if _REVISION.fullmatch(revision) is None or ".." in revision:
        raise NotOnHub(f"{revision!r} cannot be a revision")
    return revision


def is_commit(revision: str) -> bool:
    return _COMMIT.fullmatch(revision) is not None


def check_commit(revision: str) -> str:
    """A branch or a tag can move; only a commit id names the same bytes for everybody."""
    if not is_commit(revision):
        raise NotOnHub(f"{revision!r} is not an immutable revision: want 40 hex digits")
    return revision


def check_path(path: str) -> str:
    if len(path) > _MAX_PATH_CHARS or "\\" in path or not path.isprintable():
        raise NotOnHub(f"{path[:200]!r} cannot be a path in a repository")
    if any(segment in ("", ".", "..") or segment.lower() == ".git" for segment in path.split("/")):
        raise NotOnHub(f"{path[:200]!r} cannot be a path in a repository")
    return path
