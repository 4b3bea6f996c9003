"""Subnets and neurons come into being: register_network, burned_register, start_call."""

from chain.devnode.pallet import Context, Origin, State, StorageItem, rules_of
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.balances import can_withdraw, withdraw
from chain.devnode.pallets.burn import raise_after_registration
from chain.devnode.pallets.neurons import append_neuron, register, uid_to_prune
from chain.devnode.pallets.subtensor import SUBTENSOR, U16_MAX
from chain.devnode.rules import NEW
from chain.devnode.scale import ACCOUNT, U16, U64

DYNAMIC = 1  # the mechanism of all new subnets
U64_MAX = (1 << 64) - 1
LAST_REGISTERED = ("NetworkLastRegistered", ())

# What a new subnet starts from, and the event that tells it.
NEW_SUBNET: tuple[tuple[StorageItem, int | bool, str], ...] = (
    (s.REGISTRATION_ALLOWED, True, "RegistrationAllowed"),
    (s.MAX_ALLOWED_UIDS, 256, "MaxAllowedUidsSet"),
    (s.MAX_ALLOWED_VALIDATORS, 64, "MaxAllowedValidatorsSet"),
    (s.MIN_ALLOWED_WEIGHTS, 1, "MinAllowedWeightSet"),
)
OLD_SUBNET: tuple[tuple[StorageItem, int | bool, str], ...] = (
    (s.MAX_WEIGHTS_LIMIT, U16_MAX, "MaxWeightLimitSet"),
    (s.ADJUSTMENT_INTERVAL, 360, "AdjustmentIntervalSet"),
    (s.TARGET_REGISTRATIONS, 1, "RegistrationPerIntervalSet"),
    (s.ADJUSTMENT_ALPHA, 17_893_341_751_498_265_066, "AdjustmentAlphaSet"),  # 0.97 of u64::MAX
)
IMMUNITY: tuple[tuple[StorageItem, int | bool, str], ...] = ((s.IMMUNITY_PERIOD, 5000, "ImmunityPeriodSet"),)
NO_WORK: tuple[tuple[StorageItem, int | bool, str], ...] = (
    (s.MIN_DIFFICULTY, U64_MAX, "MinDifficultySet"),
    (s.MAX_DIFFICULTY, U64_MAX, "MaxDifficultySet"),
)


def adopt_hotkey(context: Context, coldkey: bytes, hotkey: bytes) -> None:
    """A hotkey belongs to the first coldkey that used it, for ever."""
    if s.OWNER.has(context.state, hotkey):
        SUBTENSOR.ensure(s.OWNER.get(context.state, hotkey) == coldkey, "NonAssociatedColdKey")
        return
    s.OWNER.put(context.state, hotkey, coldkey)
    for item in (s.OWNED_HOTKEYS, s.STAKING_HOTKEYS):
        known = item.get(context.state, coldkey)
        if hotkey not in known:
            item.put(context.state, coldkey, [*known, hotkey])


def last_network_block(state: State) -> int:
    if rules_of(state).limits_in_one_map:
        return int(s.LAST_RATE_LIMITED_BLOCK.get(state, LAST_REGISTERED))
    return int(s.NETWORK_LAST_REGISTERED.get(state))


def may_register_network(state: State, block: int) -> bool:
    last = last_network_block(state)
    elapsed = block - last >= s.NETWORK_RATE_LIMIT.get(state)
    return bool(elapsed or (rules_of(state).limits_in_one_map and last == 0))


