"""The secret that this miner's training draws from, so that nobody else can repeat the training and commit first."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from hivetune.errors import ConfigError

_BYTES = 32


def load_secret(path: Path) -> bytes:
    """Drawn once, the same after a restart: a training that goes on from a checkpoint needs its own seed again."""
    if not path.exists():
        _write_private(path, secrets.token_bytes(_BYTES))
    secret = path.read_bytes()
    if len(secret) != _BYTES:
        raise ConfigError(f"{path} has {len(secret)} bytes, a training secret {_BYTES}: move it away to draw another")
    return secret


def training_seed(secret: bytes, hotkey: str, round_id: int, chosen: int) -> int:
    """Of initialisation and data order, 32 bits. A file that is public tells nothing of the next round's."""
    name = f"{hotkey}:{round_id}:{chosen}"
    return int.from_bytes(hmac.digest(secret, name.encode(), hashlib.sha256)[:4], "big")


def _write_private(path: Path, data: bytes) -> None:
    """For its owner alone; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of a process that was killed
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
