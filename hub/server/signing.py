"""Signed upload links: a client sends no token with LFS bytes (huggingface_hub `lfs.py`), the link is the right."""

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Literal

from hub.server.errors import HubError

PartName = int | Literal["all", "done"]


def load_signing_key(root: Path) -> bytes:
    """The same key after a restart, so that links handed out before it stay good."""
    path = root / "signing.key"
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_bytes(32))
        fresh.replace(path)
    return path.read_bytes()


class LinkSigner:
    def __init__(self, key: bytes, *, lifetime_s: int) -> None:
        self._key = key
        self._lifetime_s = lifetime_s

    def link(self, *, repo_id: int, sha256: str, size: int, part: PartName) -> str:
        expires = int(time.time()) + self._lifetime_s
        signature = self._signature(repo_id, sha256, size, expires, part)
        return f"/_lfs/{repo_id}/{sha256}/{size}/{expires}/{part}?sig={signature}"

    def check(self, *, repo_id: int, sha256: str, size: int, expires: int, part: PartName, signature: str) -> None:
        expected = self._signature(repo_id, sha256, size, expires, part)
        if expires < time.time() or not hmac.compare_digest(signature.encode(), expected.encode()):
            raise HubError(403, "Bad or expired upload signature")

    def _signature(self, repo_id: int, sha256: str, size: int, expires: int, part: PartName) -> str:
        text = f"{repo_id}\n{sha256}\n{size}\n{expires}\n{part}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
