"""A chain's state: the head, every older block, and overlays that a runtime call writes into."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chain.devnode.scale import MalformedBytes, Reader, compact


class View(Protocol):
    """A state that can be read, its keys in order."""

    def get(self, key: bytes) -> bytes | None: ...

    def next_key(self, key: bytes) -> bytes | None:
        """The first key after `key` that has a value."""
        ...


@dataclass(slots=True)
class Versions:
    """All values one key has had, and the block that each came with."""

    blocks: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)

    def at(self, block: int) -> bytes | None:
        index = bisect_right(self.blocks, block)
        return self.values[index - 1] if index else None

    def put(self, block: int, value: bytes | None) -> None:
        if self.blocks and self.blocks[-1] == block:
            self.values[-1] = value
        else:
            self.blocks.append(block)
            self.values.append(value)


class History:
    """Every key's values over all blocks. Block 0 is the genesis; blocks follow one another without a gap."""

    def __init__(self) -> None:
        self._head: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []  # of the head, in order
        self._versions: dict[bytes, Versions] = {}
        self._every_key: list[bytes] = []  # that ever had a value, in order
        self._next_block = 0

    def append(self, changes: Mapping[bytes, bytes | None]) -> int:
        """Adds a block and returns its number."""
        self._next_block += 1
        self.amend(changes)
        return self._next_block - 1

    def amend(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Changes the newest block's state after the fact."""
        for key, value in changes.items():
            before = self._head.get(key)
            if value == before:
                continue
            if value is None:
                del self._head[key]
                del self._keys[bisect_left(self._keys, key)]
            else:
                self._head[key] = value
                if before is None:
                    insort(self._keys, key)
            versions = self._versions.get(key)
            if versions is None:
                versions = self._versions[key] = Versions()
                insort(self._every_key, key)
            versions.put(self._next_block - 1, value)

    def get(self, key: bytes) -> bytes | None:
        return self._head.get(key)

    def next_key(self, key: bytes) -> bytes | None:
        index = bisect_right(self._keys, key)
        return self._keys[index] if index < len(self._keys) else None

    def get_at(self, key: bytes, block: int) -> bytes | None:
        if block >= self._next_block - 1:
            return self._head.get(key)
        versions = self._versions.get(key)
        return None if versions is None else versions.at(block)

    def keys_at(self, prefix: bytes, block: int, *, after: bytes, count: int) -> list[bytes]:
        """Up to `count` keys under a prefix that follow `after`, in order, as they were at a block."""
        found: list[bytes] = []
        for key in self._keys_from(prefix, after):
            if len(found) == count or not key.startswith(prefix):
                break
            if self.get_at(key, block) is not None:
                found.append(key)
        return found

    def _keys_from(self, prefix: bytes, after: bytes) -> Iterator[bytes]:
        start = bisect_left(self._every_key, prefix) if after < prefix else bisect_right(self._every_key, after)
        for index in range(start, len(self._every_key)):
            yield self._every_key[index]

    def next_key_at(self, key: bytes, block: int) -> bytes | None:
        for index in range(bisect_right(self._every_key, key), len(self._every_key)):
            if self.get_at(self._every_key[index], block) is not None:
                return self._every_key[index]
        return None

    def view(self, block: int) -> View:
        return self if block >= self._next_block - 1 else PastView(self, block)


class PastView:
    """The state as it was after an older block."""

    def __init__(self, history: History, block: int) -> None:
        self._history = history
        self._block = block

    def get(self, key: bytes) -> bytes | None:
        return self._history.get_at(key, self._block)

    def next_key(self, key: bytes) -> bytes | None:
        return self._history.next_key_at(key, self._block)


class UnbalancedTransactions(RuntimeError):  # noqa: N818 - what the runtime's calls were
    """A runtime ended a storage transaction that it had not begun."""


class Overlay:
    """Changes over a view, with nested transactions.

    All levels share one dictionary; a transaction is the list of what to put back. So a read costs the same
    at any depth, and committing costs nothing.
    """

    def __init__(self, below: View) -> None:
        self._below = below
        self.changes: dict[bytes, bytes | None] = {}
        self._keys: list[bytes] = []  # of the changes, in order
        self._undo: list[list[tuple[bytes, bool, bytes | None]]] = []  # (key, was it changed before, its value then)

    @property
    def depth(self) -> int:
        return len(self._undo)

    def get(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self._below.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        known = key in self.changes
        if self._undo:
            self._undo[-1].append((key, known, self.changes.get(key)))
        if not known:
            insort(self._keys, key)
        self.changes[key] = value

    def next_key(self, key: bytes) -> bytes | None:
        below = self._below.next_key(key)
        while below is not None and below in self.changes:
            below = self._below.next_key(below)
        for index in range(bisect_right(self._keys, key), len(self._keys)):
            candidate = self._keys[index]
            if below is not None and candidate > below:
                break
            if self.changes[candidate] is not None:
                return candidate
        return below

    def append(self, key: bytes, item: bytes) -> None:
        """Puts one more encoded item into a SCALE vector; what is no vector is replaced, as Substrate does."""
        vector = self.get(key) or b"\0"
        reader = Reader(vector)
        try:
            count = reader.compact()
        except MalformedBytes:
            count, reader = 0, Reader(b"")
        self.put(key, compact(count + 1) + reader.data[reader.offset :] + item)

    def clear_prefix(self, prefix: bytes, most: int | None = None) -> tuple[int, bool]:
        """Removes keys in order: how many went, and whether some are left."""
        gone = 0
        key: bytes | None = prefix if self.get(prefix) is not None else self.next_key(prefix)
        while key is not None and key.startswith(prefix) and gone != most:
            self.put(key, None)
            gone += 1
            key = self.next_key(key)
        return gone, key is not None and key.startswith(prefix)

    def begin(self) -> None:
        self._undo.append([])

    def commit(self) -> None:
        done = self._end()
        if self._undo:
            self._undo[-1].extend(done)

    def rollback(self) -> None:
        for key, known, value in reversed(self._end()):
            if known:
                self.changes[key] = value
            else:
                del self.changes[key]
                del self._keys[bisect_left(self._keys, key)]

    def rollback_to(self, depth: int) -> None:
        """Undoes the transactions that a failed call left open."""
        while self.depth > depth:
            self.rollback()

    def _end(self) -> list[tuple[bytes, bool, bytes | None]]:
        if not self._undo:
            raise UnbalancedTransactions("no storage transaction is open")
        return self._undo.pop()
