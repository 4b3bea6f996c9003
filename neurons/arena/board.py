"""What cheaters know that they should not, and what everybody's work has cost.

Honest neurons never read it. Every honest file is on it as soon as it is written: no leak can be worse.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from neurons.arena.deltas import Adapter

Value = TypeVar("Value")


@dataclass(kw_only=True, slots=True)
class Board:
    """Shared by all neurons of an arena; threads take turns."""

    tokens: Counter[str] = field(default_factory=Counter)  # trained on, by hotkey
    leaks: dict[int, dict[str, Adapter]] = field(default_factory=dict)  # by round, by hotkey: honest miners' work
    drawn: dict[int, tuple[int, ...]] = field(default_factory=dict)  # by round: rows that validators scored on
    _made: dict[object, object] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def spend(self, hotkey: str, tokens: int) -> None:
        """Training costs."""
        with self._lock:
            self.tokens[hotkey] += tokens

    def leak(self, round_id: int, hotkey: str, file: Adapter) -> None:
        """An honest miner's file becomes known to all cheaters, before the deadline."""
        with self._lock:
            self.leaks.setdefault(round_id, {})[hotkey] = file

    def once(self, key: object, make: Callable[[], Value]) -> Value:
        """What several hotkeys of one hand share is made by the first of them."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]  # type: ignore[return-value]  # whoever names a key makes the same under it
