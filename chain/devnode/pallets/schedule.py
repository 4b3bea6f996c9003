"""When a subnet's epochs fall and what their number is, by the rules of the chain."""

from chain.devnode.pallet import State, rules_of
from chain.devnode.pallets import subtensor as s
from chain.schedule import epoch_index, runs_epoch

LONGEST_TEMPO = 50_400


def is_due(state: State, netuid: int, block: int) -> bool:
    """Whether an epoch is to run in a block; by the new rules no longer once it has."""
    tempo = int(s.TEMPO.get(state, netuid))
    if not rules_of(state).stateful_epochs:
        return runs_epoch(block, netuid, tempo)
    if tempo == 0:
        return False
    pending = s.PENDING_EPOCH_AT.get(state, netuid)
    if 0 < pending <= block or s.BLOCKS_SINCE_LAST_STEP.get(state, netuid) > LONGEST_TEMPO:
        return True
    return bool(block - s.LAST_EPOCH_BLOCK.get(state, netuid) >= tempo)


def epoch_of(state: State, netuid: int, block: int) -> int:
    """The number of a block's epoch by the old rules, which count from block 0."""
    return epoch_index(block, netuid, int(s.TEMPO.get(state, netuid)))


def epoch_now(state: State, netuid: int, block: int) -> int:
    """By the new rules one that is due counts as begun."""
    if rules_of(state).stateful_epochs:
        return int(s.SUBNET_EPOCH_INDEX.get(state, netuid)) + is_due(state, netuid, block)
    return epoch_of(state, netuid, block)


def blocks_until_next(state: State, netuid: int, block: int) -> int:
    """By the new rules, if nobody asks for an epoch before its time."""
    last, tempo = s.LAST_EPOCH_BLOCK.get(state, netuid), s.TEMPO.get(state, netuid)
    return max(0, int(last + tempo - block))
