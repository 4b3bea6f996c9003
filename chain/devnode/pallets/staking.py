"""Stake: add_stake, remove_stake and the crediting of pay. One alpha costs one TAO here: there is no pool."""

from chain.devnode.pallet import Context, Origin, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.balances import can_withdraw, deposit, withdraw
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.scale import ACCOUNT, U16, U64

ONE_SHARE = 1 << 64  # shares are U64F64


def stake_of(state: State, hotkey: bytes, coldkey: bytes, netuid: int) -> int:
    """The alpha that `coldkey` owns on `hotkey`, in rao."""
    total_shares = s.TOTAL_HOTKEY_SHARES.get(state, hotkey, netuid)["bits"]
    if total_shares == 0:
        return 0
    share = s.ALPHA.get(state, hotkey, coldkey, netuid)["bits"]
    return int(s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid) * share // total_shares)


def credit(state: State, hotkey: bytes, coldkey: bytes, netuid: int, amount: int) -> None:
    """New alpha for one owner: it buys shares at the present value of a share."""
    total = s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid)
    total_shares = s.TOTAL_HOTKEY_SHARES.get(state, hotkey, netuid)["bits"]
    bought = amount * total_shares // total if total and total_shares else amount * ONE_SHARE
    s.TOTAL_HOTKEY_ALPHA.put(state, hotkey, netuid, total + amount)
    s.TOTAL_HOTKEY_SHARES.put(state, hotkey, netuid, {"bits": total_shares + bought})
    share = s.ALPHA.get(state, hotkey, coldkey, netuid)["bits"]
    s.ALPHA.put(state, hotkey, coldkey, netuid, {"bits": share + bought})


def credit_all(state: State, hotkey: bytes, netuid: int, amount: int) -> None:
    """New alpha for all who stand behind a hotkey: every share grows; with no shares its owner gets it."""
    if s.TOTAL_HOTKEY_SHARES.get(state, hotkey, netuid)["bits"] == 0:
        credit(state, hotkey, s.OWNER.get(state, hotkey), netuid, amount)
        return
    total = s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid)
    s.TOTAL_HOTKEY_ALPHA.put(state, hotkey, netuid, total + amount)


@SUBTENSOR.call(2, hotkey=ACCOUNT, netuid=U16, amount_staked=U64)
def add_stake(context: Context, origin: Origin, hotkey: bytes, netuid: int, amount_staked: int) -> None:
    coldkey, state = origin.signed(), context.state
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    SUBTENSOR.ensure(s.SUBTOKEN_ENABLED.get(state, netuid), "SubtokenDisabled")
    SUBTENSOR.ensure(amount_staked >= s.MIN_STAKE_RAO, "AmountTooLow")
    SUBTENSOR.ensure(can_withdraw(state, coldkey, amount_staked), "NotEnoughBalanceToStake")
    SUBTENSOR.ensure(s.OWNER.has(state, hotkey), "HotKeyAccountNotExists")
    withdraw(context, coldkey, amount_staked)
    credit(state, hotkey, coldkey, netuid, amount_staked)
    context.emit(SUBTENSOR, "StakeAdded", coldkey, hotkey, amount_staked, amount_staked, netuid, 0)


@SUBTENSOR.call(3, hotkey=ACCOUNT, netuid=U16, amount_unstaked=U64)
def remove_stake(context: Context, origin: Origin, hotkey: bytes, netuid: int, amount_unstaked: int) -> None:
    coldkey, state = origin.signed(), context.state
    SUBTENSOR.ensure(s.subnet_exists(state, netuid), "SubnetNotExists")
    SUBTENSOR.ensure(s.SUBTOKEN_ENABLED.get(state, netuid), "SubtokenDisabled")
    SUBTENSOR.ensure(s.OWNER.has(state, hotkey), "HotKeyAccountNotExists")
    SUBTENSOR.ensure(amount_unstaked >= s.MIN_STAKE_RAO, "AmountTooLow")
    SUBTENSOR.ensure(stake_of(state, hotkey, coldkey, netuid) >= amount_unstaked, "NotEnoughStakeToWithdraw")
    total = s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid)
    total_shares = s.TOTAL_HOTKEY_SHARES.get(state, hotkey, netuid)["bits"]
    share = s.ALPHA.get(state, hotkey, coldkey, netuid)["bits"]
    sold = min(share, -(-amount_unstaked * total_shares // total))
    s.TOTAL_HOTKEY_ALPHA.put(state, hotkey, netuid, total - amount_unstaked)
    s.TOTAL_HOTKEY_SHARES.put(state, hotkey, netuid, {"bits": total_shares - sold})
    s.ALPHA.put(state, hotkey, coldkey, netuid, {"bits": share - sold})
    deposit(context, coldkey, amount_unstaked)
    context.emit(SUBTENSOR, "StakeRemoved", coldkey, hotkey, amount_unstaked, amount_unstaked, netuid, 0)
