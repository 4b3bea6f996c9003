"""What `hivetune stake` does: TAO into a subnet's alpha and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import RenderableType

from chain.accounts import Stake, check_affordable, format_tao, read_admission, read_balance, read_stakes, valid_address
from chain.keys import hotkey_address, load_coldkeypub
from chain.quorum import Quorum
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError
from neurons.amounts import parse_rao
from neurons.output import make_table, show
from neurons.passwords import unlock_coldkey
from neurons.stake_options import ShowStakeOptions, StakeOptions

ALL = "all"


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """What a stake is after it was added to or removed from, as JSON shows it."""

    netuid: int
    hotkey: str
    coldkey: str
    block: int
    stake_rao: int
    free_rao: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdings:
    """A coldkey's stakes, as JSON shows them."""

    coldkey: str
    free_rao: int
    reserved_rao: int
    stakes: tuple[Stake, ...]


def add(options: StakeOptions) -> None:
    """Stake TAO on a hotkey."""
    amount = _positive(options.amount, "TAO to stake")
    hotkey = _hotkey(options)
    with _admin(options) as admin:
        deposit = read_admission(admin.quorum, options.netuid).existential_deposit_rao
        check_affordable("staking takes", amount, read_balance(admin.quorum, admin.coldkey), deposit)
        block = admin.add_stake(options.netuid, hotkey, amount).block
        _report(options, admin, hotkey, block, f"staked {format_tao(amount)} TAO")


def remove(options: StakeOptions) -> None:
    """Take alpha off a hotkey."""
    hotkey = _hotkey(options)
    wanted = None if options.amount == ALL else _positive(options.amount, "alpha to remove")
    with _admin(options) as admin:
        held = _held(admin, options.netuid, hotkey)
        amount = held if wanted is None else wanted
        if not 0 < amount <= held:
            raise ConfigError(
                f"the coldkey holds {format_tao(held)} on {hotkey} in subnet {options.netuid}, "
                f"{format_tao(amount)} cannot be removed"
            )
        block = admin.remove_stake(options.netuid, hotkey, amount).block
        _report(options, admin, hotkey, block, f"removed {format_tao(amount)}")


def show_stakes(options: ShowStakeOptions) -> None:
    """Everything that a coldkey has."""
    if not options.coldkey and not options.wallet:
        raise ConfigError("whose stake? give --wallet or --coldkey")
    coldkey = options.coldkey or load_coldkeypub(options.wallet_path, options.wallet)
    quorum = Quorum(options.network, genesis_hash=options.genesis_hash)
    try:
        balance = read_balance(quorum, coldkey)
        stakes = read_stakes(quorum, coldkey)
    finally:
        quorum.close()
    holdings = Holdings(coldkey=coldkey, free_rao=balance.free_rao, reserved_rao=balance.reserved_rao, stakes=stakes)
    show(holdings, lambda: _tables(holdings), as_json=options.as_json)


def _tables(holdings: Holdings) -> list[RenderableType]:
    rows = [(str(stake.netuid), stake.hotkey, format_tao(stake.stake_rao)) for stake in holdings.stakes]
    table = make_table(("netuid", "hotkey", "stake"), rows, right=("netuid", "stake"))
    reserved = f", {format_tao(holdings.reserved_rao)} reserved" if holdings.reserved_rao else ""
    return [
        f"coldkey {holdings.coldkey}",
        f"balance {format_tao(holdings.free_rao)} TAO free{reserved}",
        table if rows else "no stake",
    ]


@contextmanager
def _admin(options: StakeOptions) -> Iterator[SubnetAdmin]:
    keypair = unlock_coldkey(options.wallet_path.expanduser(), options.wallet)
    admin = SubnetAdmin(options.network, keypair, genesis_hash=options.genesis_hash)
    try:
        yield admin
    finally:
        admin.close()


def _hotkey(options: StakeOptions) -> str:
    if options.hotkey:
        return valid_address(options.hotkey)
    return hotkey_address(options.wallet_path.expanduser(), options.wallet, options.wallet_hotkey)


def _positive(text: str, what: str) -> int:
    amount = parse_rao(text, what)
    if amount == 0:
        raise ConfigError(f"{what}: {text} is nothing")
    return amount


def _held(admin: SubnetAdmin, netuid: int, hotkey: str) -> int:
    stakes = read_stakes(admin.quorum, admin.coldkey)
    return sum(stake.stake_rao for stake in stakes if (stake.netuid, stake.hotkey) == (netuid, hotkey))


def _report(options: StakeOptions, admin: SubnetAdmin, hotkey: str, block: int, done: str) -> None:
    moved = Moved(
        netuid=options.netuid,
        hotkey=hotkey,
        coldkey=admin.coldkey,
        block=block,
        stake_rao=_held(admin, options.netuid, hotkey),
        free_rao=read_balance(admin.quorum, admin.coldkey).free_rao,
    )
    text = [
        f"{done} in block {block}",
        f"stake   {format_tao(moved.stake_rao)} on {hotkey}",
        f"balance {format_tao(moved.free_rao)} TAO free",
    ]
    show(moved, lambda: text, as_json=options.as_json)
