"""Weights: their checks in the pallet's order, its u16 arithmetic, and set_weights for subnets without secrets."""

from collections.abc import Sequence
from functools import partial

from chain.devnode.pallet import Context, Origin, State, rules_of
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.batch import run_batch
from chain.devnode.pallets.subtensor import SUBTENSOR, U16_MAX
from chain.devnode.rules import NEW
from chain.devnode.scale import U8, U16, U64, Compact, Tuple, Vec

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


def has_stake_to_weigh(state: State, netuid: int, hotkey: bytes) -> bool:
    """Also asked before a call comes into the pool."""
    uid = s.UIDS.get(state, netuid, hotkey)
    if rules_of(state).privileged_owner and uid is not None and uid == s.owner_uid(state, netuid):
        return True
    return bool(s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid) >= s.STAKE_THRESHOLD.get(state))


def may_update(state: State, netuid: int, uid: int, block: int) -> bool:
    """The rate limit, of settings or of commits: both stand in LastUpdate."""
    last = s.LAST_UPDATE.get(state, netuid)[uid]
    return bool(last == 0 or block - last >= s.WEIGHTS_SET_RATE_LIMIT.get(state, netuid))


def mark_update(context: Context, netuid: int, uid: int) -> None:
    updates = s.LAST_UPDATE.get(context.state, netuid)
    s.LAST_UPDATE.put(context.state, netuid, [*updates[:uid], context.block, *updates[uid + 1 :]])


def ensure_mechanism(context: Context, netuid: int, mecid: int = 0) -> None:
    """There is one mechanism a subnet here; the runtime allows more."""
    exists = s.subnet_exists(context.state, netuid)
    SUBTENSOR.ensure(exists and mecid == 0, context.rules.no_mechanism)


def _check_caller(context: Context, netuid: int, hotkey: bytes, version_key: int) -> int:
    state = context.state
    SUBTENSOR.ensure(s.UIDS.has(state, netuid, hotkey), "HotKeyNotRegisteredInSubNet")
    SUBTENSOR.ensure(has_stake_to_weigh(state, netuid, hotkey), "NotEnoughStakeToSetWeights")
    wanted = s.WEIGHTS_VERSION_KEY.get(state, netuid)
    SUBTENSOR.ensure(wanted == 0 or version_key >= wanted, "IncorrectWeightVersionKey")
    uid = int(s.UIDS.get(state, netuid, hotkey))
    if not s.COMMIT_REVEAL_ON.get(state, netuid):
        SUBTENSOR.ensure(may_update(state, netuid, uid, context.block), "SettingWeightsTooFast")
    return uid


def _may_weigh_others(context: Context, netuid: int, uid: int) -> bool:
    if context.rules.privileged_owner and uid == s.owner_uid(context.state, netuid):
        return True
    return bool(s.VALIDATOR_PERMIT.get(context.state, netuid)[uid])


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


def store_weights(
    context: Context, hotkey: bytes, netuid: int, dests: list[int], weights: list[int], version_key: int, mecid: int = 0
) -> None:
    """What setting openly and revealing have in common; a reveal does not count as an update."""
    state = context.state
    SUBTENSOR.ensure(netuid != s.ROOT_NETUID, "CanNotSetRootNetworkWeights")
    SUBTENSOR.ensure(len(dests) == len(weights), "WeightVecNotEqualSize")
    ensure_mechanism(context, netuid, mecid)
    SUBTENSOR.ensure(len(dests) <= s.SUBNETWORK_N.get(state, netuid), "UidsLengthExceedUidsInSubNet")
    uid = _check_caller(context, netuid, hotkey, version_key)
    permitted = _is_self_weight(uid, dests) or _may_weigh_others(context, netuid, uid)
    SUBTENSOR.ensure(permitted, "NeuronNoValidatorPermit")
    upscaled = _check_values(state, netuid, uid, dests, weights)
    s.WEIGHTS.put(state, netuid, uid, list(zip(dests, upscaled, strict=True)))
    if not s.COMMIT_REVEAL_ON.get(state, netuid):
        mark_update(context, netuid, uid)
    context.emit(SUBTENSOR, "WeightsSet", netuid, uid)


@SUBTENSOR.call(0, netuid=U16, dests=Vec(U16), weights=Vec(U16), version_key=U64)
def set_weights(
    context: Context, origin: Origin, netuid: int, dests: list[int], weights: list[int], version_key: int
) -> None:
    SUBTENSOR.ensure(not s.COMMIT_REVEAL_ON.get(context.state, netuid), "CommitRevealEnabled")
    store_weights(context, origin.signed(), netuid, dests, weights, version_key)


@SUBTENSOR.call(119, NEW, netuid=U16, mecid=U8, dests=Vec(U16), weights=Vec(U16), version_key=U64)
def set_mechanism_weights(
    context: Context, origin: Origin, netuid: int, mecid: int, dests: list[int], weights: list[int], version_key: int
) -> None:
    SUBTENSOR.ensure(not s.COMMIT_REVEAL_ON.get(context.state, netuid), "CommitRevealEnabled")
    store_weights(context, origin.signed(), netuid, dests, weights, version_key, mecid)


@SUBTENSOR.call(
    80,
    netuids=Vec(Compact(U16)),
    weights=Vec(Vec(Tuple((Compact(U16), Compact(U16))))),
    version_keys=Vec(Compact(U64)),
)
def batch_set_weights(
    context: Context,
    origin: Origin,
    netuids: list[int],
    weights: list[list[tuple[int, int]]],
    version_keys: list[int],
) -> None:
    hotkey = origin.signed()
    SUBTENSOR.ensure(len(netuids) == len(weights) == len(version_keys), "InputLengthsUnequal")

    def one(netuid: int, pairs: list[tuple[int, int]], version_key: int) -> None:
        SUBTENSOR.ensure(not s.COMMIT_REVEAL_ON.get(context.state, netuid), "CommitRevealEnabled")
        store_weights(context, hotkey, netuid, [uid for uid, _ in pairs], [w for _, w in pairs], version_key)

    given = zip(netuids, weights, version_keys, strict=True)
    run_batch(context, hotkey, netuids, [partial(one, *item) for item in given])
