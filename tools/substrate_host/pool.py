"""Extrinsics that wait for a block, ordered as Substrate's pool orders them: by the tags they require and provide."""

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tools.substrate_host.validity import ValidTransaction

MAX_WAITING = 8192
BAN_S = 30 * 60.0  # Substrate's: a hash that was included or found invalid is not taken again so soon

TOO_LOW = "The transaction has too low priority to replace another transaction already in the pool."
POOL_FULL = "The transaction couldn't enter the pool because of the limit"


class PoolRefused(ValueError):  # noqa: N818 - what the pool did
    """The pool does not take an extrinsic; the code is Substrate's."""

    def __init__(self, code: int, message: str, data: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.data = data


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    raw: bytes
    hash: bytes
    arrival: int
    valid_until: int  # block
    validity: ValidTransaction


class Pool:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting: dict[bytes, Waiting] = {}
        self._provided: dict[bytes, bytes] = {}  # tag -> hash of who provides it
        self._banned: dict[bytes, float] = {}  # hash -> until when
        self._arrivals = 0
        self._clock = clock

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(list(self._waiting.values()))

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._waiting

    def refuse_known(self, digest: bytes) -> None:
        """PoolRefused for what waits already or came up a moment ago."""
        if self._banned.get(digest, 0.0) > self._clock():
            raise PoolRefused(1012, "Transaction is temporarily banned")
        if digest in self._waiting:
            raise PoolRefused(1013, "Transaction Already Imported", "0x" + digest.hex())

    def add(self, raw: bytes, digest: bytes, validity: ValidTransaction, block: int) -> list[bytes]:
        """Takes an extrinsic checked at `block`; returns the hashes of those that it replaces by its priority."""
        rivals = {self._provided[tag] for tag in validity.provides if tag in self._provided}
        least = sum(self._waiting[rival].validity.priority for rival in rivals)
        if rivals and validity.priority <= least:
            raise PoolRefused(1014, f"Priority is too low: ({least} vs {validity.priority})", TOO_LOW)
        if len(self._waiting) - len(rivals) >= MAX_WAITING:
            raise PoolRefused(1016, "Immediately Dropped", POOL_FULL)
        for rival in rivals:
            self.remove(rival)
        self._arrivals += 1
        until = min(block + validity.longevity, 2**63)
        self._put(Waiting(raw=raw, hash=digest, arrival=self._arrivals, valid_until=until, validity=validity))
        return list(rivals)

    def _put(self, entry: Waiting) -> None:
        self._waiting[entry.hash] = entry
        self._provided.update(dict.fromkeys(entry.validity.provides, entry.hash))

    def refresh(self, digest: bytes, validity: ValidTransaction, block: int) -> None:
        """The same extrinsic, checked again."""
        entry = self.remove(digest)
        until = min(block + validity.longevity, 2**63)
        self._put(replace(entry, validity=validity, valid_until=until))

    def remove(self, digest: bytes) -> Waiting:
        entry = self._waiting.pop(digest)
        for tag in entry.validity.provides:
            if self._provided.get(tag) == digest:
                del self._provided[tag]
        return entry

    def ban(self, digest: bytes) -> None:
        now = self._clock()
        self._banned = {key: until for key, until in self._banned.items() if until > now}
        self._banned[digest] = now + BAN_S

    def clear(self) -> list[bytes]:
        """Forgets everything, as a node does that restarts; returns the hashes of what waited."""
        gone = list(self._waiting)
        self._waiting.clear()
        self._provided.clear()
        self._banned.clear()
        return gone

    def ready(self) -> list[Waiting]:
        """Those that can be in the next block, each after what it requires, the highest priority first."""
        missing: dict[bytes, int] = {}
        wanted_by: dict[bytes, list[Waiting]] = {}
        heap: list[tuple[int, int, int, bytes]] = []
        for entry in self._waiting.values():
            missing[entry.hash] = len(set(entry.validity.requires))
            for tag in set(entry.validity.requires):
                wanted_by.setdefault(tag, []).append(entry)
            if not missing[entry.hash]:
                heapq.heappush(heap, _rank(entry))
        found: list[Waiting] = []
        while heap:
            entry = self._waiting[heapq.heappop(heap)[-1]]
            found.append(entry)
            for tag in entry.validity.provides:
                for freed in wanted_by.get(tag, ()):
                    missing[freed.hash] -= 1
                    if not missing[freed.hash]:
                        heapq.heappush(heap, _rank(freed))
        return found


def _rank(entry: Waiting) -> tuple[int, int, int, bytes]:
    return -entry.validity.priority, entry.valid_until, entry.arrival, entry.hash
