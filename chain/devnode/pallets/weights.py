"""set_weights, with the pallet's checks in the pallet's order, and its u16 arithmetic."""

from collections.abc import Sequence

from chain.devnode.pallet import Context, Origin, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.scale import U16, U64, Vec

U16_MAX = 65_535
ONE = 1 << 32  # I32F32


def max_upscale(values: Sequence[int]) -> list[int]:
    """Scales so that the largest becomes 65535, rounding as the pallet's I32F32 does."""
    largest = max(values, default=0)
    if largest == 0:
        return list(values)
    if largest > U16_MAX // 2 + 1:
        ratio = U16_MAX * ONE // largest
        return [_round(value * ratio) for value in values]
    return [_round(value * U16_MAX * ONE // largest) for value in values]


def _round(fixed: int) -> int:
    return min(U16_MAX, (fixed + ONE // 2) // ONE)


def is_max_limited(values: Sequence[int], limit: int) -> bool:
    """Whether the largest share of the sum is within limit / 65535, floors as in the pallet."""
    total = sum(values)
    if total == 0:
        return True
    return max(values) * ONE // total <= limit * ONE // U16_MAX


def _is_self_weight(uid: int, dests: list[int]) -> bool:
    return dests == [uid]


def _check_caller(state: State, netuid: int, hotkey: bytes, version_key: int, block: int) -> int:
    SUBTENSOR.ensure(s.UIDS.has(state, netuid, hotkey), "HotKeyNotRegisteredInSubNet")
    stake = s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid)
    SUBTENSOR.ensure(stake >= s.STAKE_THRESHOLD.get(state), "NotEnoughStakeToSetWeights")
    wanted = s.WEIGHTS_VERSION_KEY.get(state, netuid)
    SUBTENSOR.ensure(wanted == 0 or version_key >= wanted, "IncorrectWeightVersionKey")
    uid = int(s.UIDS.get(state, netuid, hotkey))
    last = s.LAST_UPDATE.get(state, netuid)[uid]
    limit = s.WEIGHTS_SET_RATE_LIMIT.get(state, netuid)
    SUBTENSOR.ensure(last == 0 or block - last >= limit, "SettingWeightsTooFast")
    return uid


def _check_values(state: State, netuid: int, uid: int, dests: list[int], weights: list[int]) -> list[int]:
    count = s.SUBNETWORK_N.get(state, netuid)
    own = _is_self_weight(uid, dests)
    SUBTENSOR.ensure(len(set(dests)) == len(dests), "DuplicateUids")
    SUBTENSOR.ensure(all(dest < count for dest in dests), "UidVecContainInvalidOne")
    fewest = min(count, s.MIN_ALLOWED_WEIGHTS.get(state, netuid))
    SUBTENSOR.ensure(own or len(dests) >= fewest, "WeightVecLengthIsLow")
    upscaled = max_upscale(weights)
    limit = s.MAX_WEIGHTS_LIMIT.get(state, netuid)
    SUBTENSOR.ensure(own or limit == U16_MAX or is_max_limited(upscaled, limit), "MaxWeightExceeded")
    return upscaled


@SUBTENSOR.call(0, netuid=U16, dests=Vec(U16), weights=Vec(U16), version_key=U64)
def set_weights(
    context: Context, origin: Origin, netuid: int, dests: list[int], weights: list[int], version_key: int
) -> None:
    hotkey, state, block = origin.signed(), context.state, context.block
    SUBTENSOR.ensure(netuid != s.ROOT_NETUID, "CanNotSetRootNetworkWeights")
    SUBTENSOR.ensure(len(dests) == len(weights), "WeightVecNotEqualSize")
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    SUBTENSOR.ensure(len(dests) <= s.SUBNETWORK_N.get(state, netuid), "UidsLengthExceedUidsInSubNet")
    uid = _check_caller(state, netuid, hotkey, version_key, block)
    permitted = s.VALIDATOR_PERMIT.get(state, netuid)[uid] or s.SUBNET_OWNER_HOTKEY.get(state, netuid) == hotkey
    SUBTENSOR.ensure(permitted or _is_self_weight(uid, dests), "NeuronNoValidatorPermit")
    upscaled = _check_values(state, netuid, uid, dests, weights)
    s.WEIGHTS.put(state, netuid, uid, list(zip(dests, upscaled, strict=True)))
    updates = s.LAST_UPDATE.get(state, netuid)
    s.LAST_UPDATE.put(state, netuid, [*updates[:uid], block, *updates[uid + 1 :]])
    context.emit(SUBTENSOR, "WeightsSet", netuid, uid)
