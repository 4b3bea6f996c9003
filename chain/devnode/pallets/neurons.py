"""The neurons of a subnet: a uid is appended while there is room, and given to another hotkey when there is none."""

from chain.devnode.pallet import Context, State, StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.subtensor import SUBTENSOR, U16_MAX

# What has one entry a uid, with what a new neuron starts from; the old rules have some more.
VECTORS = (
    (s.ACTIVE, True),
    (s.EMISSION, 0),
    (s.CONSENSUS, 0),
    (s.INCENTIVE, 0),
    (s.DIVIDENDS, 0),
    (s.VALIDATOR_TRUST, 0),
    (s.VALIDATOR_PERMIT, False),
)
OLD_VECTORS = ((s.RANK, 0), (s.TRUST, 0), (s.PRUNING_SCORES, 0))
CLEARED = (s.EMISSION, s.CONSENSUS, s.INCENTIVE, s.DIVIDENDS)


def register(context: Context, netuid: int, hotkey: bytes) -> int:
    """Gives a hotkey a uid; the caller has checked that there is one to have."""
    if s.SUBNETWORK_N.get(context.state, netuid) < s.MAX_ALLOWED_UIDS.get(context.state, netuid):
        return append_neuron(context, netuid, hotkey)
    uid = uid_to_prune(context, netuid)
    if uid is None:
        raise SUBTENSOR.fail("NoNeuronIdAvailable")
    if not context.rules.prunes_by_emission:
        _set(context.state, s.PRUNING_SCORES, netuid, uid, U16_MAX)
    replace_neuron(context, netuid, uid, hotkey)
    return uid


def append_neuron(context: Context, netuid: int, hotkey: bytes) -> int:
    state, block = context.state, context.block
    uid = int(s.SUBNETWORK_N.get(state, netuid))
    s.SUBNETWORK_N.put(state, netuid, uid + 1)
    vectors = VECTORS if context.rules.prunes_by_emission else VECTORS + OLD_VECTORS
    for vector, value in (*vectors, (s.LAST_UPDATE, block)):
        vector.put(state, netuid, [*vector.get(state, netuid), value])
    _name(context, netuid, uid, hotkey)
    return uid


def _name(context: Context, netuid: int, uid: int, hotkey: bytes) -> None:
    s.KEYS.put(context.state, netuid, uid, hotkey)
    s.UIDS.put(context.state, netuid, hotkey, uid)
    s.BLOCK_AT_REGISTRATION.put(context.state, netuid, uid, context.block)
    s.IS_NETWORK_MEMBER.put(context.state, hotkey, netuid, True)


def _set(state: State, item: StorageItem, netuid: int, uid: int, value: object) -> None:
    """One entry of a vector; nothing where the vector is too short."""
    values = list(item.get(state, netuid))
    if uid < len(values):
        values[uid] = value
        item.put(state, netuid, values)


def replace_neuron(context: Context, netuid: int, uid: int, hotkey: bytes) -> None:
    """The new hotkey starts afresh, as far as the runtime cleans up; the owner's hotkey is never replaced."""
    state = context.state
    before = s.KEYS.get(state, netuid, uid)
    if before == s.SUBNET_OWNER_HOTKEY.get(state, netuid):
        return
    s.UIDS.remove(state, netuid, before)
    s.IS_NETWORK_MEMBER.remove(state, before, netuid)
    for item in (s.AXONS, s.NEURON_CERTIFICATES):
        item.remove(state, netuid, before)
    _set(state, s.ACTIVE, netuid, uid, True)
    _name(context, netuid, uid, hotkey)
    for vector in CLEARED:
        _set(state, vector, netuid, uid, 0)
    s.BONDS.remove(state, netuid, uid)
    if context.rules.prunes_by_emission:
        _clear_rest(context, netuid, uid, before)
    else:
        _set(state, s.TRUST, netuid, uid, 0)


def _clear_rest(context: Context, netuid: int, uid: int, before: bytes) -> None:
    """What the old rules left to the next epoch: weights of the old neuron, and those others gave it."""
    state = context.state
    s.PROMETHEUS.remove(state, netuid, before)
    s.WEIGHTS.remove(state, netuid, uid)
    for (row,), weights in list(s.WEIGHTS.items(state, netuid)):
        s.WEIGHTS.put(state, netuid, row, [(other, 0 if other == uid else weight) for other, weight in weights])
    for vector in (s.STAKE_WEIGHT, s.VALIDATOR_TRUST):
        _set(state, vector, netuid, uid, 0)
    _set(state, s.VALIDATOR_PERMIT, netuid, uid, False)
    _set(state, s.LAST_UPDATE, netuid, uid, context.block)


def uid_to_prune(context: Context, netuid: int) -> int | None:
    """Who has to go: the one that earned least, neurons in their first blocks only if there are no others."""
    count = int(s.SUBNETWORK_N.get(context.state, netuid))
    if context.rules.prunes_by_emission:
        return _least_paid(context, netuid, count)
    owner = s.SUBNET_OWNER_HOTKEY.get(context.state, netuid)
    scores = s.PRUNING_SCORES.get(context.state, netuid)
    ranked = [
        (_is_immune(context, netuid, uid), scores[uid], s.BLOCK_AT_REGISTRATION.get(context.state, netuid, uid), uid)
        for uid in range(count)
        if s.KEYS.get(context.state, netuid, uid) != owner
    ]
    return min(ranked)[-1] if ranked else 0


def _is_immune(context: Context, netuid: int, uid: int) -> bool:
    age = context.block - s.BLOCK_AT_REGISTRATION.get(context.state, netuid, uid)
    return bool(age < s.IMMUNITY_PERIOD.get(context.state, netuid))


def _least_paid(context: Context, netuid: int, count: int) -> int | None:
    """Some neurons must stay that are not immune, and some hotkeys of the owner always stay."""
    state = context.state
    spared = _owners_spared(state, netuid)
    emission = s.EMISSION.get(state, netuid)
    ranked: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
    for uid in range(count):
        if uid not in spared:
            paid = emission[uid] if uid < len(emission) else 0
            entry = (paid, s.BLOCK_AT_REGISTRATION.get(state, netuid, uid), uid)
            ranked[_is_immune(context, netuid, uid)].append(entry)
    if len(ranked[False]) > s.MIN_NON_IMMUNE_UIDS.get(state, netuid):
        return min(ranked[False])[-1]
    return min(ranked[True])[-1] if ranked[True] else None


def _owners_spared(state: State, netuid: int) -> set[int]:
    """The oldest hotkeys of the owner's coldkey, and the one that it named first of all."""
    limit = int(s.IMMUNE_OWNER_UIDS_LIMIT.get(state, netuid))
    hotkeys = s.OWNED_HOTKEYS.get(state, s.SUBNET_OWNER.get(state, netuid))
    uids = [s.UIDS.get(state, netuid, hotkey) for hotkey in hotkeys if s.UIDS.has(state, netuid, hotkey)]
    spared = sorted(uids, key=lambda uid: (s.BLOCK_AT_REGISTRATION.get(state, netuid, uid), uid))[:limit]
    named = s.owner_uid(state, netuid)
    if named is not None and named not in spared:
        spared = [named, *spared][:limit]
    return set(spared)
