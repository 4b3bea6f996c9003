"""What owners may do about their epochs by the new rules: set_tempo, set_activity_cutoff_factor, trigger_epoch."""

from chain.devnode.pallet import Context, DispatchError, Origin
from chain.devnode.pallets import limits
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.schedule import LONGEST_TEMPO, blocks_until_next
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.rules import NEW
from chain.devnode.scale import U16, U32

FACTORS = range(1_000, 50_001)  # thousandths of a tempo


def ensure_owner(context: Context, origin: Origin, netuid: int) -> bytes:
    """The owner's coldkey; nobody else, root neither."""
    who = origin.signed()
    if s.SUBNET_OWNER.get(context.state, netuid) != who:
        raise DispatchError("BadOrigin")
    return who


def ensure_owner_or_root(context: Context, origin: Origin, netuid: int) -> bool:
    """Whether it is the owner who calls."""
    if origin.account is None:
        return False
    ensure_owner(context, origin, netuid)
    return True


def restart_tempo(context: Context, netuid: int, tempo: int) -> None:
    s.TEMPO.put(context.state, netuid, tempo)
    context.emit(SUBTENSOR, "TempoSet", netuid, tempo)
    if context.rules.stateful_epochs:
        s.LAST_EPOCH_BLOCK.put(context.state, netuid, context.block)


@SUBTENSOR.call(139, NEW, netuid=U16, tempo=U16)
def set_tempo(context: Context, origin: Origin, netuid: int, tempo: int) -> None:
    who = ensure_owner(context, origin, netuid)
    SUBTENSOR.ensure(limits.SHORTEST_TEMPO <= tempo <= LONGEST_TEMPO, "TempoOutOfBounds")
    limits.ensure_window(context, netuid)
    limits.ensure_transaction(context, who, netuid, limits.TEMPO)
    restart_tempo(context, netuid, tempo)
    limits.record_transaction(context, who, netuid, limits.TEMPO)


@SUBTENSOR.call(140, NEW, netuid=U16, factor_milli=U32)
def set_activity_cutoff_factor(context: Context, origin: Origin, netuid: int, factor_milli: int) -> None:
    is_owner = ensure_owner_or_root(context, origin, netuid)
    SUBTENSOR.ensure(factor_milli in FACTORS, "ActivityCutoffFactorMilliOutOfBounds")
    if is_owner:
        limits.ensure_window(context, netuid)
        limits.ensure_not_too_often(context, netuid, "ActivityCutoffFactorMilli")
    s.ACTIVITY_CUTOFF_FACTOR.put(context.state, netuid, factor_milli)
    context.emit(SUBTENSOR, "ActivityCutoffFactorMilliSet", netuid, factor_milli)
    if is_owner:
        limits.record(context, netuid, "ActivityCutoffFactorMilli")


@SUBTENSOR.call(141, NEW, netuid=U16)
def trigger_epoch(context: Context, origin: Origin, netuid: int) -> None:
    """Asks for an epoch soon, after the blocks in which no hyperparameter changes."""
    who, state = ensure_owner(context, origin, netuid), context.state
    SUBTENSOR.ensure(not s.COMMIT_REVEAL_ON.get(state, netuid), "DynamicTempoBlockedByCommitReveal")
    SUBTENSOR.ensure(s.PENDING_EPOCH_AT.get(state, netuid) == 0, "EpochTriggerAlreadyPending")
    window = int(s.ADMIN_FREEZE_WINDOW.get(state))
    tempo = s.TEMPO.get(state, netuid)
    remaining = blocks_until_next(state, netuid, context.block) if tempo else window
    SUBTENSOR.ensure(remaining >= window, "AutoEpochAlreadyImminent")
    limits.ensure_not_too_often(context, netuid, "TriggerEpoch")
    fires_at = context.block + window
    s.PENDING_EPOCH_AT.put(state, netuid, fires_at)
    limits.record(context, netuid, "TriggerEpoch")
    context.emit(SUBTENSOR, "EpochTriggered", netuid, who, fires_at)
