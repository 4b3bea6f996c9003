"""Weights that are committed and not yet revealed, on disk: without the salt they could never be shown."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hivetune.errors import ConfigError
from hivetune.files import write_atomically


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingReveal:
    """Written before its commit is sent."""

    netuid: int
    hotkey: str
    commit_hash: str
    values: Mapping[int, int]
    salt: tuple[int, ...]
    version_key: int
    since: int  # finalized block when it was written; a commit that is in no block long after never will be


class PendingReveals:
    """A small JSON file; every change is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[PendingReveal]:
        """Oldest first; ConfigError when somebody damaged the file, for its salts are lost then."""
        try:
            items = json.loads(self._path.read_text(encoding="utf-8"))
            return [_read(item) for item in items]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{self._path} does not hold pending reveals ({error}); move it away to go on") from None

    def add(self, pending: PendingReveal) -> None:
        self._write([*self.all(), pending])

    def remove(self, commit_hash: str) -> None:
        self._write([pending for pending in self.all() if pending.commit_hash != commit_hash])

    def _write(self, pending: list[PendingReveal]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps([asdict(item) for item in pending]).encode())


def _read(item: dict[str, object]) -> PendingReveal:
    values, salt = item.pop("values"), item.pop("salt")
    if not isinstance(values, dict) or not isinstance(salt, list):
        raise TypeError("values or salt missing")
    return PendingReveal(
        **item,  # type: ignore[arg-type]  # a wrong name or a missing one is a TypeError, told above
        values={int(uid): int(value) for uid, value in values.items()},
        salt=tuple(int(number) for number in salt),
    )
