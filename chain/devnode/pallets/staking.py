"""Stake: add_stake and remove_stake. One alpha costs one TAO here and there is no fee: there is no pool."""

from chain.devnode.pallet import Context, Origin, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.balances import can_withdraw, deposit, withdraw
from chain.devnode.pallets.shares import credit, debit, owned
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.scale import ACCOUNT, U16, U64

NO_FEE = 0


def check_add(state: State, coldkey: bytes, hotkey: bytes, netuid: int, amount: int) -> None:
    """Also asked before a call comes into the pool."""
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    SUBTENSOR.ensure(s.SUBTOKEN_ENABLED.get(state, netuid), "SubtokenDisabled")
    SUBTENSOR.ensure(amount >= s.MIN_STAKE_RAO, "AmountTooLow")
    SUBTENSOR.ensure(can_withdraw(state, coldkey, amount), "NotEnoughBalanceToStake")
    SUBTENSOR.ensure(s.OWNER.has(state, hotkey), "HotKeyAccountNotExists")


def check_remove(state: State, coldkey: bytes, hotkey: bytes, netuid: int, amount: int) -> None:
    """What is left must be worth staking, or nothing."""
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    staked_now = s.STAKING_OPERATIONS.get(state, hotkey, coldkey, netuid)
    SUBTENSOR.ensure(not staked_now, "StakingOperationRateLimitExceeded")
    SUBTENSOR.ensure(amount > 0, "AmountTooLow")
    have = owned(state, hotkey, coldkey, netuid)
    SUBTENSOR.ensure(have >= amount, "NotEnoughStakeToWithdraw")
    SUBTENSOR.ensure(amount == have or amount >= s.MIN_STAKE_RAO, "AmountTooLow")
    SUBTENSOR.ensure(s.OWNER.has(state, hotkey), "HotKeyAccountNotExists")


def _ensure_subtoken(state: State, netuid: int) -> None:
    SUBTENSOR.ensure(s.SUBTOKEN_ENABLED.get(state, netuid), "SubtokenDisabled")


@SUBTENSOR.call(2, hotkey=ACCOUNT, netuid=U16, amount_staked=U64)
def add_stake(context: Context, origin: Origin, hotkey: bytes, netuid: int, amount_staked: int) -> None:
    coldkey, state = origin.signed(), context.state
    strict = not context.rules.lenient_unstaking
    if strict:
        _ensure_subtoken(state, netuid)
    check_add(state, coldkey, hotkey, netuid, amount_staked)
    withdraw(context, coldkey, amount_staked)
    credit(state, hotkey, coldkey, netuid, amount_staked)
    if strict:
        s.STAKING_OPERATIONS.put(state, hotkey, coldkey, netuid, True)
    context.emit(SUBTENSOR, "StakeAdded", coldkey, hotkey, amount_staked, amount_staked, netuid, NO_FEE)


@SUBTENSOR.call(3, hotkey=ACCOUNT, netuid=U16, amount_unstaked=U64)
def remove_stake(context: Context, origin: Origin, hotkey: bytes, netuid: int, amount_unstaked: int) -> None:
    """By the new rules more than there is means all of it."""
    coldkey, state = origin.signed(), context.state
    _ensure_subtoken(state, netuid)
    if context.rules.lenient_unstaking:
        amount_unstaked = min(amount_unstaked, owned(state, hotkey, coldkey, netuid))
    check_remove(state, coldkey, hotkey, netuid, amount_unstaked)
    sold = debit(state, hotkey, coldkey, netuid, amount_unstaked)
    context.emit(SUBTENSOR, "StakeRemoved", coldkey, hotkey, sold, sold, netuid, NO_FEE)
    deposit(context, coldkey, sold)


def forget_operations(state: State) -> None:
    """At the end of every block."""
    for keys, _ in list(s.STAKING_OPERATIONS.items(state)):
        s.STAKING_OPERATIONS.remove(state, *keys)
