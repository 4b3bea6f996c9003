"""What `hivetune wallet` does: keys on this machine, and what they have on a chain."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from chain.accounts import Balance, format_tao, read_balance
from chain.keys import (
    ColdkeyState,
    WalletEntry,
    create_hotkey,
    create_wallet,
    keypair_from_phrase,
    list_wallets,
    read_wallet,
    restore_coldkey,
    restore_hotkey,
    wallet_folder,
)
from chain.quorum import Quorum
from hivetune.errors import ConfigError
from neurons.output import make_table, show
from neurons.passwords import new_password, read_phrase
from neurons.wallet_options import (
    CreateWalletOptions,
    NewHotkeyOptions,
    RegenColdkeyOptions,
    RegenHotkeyOptions,
    ShowWalletOptions,
    WalletsOptions,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HotkeyView:
    """A hotkey as JSON shows it."""

    name: str
    address: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WalletView:
    """A wallet as JSON shows it; the balance is that of the coldkey, null without a chain."""

    name: str
    coldkey: str | None
    coldkey_state: ColdkeyState
    hotkeys: tuple[HotkeyView, ...]
    free_rao: int | None = None
    reserved_rao: int | None = None


def list_all(options: WalletsOptions) -> None:
    """Every wallet with its addresses."""
    views = [view_of(entry) for entry in list_wallets(options.wallet_path)]
    show(
        views,
        lambda: table_of(views) if views else f"no wallets in {options.wallet_path}",
        as_json=options.as_json,
    )


def show_one(options: ShowWalletOptions) -> None:
    """One wallet, and on a chain its coldkey's balance."""
    entry = read_wallet(options.wallet_path, options.name)
    balance = None
    if options.network:
        if entry.coldkey is None:
            raise ConfigError(f"wallet {entry.name!r} has no coldkeypub.txt, so its balance cannot be looked up")
        balance = _balance(options, entry.coldkey)
    view = view_of(entry, balance)

    def table() -> list[RenderableType]:
        parts: list[RenderableType] = [table_of([view]), f"coldkey on this machine: {view.coldkey_state}"]
        if balance is not None:
            parts.append(
                f"balance: {format_tao(balance.free_rao)} TAO free, {format_tao(balance.reserved_rao)} reserved"
            )
        return parts

    show(view, table, as_json=options.as_json)


def create(options: CreateWalletOptions) -> None:
    """A new coldkey and its first hotkey."""
    root = options.wallet_path.expanduser()
    if wallet_folder(root, options.name).exists():
        raise ConfigError(f"wallet {options.name!r} exists already; `hivetune wallet new-hotkey` adds a hotkey to it")
    password = None if options.no_password else new_password(root, options.name)
    made = create_wallet(root, options.name, options.wallet_hotkey, password=password, unencrypted=options.no_password)
    record = {"name": options.name, "coldkey": made.coldkey, "hotkey": made.hotkey}
    if options.show_phrases:
        record |= {"coldkey_phrase": made.coldkey_phrase, "hotkey_phrase": made.hotkey_phrase}
    show(record, lambda: _lines(record), as_json=options.as_json)


def new_hotkey(options: NewHotkeyOptions) -> None:
    """One more hotkey for a wallet that exists."""
    made = create_hotkey(options.wallet_path, options.name, options.wallet_hotkey)
    record = {"name": options.name, "hotkey": str(made.ss58_address)}
    if options.show_phrases:
        record |= {"hotkey_phrase": str(made.mnemonic)}
    show(record, lambda: _lines(record), as_json=options.as_json)


def regen_coldkey(options: RegenColdkeyOptions) -> None:
    """The coldkey of a recovery phrase."""
    root = options.wallet_path.expanduser()
    if read_state(root, options.name) is not ColdkeyState.ABSENT:
        raise ConfigError(f"wallet {options.name!r} has a coldkey already; key files are never overwritten")
    keypair = keypair_from_phrase(read_phrase(), options.key_type)
    password = None if options.no_password else new_password(root, options.name)
    restore_coldkey(root, options.name, keypair, password=password, unencrypted=options.no_password)
    record = {"name": options.name, "coldkey": str(keypair.ss58_address)}
    show(record, lambda: _lines(record), as_json=options.as_json)


def regen_hotkey(options: RegenHotkeyOptions) -> None:
    """The hotkey of a recovery phrase; the wallet may be new, a node needs no more than this."""
    keypair = keypair_from_phrase(read_phrase(), options.key_type)
    restore_hotkey(options.wallet_path, options.name, options.wallet_hotkey, keypair)
    record = {"name": options.name, "hotkey": str(keypair.ss58_address)}
    show(record, lambda: _lines(record), as_json=options.as_json)


def read_state(root: Path, name: str) -> ColdkeyState:
    """How the coldkey is kept, absent also when there is no such wallet."""
    return read_wallet(root, name).coldkey_state if wallet_folder(root, name).is_dir() else ColdkeyState.ABSENT


def view_of(entry: WalletEntry, balance: Balance | None = None) -> WalletView:
    """What is shown of a wallet."""
    return WalletView(
        name=entry.name,
        coldkey=entry.coldkey,
        coldkey_state=entry.coldkey_state,
        hotkeys=tuple(HotkeyView(name=name, address=address) for name, address in entry.hotkeys),
        free_rao=balance.free_rao if balance else None,
        reserved_rao=balance.reserved_rao if balance else None,
    )


def table_of(views: list[WalletView]) -> RenderableType:
    """The coldkey's line, then one for each hotkey."""
    rows = []
    for view in views:
        rows.append((view.name, view.coldkey or "unreadable"))
        rows += [(f"  {hotkey.name}", hotkey.address or "unreadable") for hotkey in view.hotkeys]
    return make_table(("wallet, hotkeys", "address"), rows, folds="wallet, hotkeys")


def _balance(options: ShowWalletOptions, coldkey: str) -> Balance:
    quorum = Quorum(options.network, genesis_hash=options.genesis_hash)
    try:
        return read_balance(quorum, coldkey)
    finally:
        quorum.close()


def _lines(record: dict[str, str]) -> list[RenderableType]:
    width = max(map(len, record))
    return [f"{name.replace('_', ' '):{width}}  {value}" for name, value in record.items() if name != "name"]
