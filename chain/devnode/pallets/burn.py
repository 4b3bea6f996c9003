"""The price of registering: moved by an interval's registrations, by the new rules raised by each, halved by time."""

from functools import cache

from chain.devnode.pallet import Context, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.subtensor import SUBTENSOR

FRACTION = 18  # the old rules compute in U110F18
U64_MAX = (1 << 64) - 1
Q32 = 1 << 32


def move_price(context: Context, netuid: int) -> None:
    """At the start of every block."""
    if context.rules.price_decays:
        _decay(context, netuid)
    else:
        _adjust(context, netuid)
    s.REGISTRATIONS_THIS_BLOCK.put(context.state, netuid, 0)


def _adjust(context: Context, netuid: int) -> None:
    """Burn or difficulty rises after an interval with more registrations than wanted, whichever was used more."""
    state = context.state
    if context.block - s.LAST_ADJUSTMENT_BLOCK.get(state, netuid) < s.ADJUSTMENT_INTERVAL.get(state, netuid):
        return
    registered = s.REGISTRATIONS_THIS_INTERVAL.get(state, netuid)
    by_work, by_burn = (
        item.get(state, netuid) for item in (s.POW_REGISTRATIONS_THIS_INTERVAL, s.BURN_REGISTRATIONS_THIS_INTERVAL)
    )
    rises = registered > s.TARGET_REGISTRATIONS.get(state, netuid)
    if by_work == by_burn or (by_burn > by_work) == rises:
        burn = _adjusted(state, netuid, s.BURN.get(state, netuid), registered)
        s.BURN.put(state, netuid, _clamp(burn, s.MIN_BURN.get(state, netuid), s.MAX_BURN.get(state, netuid)))
    if by_work == by_burn or (by_work > by_burn) == rises:
        difficulty = _adjusted(state, netuid, s.DIFFICULTY.get(state, netuid), registered)
        lowest, highest = s.MIN_DIFFICULTY.get(state, netuid), s.MAX_DIFFICULTY.get(state, netuid)
        difficulty = _clamp(difficulty, lowest, highest)
        s.DIFFICULTY.put(state, netuid, difficulty)
        context.emit(SUBTENSOR, "DifficultySet", netuid, difficulty)
    s.LAST_ADJUSTMENT_BLOCK.put(state, netuid, context.block)
    for counter in (
        s.REGISTRATIONS_THIS_INTERVAL,
        s.POW_REGISTRATIONS_THIS_INTERVAL,
        s.BURN_REGISTRATIONS_THIS_INTERVAL,
    ):
        counter.put(state, netuid, 0)


def _clamp(value: int, lowest: int, highest: int) -> int:
    """The upper bound comes first: it holds where the two contradict each other."""
    return highest if value >= highest else max(value, lowest)


def _adjusted(state: State, netuid: int, value: int, registered: int) -> int:
    """A moving average towards value * (registered + target) / (2 * target), with the runtime's floors."""
    target = int(s.TARGET_REGISTRATIONS.get(state, netuid))
    fixed = value << FRACTION
    updated = fixed * min(registered + target, s.U16_MAX) // min(2 * target, s.U16_MAX) if target else 0
    keep = (int(s.ADJUSTMENT_ALPHA.get(state, netuid)) << FRACTION) // U64_MAX
    following = (keep * fixed >> FRACTION) + (((1 << FRACTION) - keep) * updated >> FRACTION)
    return following >> FRACTION


def _decay(context: Context, netuid: int) -> None:
    state, burn = context.state, int(s.BURN.get(context.state, netuid))
    half_life = int(s.BURN_HALF_LIFE.get(state, netuid))
    decayed = burn * decay_factor(half_life) // Q32 if half_life and context.block > 1 else burn
    put_price(state, netuid, decayed)


def put_price(state: State, netuid: int, burn: int) -> None:
    """Within its bounds; where they contradict each other the upper one holds."""
    burn = max(burn, int(s.MIN_BURN.get(state, netuid)))
    s.BURN.put(state, netuid, min(burn, int(s.MAX_BURN.get(state, netuid))))


def raise_after_registration(state: State, netuid: int) -> None:
    increase = max(1 << 64, int(s.BURN_INCREASE.get(state, netuid)["bits"]))
    put_price(state, netuid, min(U64_MAX, int(s.BURN.get(state, netuid)) * increase >> 64))


@cache
def decay_factor(half_life: int) -> int:
    """The largest 32-bit fraction whose power of `half_life` is not above one half, as the runtime searches it."""
    low, high = 0, Q32
    while low + 1 < high:
        middle = low + (high - low) // 2
        if _power(middle, half_life) > Q32 // 2:
            high = middle
        else:
            low = middle
    return low


def _power(base: int, exponent: int) -> int:
    result, factor = Q32, base
    while exponent:
        if exponent & 1:
            result = result * factor >> 32
        factor = factor * factor >> 32
        exponent >>= 1
    return result
