"""Blocks and state with history in one SQLite file: each block is one transaction, each past state can be read."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hivetune.errors import ConfigError

PREFIX_BYTES = 32  # twox128(pallet) + twox128(item): what map reads start from

SCHEMA = """
CREATE TABLE IF NOT EXISTS kv (key BLOB, block INTEGER, value BLOB, PRIMARY KEY (key, block)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, hash BLOB UNIQUE NOT NULL, parent BLOB NOT NULL,
    state_root BLOB NOT NULL, extrinsics_root BLOB NOT NULL, extrinsics TEXT NOT NULL);
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    number: int
    hash: bytes
    parent: bytes
    state_root: bytes
    extrinsics_root: bytes
    extrinsics: tuple[bytes, ...]


class Store:
    """The state at the head stays in memory; everything else is read from the file. For one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            raise ConfigError(f"chain state {path}: {error}; is another node running on it?") from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ConfigError(f"chain state {path} is not a chain of this node: {error}") from error
        self._current: dict[bytes, bytes] = {}
        self._by_prefix: dict[bytes, set[bytes]] = {}
        for key, value, _ in self._db.execute("SELECT key, value, max(block) FROM kv GROUP BY key"):
            if value is not None:
                self._remember(key, value)
        self.head = self._read_block("ORDER BY number DESC LIMIT 1")

    def close(self) -> None:
        self._db.close()

    def get(self, key: bytes) -> bytes | None:
        return self._current.get(key)

    def keys(self, prefix: bytes) -> list[bytes]:
        found = self._by_prefix.get(prefix[:PREFIX_BYTES], set())
        return sorted(key for key in found if key.startswith(prefix))

    def put(self, key: bytes, value: bytes | None) -> None:
        raise TypeError(f"state is written by whole blocks only, not {key.hex()} = {value!r}")

    def append(self, block: Block, changes: Mapping[bytes, bytes | None]) -> None:
        """Writes a block and what it changed, all or nothing."""
        real = {key: value for key, value in changes.items() if self._current.get(key) != value}
        texts = json.dumps([extrinsic.hex() for extrinsic in block.extrinsics])
        row = (block.number, block.hash, block.parent, block.state_root, block.extrinsics_root, texts)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)", row)
            self._db.executemany(
                "INSERT OR REPLACE INTO kv VALUES (?, ?, ?)",
                [(key, block.number, value) for key, value in real.items()],
            )
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        for key, value in real.items():
            self._remember(key, value)
        self.head = block

    def _remember(self, key: bytes, value: bytes | None) -> None:
        siblings = self._by_prefix.setdefault(key[:PREFIX_BYTES], set())
        if value is None:
            self._current.pop(key, None)
            siblings.discard(key)
        else:
            self._current[key] = value
            siblings.add(key)

    def get_at(self, key: bytes, block: int) -> bytes | None:
        if self.head is not None and block == self.head.number:
            return self.get(key)
        row = self._db.execute(
            "SELECT value FROM kv WHERE key = ? AND block <= ? ORDER BY block DESC LIMIT 1", (key, block)
        ).fetchone()
        return None if row is None else row[0]

    def keys_at(self, prefix: bytes, block: int, *, after: bytes, count: int) -> list[bytes]:
        """Up to `count` keys under a prefix that follow `after`, in order, as they were at a block."""
        rows = self._db.execute(
            "SELECT key, value, max(block) FROM kv WHERE key >= ? AND key > ? AND key < ? AND block <= ?"
            " GROUP BY key HAVING value IS NOT NULL ORDER BY key LIMIT ?",
            (prefix, after, prefix + b"\xff" * PREFIX_BYTES * 4, block, count),
        )
        return [row[0] for row in rows if row[0].startswith(prefix)]

    def block_by_hash(self, digest: bytes) -> Block | None:
        if self.head is not None and self.head.hash == digest:
            return self.head
        return self._read_block("WHERE hash = ?", digest)

    def block_by_number(self, number: int) -> Block | None:
        return self._read_block("WHERE number = ?", number)

    def _read_block(self, where: str, *parameters: bytes | int) -> Block | None:
        row = self._db.execute(f"SELECT * FROM blocks {where}", parameters).fetchone()
        if row is None:
            return None
        number, digest, parent, state_root, extrinsics_root, texts = row
        return Block(
            number=number,
            hash=digest,
            parent=parent,
            state_root=state_root,
            extrinsics_root=extrinsics_root,
            extrinsics=tuple(bytes.fromhex(text) for text in json.loads(texts)),
        )
