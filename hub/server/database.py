"""The SQLite file beside the blobs: tokens, repositories, commits, trees, refs and who proved to hold which blob."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens(
    hash TEXT PRIMARY KEY, owner TEXT NOT NULL, role TEXT NOT NULL CHECK(role IN ('read', 'write')));
CREATE TABLE IF NOT EXISTS repos(
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, owner TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE, private INT NOT NULL, created TEXT NOT NULL, UNIQUE(kind, owner, name));
CREATE TABLE IF NOT EXISTS trees(oid TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commits(
    repo INT NOT NULL REFERENCES repos(id) ON DELETE CASCADE, oid TEXT NOT NULL,
    tree TEXT NOT NULL REFERENCES trees(oid), parent TEXT,
    author TEXT NOT NULL, title TEXT NOT NULL, message TEXT NOT NULL, date TEXT NOT NULL, PRIMARY KEY(repo, oid));
CREATE TABLE IF NOT EXISTS refs(
    repo INT NOT NULL REFERENCES repos(id) ON DELETE CASCADE, ref TEXT NOT NULL, oid TEXT NOT NULL,
    PRIMARY KEY(repo, ref));
CREATE TABLE IF NOT EXISTS blobs(
    repo INT NOT NULL REFERENCES repos(id) ON DELETE CASCADE, sha256 TEXT NOT NULL, size INT NOT NULL,
    PRIMARY KEY(repo, sha256));
"""
_BUSY_TIMEOUT_S = 30.0


class Database:
    """One connection per thread. A committed transaction survives `kill -9` and power loss (WAL, synchronous=FULL)."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._path = root / "hub.sqlite"
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._write_lock = threading.Lock()
        self.connection().executescript(_SCHEMA)

    def connection(self) -> sqlite3.Connection:
        existing: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if existing is not None:
            return existing
        opened = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
        opened.row_factory = sqlite3.Row
        opened.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
        self._local.connection = opened
        self._opened.append(opened)
        return opened

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. BEGIN IMMEDIATE takes SQLite's write lock first, so what is read inside stays true."""
        with self._write_lock:
            connection = self.connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Only once no request runs any more."""
        while self._opened:
            self._opened.pop().close()
        self._local = threading.local()
