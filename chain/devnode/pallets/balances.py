"""Balances: free TAO (in rao) of every account, and plain transfers. There are no fees."""

from typing import Any

from chain.devnode.pallet import Constant, Context, Origin, Pallet, State
from chain.devnode.pallets.system import ACCOUNTS, account
from chain.devnode.scale import ACCOUNT, U64, Compact
from chain.devnode.substrate_types import MULTI_ADDRESS

EXISTENTIAL_DEPOSIT = 500  # rao; smaller accounts do not exist

BALANCES = Pallet(
    "Balances",
    5,
    "pallet_balances",
    errors=(
        "VestingBalance",
        "LiquidityRestrictions",
        "InsufficientBalance",
        "ExistentialDeposit",
        "Expendability",
        "ExistingVestingSchedule",
        "DeadAccount",
        "TooManyReserves",
        "TooManyHolds",
        "TooManyFreezes",
        "IssuanceDeactivated",
        "DeltaZero",
    ),
)
BALANCES.event("Transfer", 2, 2, **{"from": ACCOUNT, "to": ACCOUNT, "amount": U64})
BALANCES.event("Withdraw", 8, 8, who=ACCOUNT, amount=U64)
BALANCES.event("Deposit", 7, 7, who=ACCOUNT, amount=U64)
BALANCES.constants.append(Constant(name="ExistentialDeposit", kind=U64, value=EXISTENTIAL_DEPOSIT))


def free(state: State, who: bytes) -> int:
    return int(account(state, who)["data"]["free"])


def set_free(state: State, who: bytes, amount: int) -> None:
    info = account(state, who)
    ACCOUNTS.put(state, who, {**info, "providers": 1, "data": {**info["data"], "free": amount}})


def can_withdraw(state: State, who: bytes, amount: int) -> bool:
    return free(state, who) - amount >= EXISTENTIAL_DEPOSIT


def withdraw(context: Context, who: bytes, amount: int) -> None:
    """Takes what `can_withdraw` allowed."""
    set_free(context.state, who, free(context.state, who) - amount)
    context.emit(BALANCES, "Withdraw", who, amount)


def deposit(context: Context, who: bytes, amount: int) -> None:
    set_free(context.state, who, free(context.state, who) + amount)
    context.emit(BALANCES, "Deposit", who, amount)


@BALANCES.call(3, dest=MULTI_ADDRESS, value=Compact(U64))
def transfer_keep_alive(context: Context, origin: Origin, dest: tuple[str, tuple[Any, ...]], value: int) -> None:
    sender = origin.signed()
    kind, (target, *_) = dest
    BALANCES.ensure(kind in ("Id", "Address32"), "ExistentialDeposit")
    BALANCES.ensure(can_withdraw(context.state, sender, value), "InsufficientBalance")
    BALANCES.ensure(free(context.state, target) + value >= EXISTENTIAL_DEPOSIT, "ExistentialDeposit")
    set_free(context.state, sender, free(context.state, sender) - value)
    set_free(context.state, target, free(context.state, target) + value)
    context.emit(BALANCES, "Transfer", sender, target, value)