def _lock_cost(context: Context) -> int:
    """Twice what the last subnet cost, less with every block since then."""
    state, last = context.state, last_network_block(context.state)
    paid = int(s.NETWORK_LAST_LOCK_COST.get(state))
    interval = int(s.NETWORK_LOCK_REDUCTION.get(state))
    fallen = (paid // interval if interval else 0) * (context.block - last)
    return max(int(s.NETWORK_MIN_LOCK_COST.get(state)), paid * (2 if last else 1) - fallen)


@SUBTENSOR.call(59, hotkey=ACCOUNT)
def register_network(context: Context, origin: Origin, hotkey: bytes) -> None:
    coldkey, state, block = origin.signed(), context.state, context.block
    adopted = not s.OWNER.has(state, hotkey) or s.OWNER.get(state, hotkey) == coldkey
    SUBTENSOR.ensure(adopted, "NonAssociatedColdKey")
    SUBTENSOR.ensure(may_register_network(state, block), "NetworkTxRateLimitExceeded")
    cost = _lock_cost(context)
    SUBTENSOR.ensure(can_withdraw(state, coldkey, cost), context.rules.no_lock)
    netuid = _next_netuid(state)
    withdraw(context, coldkey, cost)
    s.NETWORK_LAST_LOCK_COST.put(state, cost)
    _start_subnet(context, netuid)
    adopt_hotkey(context, coldkey, hotkey)
    append_neuron(context, netuid, hotkey)
    s.SUBNET_MECHANISM.put(state, netuid, DYNAMIC)
    s.NETWORK_REGISTERED_AT.put(state, netuid, block)
    if context.rules.limits_in_one_map:
        s.LAST_RATE_LIMITED_BLOCK.put(state, LAST_REGISTERED, block)
    else:
        s.NETWORK_LAST_REGISTERED.put(state, block)
    s.SUBNET_OWNER.put(state, netuid, coldkey)
    s.SUBNET_OWNER_HOTKEY.put(state, netuid, hotkey)
    if context.rules.limits_in_one_map:
        context.emit(SUBTENSOR, "SubnetOwnerHotkeySet", netuid, hotkey)
    context.emit(SUBTENSOR, "NetworkAdded", netuid, DYNAMIC)


def _next_netuid(state: State) -> int:
    taken = set(s.netuids(state))
    return next(netuid for netuid in range(1, U16_MAX) if netuid not in taken)


def _start_subnet(context: Context, netuid: int) -> None:
    """The values a subnet starts from are stored, so that maps over them list it."""
    state, rules = context.state, context.rules
    s.NETWORKS_ADDED.put(state, netuid, True)
    s.TOTAL_NETWORKS.put(state, s.TOTAL_NETWORKS.get(state) + 1)
    old = not rules.price_decays
    for item, value, event in (*NEW_SUBNET, *(OLD_SUBNET if old else ()), *IMMUNITY, *(NO_WORK if old else ())):
        item.put(state, netuid, value)
        context.emit(SUBTENSOR, event, netuid, value)
    for item in (s.TEMPO, s.KAPPA, s.ACTIVITY_CUTOFF, s.REGISTRATIONS_THIS_INTERVAL):
        item.put(state, netuid, item.get(state, netuid))
    if old:
        s.DIFFICULTY.put(state, netuid, s.DIFFICULTY.get(state, netuid))
        s.POW_REGISTRATION_ALLOWED.put(state, netuid, True)
    else:
        s.BURN.put(state, netuid, s.TAO)
    if rules.new_subnet_yuma3:
        s.YUMA3_ON.put(state, netuid, True)
    if rules.stateful_epochs:
        tempo = max(1, int(s.TEMPO.get(state, netuid)))
        s.LAST_EPOCH_BLOCK.put(state, netuid, max(0, context.block - netuid % tempo))


@SUBTENSOR.call(7, netuid=U16, hotkey=ACCOUNT)
def burned_register(context: Context, origin: Origin, netuid: int, hotkey: bytes) -> None:
    coldkey, state = origin.signed(), context.state
    SUBTENSOR.ensure(netuid != s.ROOT_NETUID, "RegistrationNotPermittedOnRootSubnet")
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), context.rules.no_subnet)
    SUBTENSOR.ensure(s.REGISTRATION_ALLOWED.get(state, netuid), "SubNetRegistrationDisabled")
    if not context.rules.price_decays:
        _check_limits(state, netuid)
    SUBTENSOR.ensure(not s.UIDS.has(state, netuid, hotkey), "HotKeyAlreadyRegisteredInSubNet")
    cost = int(s.BURN.get(state, netuid))
    SUBTENSOR.ensure(can_withdraw(state, coldkey, cost), "NotEnoughBalanceToStake")
    adopt_hotkey(context, coldkey, hotkey)
    SUBTENSOR.ensure(s.MAX_ALLOWED_UIDS.get(state, netuid) != 0, "NoNeuronIdAvailable")
    if context.rules.prunes_by_emission and s.SUBNETWORK_N.get(state, netuid) >= s.MAX_ALLOWED_UIDS.get(state, netuid):
        SUBTENSOR.ensure(uid_to_prune(context, netuid) is not None, "NoNeuronIdAvailable")
    withdraw(context, coldkey, cost)
    uid = register(context, netuid, hotkey)
    _count(context, netuid)
    recycled = s.RAO_BURNED.get(state, netuid) + cost
    s.RAO_BURNED.put(state, netuid, recycled)
    context.emit(SUBTENSOR, "RAORecycledForRegistrationSet", netuid, recycled)
    context.emit(SUBTENSOR, "NeuronRegistered", netuid, uid, hotkey)


