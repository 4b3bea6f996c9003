"""Blocks and state with history in one SQLite file: each block is one transaction, each past state can be read."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chain.devnode.blocks import Block
from hivetune.errors import ConfigError

PREFIX_BYTES = 32  # twox128(pallet) + twox128(item): what map reads start from

SCHEMA = """
CREATE TABLE IF NOT EXISTS kv (key BLOB, block INTEGER, value BLOB, PRIMARY KEY (key, block)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, hash BLOB UNIQUE NOT NULL, parent BLOB NOT NULL,
    state_root BLOB NOT NULL, extrinsics_root BLOB NOT NULL, extrinsics TEXT NOT NULL);
"""


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
        self._load()

    def _load(self) -> None:
        self._current: dict[bytes, bytes] = {}
        self._by_prefix: dict[bytes, set[bytes]] = {}
        self._abandoned: dict[bytes, tuple[Block, dict[bytes, bytes]]] = {}
        self._remember(self._state_at(1 << 62))
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

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is on the disk together or not at all."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        done = False
        try:
            yield
            self._db.execute("COMMIT")
            done = True
        finally:
            if not done:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._load()

    def append(self, block: Block, changes: Mapping[bytes, bytes | None]) -> None:
        """Writes a block and what it changed, all or nothing."""
        real = {key: value for key, value in changes.items() if self._current.get(key) != value}
        texts = json.dumps([extrinsic.hex() for extrinsic in block.extrinsics])
        row = (block.number, block.hash, block.parent, block.state_root, block.extrinsics_root, texts)
        with self.transaction():
            self._db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)", row)
            self._db.executemany(
                "INSERT OR REPLACE INTO kv VALUES (?, ?, ?)",
                [(key, block.number, value) for key, value in real.items()],
            )
            self._remember(real)
            self.head = block

    def rewind(self, number: int) -> list[Block]:
        """Takes the blocks above a number off the chain and returns them; they can still be read at their hashes."""
        with self.transaction():
            rows = self._db.execute("SELECT * FROM blocks WHERE number > ? ORDER BY number", (number,))
            gone = [_block(row) for row in rows.fetchall()]
            self._abandoned.update({block.hash: (block, self._state_at(block.number)) for block in gone})
            changed = [row[0] for row in self._db.execute("SELECT DISTINCT key FROM kv WHERE block > ?", (number,))]
            self._db.execute("DELETE FROM kv WHERE block > ?", (number,))
            self._db.execute("DELETE FROM blocks WHERE number > ?", (number,))
            self._remember({key: self._past(key, number) for key in changed})
            self.head = self.block_by_number(number)
        return gone

    def forget_abandoned(self, number: int) -> None:
        """Abandoned blocks up to a number become unknown."""
        for digest in [digest for digest, (block, _) in self._abandoned.items() if block.number <= number]:
            del self._abandoned[digest]

    def _state_at(self, number: int) -> dict[bytes, bytes]:
        rows = self._db.execute("SELECT key, value, max(block) FROM kv WHERE block <= ? GROUP BY key", (number,))
        return {key: value for key, value, _ in rows if value is not None}

    def _remember(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            siblings = self._by_prefix.setdefault(key[:PREFIX_BYTES], set())
            if value is None:
                self._current.pop(key, None)
                siblings.discard(key)
            else:
                self._current[key] = value
                siblings.add(key)

    def get_at(self, key: bytes, block: Block) -> bytes | None:
        if self.head is not None and block.hash == self.head.hash:
            return self.get(key)
        if block.hash in self._abandoned:
            return self._abandoned[block.hash][1].get(key)
        return self._past(key, block.number)

    def _past(self, key: bytes, number: int) -> bytes | None:
        row = self._db.execute(
            "SELECT value FROM kv WHERE key = ? AND block <= ? ORDER BY block DESC LIMIT 1", (key, number)
        ).fetchone()
        return None if row is None else row[0]

    def keys_at(self, prefix: bytes, block: Block, *, after: bytes, count: int) -> list[bytes]:
        """Up to `count` keys under a prefix that follow `after`, in order, as they were at a block."""
        if block.hash in self._abandoned:
            state = self._abandoned[block.hash][1]
            return sorted(key for key in state if key > after and key.startswith(prefix))[:count]
        rows = self._db.execute(
            "SELECT key, value, max(block) FROM kv WHERE key >= ? AND key > ? AND key < ? AND block <= ?"
            " GROUP BY key HAVING value IS NOT NULL ORDER BY key LIMIT ?",
            (prefix, after, prefix + b"\xff" * PREFIX_BYTES * 4, block.number, count),
        )
        return [row[0] for row in rows if row[0].startswith(prefix)]

    def block_by_hash(self, digest: bytes) -> Block | None:
        """Also of an abandoned block, until it is forgotten."""
        if self.head is not None and self.head.hash == digest:
            return self.head
        if digest in self._abandoned:
            return self._abandoned[digest][0]
        return self._read_block("WHERE hash = ?", digest)

    def block_by_number(self, number: int) -> Block | None:
        if self.head is not None and self.head.number == number:
            return self.head
        return self._read_block("WHERE number = ?", number)

    def _read_block(self, where: str, *parameters: bytes | int) -> Block | None:
        row = self._db.execute(f"SELECT * FROM blocks {where}", parameters).fetchone()
        return None if row is None else _block(row)


def _block(row: tuple[int, bytes, bytes, bytes, bytes, str]) -> Block:
    number, digest, parent, state_root, extrinsics_root, texts = row
    return Block(
        number=number,
        hash=digest,
        parent=parent,
        state_root=state_root,
        extrinsics_root=extrinsics_root,
        extrinsics=tuple(bytes.fromhex(text) for text in json.loads(texts)),
    )
