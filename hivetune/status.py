"""What a node is doing, for its log, its heartbeat and whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """One moment of a node's work."""

    round_id: int | None
    activity: str  # a few words: "training", "scoring 5F3s...", "waiting for block 120"
    done: int = 0
    total: int = 0  # 0: no measure of progress
    waiting_for: int | None = None  # block height, when there is nothing else to do
    note: str = ""  # what came of the last thing done


Report = Callable[[Status], None]


class Node(Protocol):
    """A role's work, cut so that it can be killed between any two lines and started again."""

    def step(self) -> int:
        """Do whatever is due now; return the block before which there is nothing to do."""
        ...
