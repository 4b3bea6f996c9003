"""When a subnet's epochs fall: by block height alone, or on newer runtimes by the last epoch and the owner's wish.

Shared by the client and the embedded chain.
"""

from dataclasses import dataclass


def runs_epoch(block: int, netuid: int, tempo: int) -> bool:
    return tempo > 0 and (block + netuid + 1) % (tempo + 1) == tempo


def epoch_index(block: int, netuid: int, tempo: int) -> int:
    return (block + netuid + 1) // (tempo + 1)


def next_epoch_block(after: int, netuid: int, tempo: int) -> int:
    """The first epoch block above `after`; a tempo of zero has no epochs."""
    if tempo <= 0:
        raise ValueError(f"subnet {netuid} has tempo {tempo}: no epochs")
    block = after + 1
    return block + (tempo - (block + netuid + 1)) % (tempo + 1)


def next_stateful_epoch(after: int, tempo: int, last: int, pending: int) -> int:
    """As `next_epoch_block`, where a tempo counts from the last epoch and the owner may ask for one earlier."""
    if tempo <= 0:
        raise ValueError(f"the subnet has tempo {tempo}: no epochs")
    regular = last + max(1, (after - last) // tempo + 1) * tempo
    return min(regular, pending) if pending > after else regular


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A subnet's epochs as of the block it was read at."""

    netuid: int
    tempo: int
    index: int | None  # epochs run so far, where the runtime counts them; None where block height tells
    last: int = 0  # block of the last epoch, where the runtime keeps it
    pending: int = 0  # block that the owner asked for; 0 for none

    def next_epoch(self, after: int) -> int:
        """The first epoch block above `after`."""
        if self.index is None:
            return next_epoch_block(after, self.netuid, self.tempo)
        return next_stateful_epoch(after, self.tempo, self.last, self.pending)

    def epoch_at(self, block: int) -> int:
        """The number of the epoch that a call in a block counts for; the next block, where epochs are counted."""
        if self.index is None:
            return epoch_index(block, self.netuid, self.tempo)
        return self.index + (self.next_epoch(block - 1) == block)

    @property
    def period(self) -> int:
        """Blocks from one epoch to the next."""
        return self.tempo + 1 if self.index is None else self.tempo
