"""Subnets and neurons come into being: register_network, burned_register, start_call."""

from chain.devnode.pallet import Context, Origin
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.balances import can_withdraw, withdraw
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.scale import ACCOUNT, U16


def adopt_hotkey(context: Context, coldkey: bytes, hotkey: bytes) -> None:
    """A hotkey belongs to the first coldkey that used it, for ever."""
    if s.OWNER.has(context.state, hotkey):
        SUBTENSOR.ensure(s.OWNER.get(context.state, hotkey) == coldkey, "NonAssociatedColdKey")
        return
    s.OWNER.put(context.state, hotkey, coldkey)
    s.OWNED_HOTKEYS.put(context.state, coldkey, [*s.OWNED_HOTKEYS.get(context.state, coldkey), hotkey])


def append_neuron(context: Context, netuid: int, hotkey: bytes) -> int:
    state, block = context.state, context.block
    uid = int(s.SUBNETWORK_N.get(state, netuid))
    s.SUBNETWORK_N.put(state, netuid, uid + 1)
    fresh = ((s.ACTIVE, True), (s.VALIDATOR_PERMIT, False), (s.LAST_UPDATE, block))
    zero = (s.RANK, s.TRUST, s.CONSENSUS, s.INCENTIVE, s.DIVIDENDS, s.EMISSION, s.VALIDATOR_TRUST)
    for vector, value in (*fresh, *((item, 0) for item in (*zero, s.PRUNING_SCORES, s.STAKE_WEIGHT))):
        vector.put(state, netuid, [*vector.get(state, netuid), value])
    s.KEYS.put(state, netuid, uid, hotkey)
    s.UIDS.put(state, netuid, hotkey, uid)
    s.BLOCK_AT_REGISTRATION.put(state, netuid, uid, block)
    s.IS_NETWORK_MEMBER.put(state, hotkey, netuid, True)
    context.emit(SUBTENSOR, "NeuronRegistered", netuid, uid, hotkey)
    return uid


@SUBTENSOR.call(59, hotkey=ACCOUNT)
def register_network(context: Context, origin: Origin, hotkey: bytes) -> None:
    coldkey, state, block = origin.signed(), context.state, context.block
    last, limit = s.NETWORK_LAST_REGISTERED.get(state), s.NETWORK_RATE_LIMIT.get(state)
    SUBTENSOR.ensure(block - last >= limit, "NetworkTxRateLimitExceeded")
    cost = s.NETWORK_MIN_LOCK_COST.get(state)
    SUBTENSOR.ensure(can_withdraw(state, coldkey, cost), "CannotAffordLockCost")
    adopt_hotkey(context, coldkey, hotkey)
    withdraw(context, coldkey, cost)
    netuid = 1 + max([s.ROOT_NETUID, *s.netuids(state)])
    s.NETWORKS_ADDED.put(state, netuid, True)
    s.TOTAL_NETWORKS.put(state, s.TOTAL_NETWORKS.get(state) + 1)
    s.NETWORK_REGISTERED_AT.put(state, netuid, block)
    s.NETWORK_LAST_REGISTERED.put(state, block)
    s.SUBNET_OWNER.put(state, netuid, coldkey)
    s.SUBNET_OWNER_HOTKEY.put(state, netuid, hotkey)
    _write_new_subnet(context, netuid)
    append_neuron(context, netuid, hotkey)
    context.emit(SUBTENSOR, "NetworkAdded", netuid, 0)


def _write_new_subnet(context: Context, netuid: int) -> None:
    """The values a subnet starts from are stored, so that maps over them list it."""
    for item in (
        s.TEMPO,
        s.KAPPA,
        s.IMMUNITY_PERIOD,
        s.MIN_ALLOWED_WEIGHTS,
        s.MAX_WEIGHTS_LIMIT,
        s.MAX_ALLOWED_UIDS,
        s.MAX_ALLOWED_VALIDATORS,
        s.BURN,
        s.REGISTRATION_ALLOWED,
    ):
        item.put(context.state, netuid, item.default)
    s.LAST_ADJUSTMENT_BLOCK.put(context.state, netuid, context.block)


@SUBTENSOR.call(7, netuid=U16, hotkey=ACCOUNT)
def burned_register(context: Context, origin: Origin, netuid: int, hotkey: bytes) -> None:
    coldkey, state = origin.signed(), context.state
    SUBTENSOR.ensure(netuid != s.ROOT_NETUID, "RegistrationNotPermittedOnRootSubnet")
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    SUBTENSOR.ensure(s.REGISTRATION_ALLOWED.get(state, netuid), "SubNetRegistrationDisabled")
    in_block, in_interval = (s.REGISTRATIONS_THIS_BLOCK, s.REGISTRATIONS_THIS_INTERVAL)
    SUBTENSOR.ensure(
        in_block.get(state, netuid) < s.MAX_REGISTRATIONS_PER_BLOCK.get(state, netuid), "TooManyRegistrationsThisBlock"
    )
    SUBTENSOR.ensure(
        in_interval.get(state, netuid) < 3 * s.TARGET_REGISTRATIONS.get(state, netuid),
        "TooManyRegistrationsThisInterval",
    )
    SUBTENSOR.ensure(not s.UIDS.has(state, netuid, hotkey), "HotKeyAlreadyRegisteredInSubNet")
    cost = s.BURN.get(state, netuid)
    SUBTENSOR.ensure(can_withdraw(state, coldkey, cost), "NotEnoughBalanceToStake")
    adopt_hotkey(context, coldkey, hotkey)
    SUBTENSOR.ensure(s.SUBNETWORK_N.get(state, netuid) < s.MAX_ALLOWED_UIDS.get(state, netuid), "NoNeuronIdAvailable")
    withdraw(context, coldkey, cost)
    append_neuron(context, netuid, hotkey)
    s.RAO_BURNED.put(state, netuid, s.RAO_BURNED.get(state, netuid) + cost)
    for counter in (in_block, in_interval):
        counter.put(state, netuid, counter.get(state, netuid) + 1)


@SUBTENSOR.call(92, netuid=U16)
def start_call(context: Context, origin: Origin, netuid: int) -> None:
    coldkey, state, block = origin.signed(), context.state, context.block
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    if s.SUBNET_OWNER.get(state, netuid) != coldkey:
        origin.root()
    SUBTENSOR.ensure(not s.FIRST_EMISSION_BLOCK.has(state, netuid), "FirstEmissionBlockNumberAlreadySet")
    registered_at = s.NETWORK_REGISTERED_AT.get(state, netuid)
    SUBTENSOR.ensure(block >= registered_at + s.START_CALL_DELAY_BLOCKS, "NeedWaitingMoreBlocksToStarCall")
    s.FIRST_EMISSION_BLOCK.put(state, netuid, block + 1)
    s.SUBTOKEN_ENABLED.put(state, netuid, True)
    context.emit(SUBTENSOR, "FirstEmissionBlockNumberSet", netuid, block + 1)


def reset_registration_counters(context: Context, netuid: int) -> None:
    """At the start of every block."""
    state = context.state
    if s.REGISTRATIONS_THIS_BLOCK.get(state, netuid):
        s.REGISTRATIONS_THIS_BLOCK.put(state, netuid, 0)
    if context.block - s.LAST_ADJUSTMENT_BLOCK.get(state, netuid) >= s.ADJUSTMENT_INTERVAL.get(state, netuid):
        s.LAST_ADJUSTMENT_BLOCK.put(state, netuid, context.block)
        s.REGISTRATIONS_THIS_INTERVAL.put(state, netuid, 0)
