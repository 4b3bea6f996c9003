"""When a subnet's epochs fall, from block height alone: shared by the client and the embedded chain."""


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