@SUBTENSOR.call(134, NEW, netuid=U16, hotkey=ACCOUNT, limit_price=U64)
def register_limit(context: Context, origin: Origin, netuid: int, hotkey: bytes, limit_price: int) -> None:
    SUBTENSOR.ensure(netuid != s.ROOT_NETUID, "RegistrationNotPermittedOnRootSubnet")
    SUBTENSOR.ensure(s.subnet_exists(context.state, netuid), context.rules.no_subnet)
    SUBTENSOR.ensure(s.BURN.get(context.state, netuid) <= limit_price, "RegistrationPriceLimitExceeded")
    burned_register(context, origin, netuid, hotkey)


def is_interval_full(state: State, netuid: int) -> bool:
    """Also asked before a call comes into the pool."""
    most = min(3 * int(s.TARGET_REGISTRATIONS.get(state, netuid)), U16_MAX)
    return bool(s.REGISTRATIONS_THIS_INTERVAL.get(state, netuid) >= most)


def _check_limits(state: State, netuid: int) -> None:
    in_block = s.REGISTRATIONS_THIS_BLOCK.get(state, netuid)
    most = s.MAX_REGISTRATIONS_PER_BLOCK.get(state, netuid)
    SUBTENSOR.ensure(in_block < most, "TooManyRegistrationsThisBlock")
    SUBTENSOR.ensure(not is_interval_full(state, netuid), "TooManyRegistrationsThisInterval")


def _count(context: Context, netuid: int) -> None:
    state = context.state
    if context.rules.price_decays:
        counters: tuple[StorageItem, ...] = (s.REGISTRATIONS_THIS_BLOCK,)
        raise_after_registration(state, netuid)
    else:
        counters = (
            s.BURN_REGISTRATIONS_THIS_INTERVAL,
            s.REGISTRATIONS_THIS_INTERVAL,
            s.REGISTRATIONS_THIS_BLOCK,
        )
    for counter in counters:
        counter.put(state, netuid, min(U16_MAX, counter.get(state, netuid) + 1))


@SUBTENSOR.call(92, netuid=U16)
def start_call(context: Context, origin: Origin, netuid: int) -> None:
    state, block = context.state, context.block
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), context.rules.no_subnet)
    if s.SUBNET_OWNER.get(state, netuid) != origin.signed():
        origin.root()
    SUBTENSOR.ensure(not s.FIRST_EMISSION_BLOCK.has(state, netuid), "FirstEmissionBlockNumberAlreadySet")
    delay = s.START_CALL_DELAY.get(state) if context.rules.stored_start_delay else s.START_CALL_DELAY_BLOCKS
    earliest = s.NETWORK_REGISTERED_AT.get(state, netuid) + delay
    SUBTENSOR.ensure(block >= earliest, "NeedWaitingMoreBlocksToStarCall")
    s.FIRST_EMISSION_BLOCK.put(state, netuid, block + 1)
    s.SUBTOKEN_ENABLED.put(state, netuid, True)
    context.emit(SUBTENSOR, "FirstEmissionBlockNumberSet", netuid, block + 1)
