"""Wallets in Bittensor's layout, so that a wallet made here works there and the other way round.

<root>/<wallet>/coldkey                 encrypted with a password; owns the stake, no node needs it
<root>/<wallet>/coldkeypub.txt          the public half
<root>/<wallet>/hotkeys/<hotkey>        plain, signs what a node does
<root>/<wallet>/hotkeys/<hotkey>pub.txt the public half
"""

import re
import secrets
import shutil
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from substrateinterface import Keypair as Keypair

from chain.keyfiles import (
    KEY_TYPES,
    NACL_MARK,
    SENSITIVE,
    Cost,
    decrypt,
    encrypt,
    is_encrypted,
    keypair_of,
    parse,
    private_json,
    public_json,
    read_address,
    read_key_file,
    write_new,
    write_public,
)
from hivetune.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 ._-]{0,62}[A-Za-z0-9_-])?")
COMPANIONS = ("pub.txt", ".lock")  # files beside hotkeys that are none
MARK_BYTES = 32  # enough to tell how a key file is kept
PHRASE_WORDS = (12, 15, 18, 21, 24)


class ColdkeyState(StrEnum):
    """How a wallet keeps its coldkey on this machine."""

    ABSENT = "absent"
    ENCRYPTED = "encrypted"
    UNLOCKED = "unlocked"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewWallet:
    """What a new wallet answers to (ss58), and the words that each of its keys can be made from again."""

    coldkey: str
    hotkey: str
    coldkey_phrase: str = field(repr=False)
    hotkey_phrase: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class WalletEntry:
    """One wallet found on disk."""

    name: str
    coldkey: str | None  # ss58; None when coldkeypub.txt is missing or unreadable
    coldkey_state: ColdkeyState
    hotkeys: tuple[tuple[str, str | None], ...]  # (name, ss58), None when the file is unreadable


def create_wallet(
    root: Path,
    name: str,
    hotkey: str = "default",
    *,
    password: str | None,
    unencrypted: bool = False,
    cost: Cost = SENSITIVE,
) -> NewWallet:
    """A new coldkey and its first hotkey; the folder appears whole or not at all."""
    folder = wallet_folder(root, name)
    valid_name(hotkey, "hotkey")
    if folder.exists():
        raise ConfigError(f"{existing_file(folder)} exists already; key files are never overwritten")
    coldkey_pair, hotkey_pair = new_keypair(), new_keypair()
    secret = sealed(coldkey_pair, password, unencrypted=unencrypted, cost=cost)
    unfinished = folder.parent / f".{folder.name}.{secrets.token_hex(8)}"
    try:
        (unfinished / "hotkeys").mkdir(parents=True, mode=0o700)
        unfinished.chmod(0o700)
        write_new(unfinished / "coldkey", secret)
        write_new(unfinished / "coldkeypub.txt", public_json(coldkey_pair))
        write_hotkey(unfinished, hotkey, hotkey_pair)
        unfinished.rename(folder)
    except OSError as error:
        raise ConfigError(f"cannot write wallet {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return NewWallet(
        coldkey=str(coldkey_pair.ss58_address),
        hotkey=str(hotkey_pair.ss58_address),
        coldkey_phrase=str(coldkey_pair.mnemonic),
        hotkey_phrase=str(hotkey_pair.mnemonic),
    )


def create_hotkey(root: Path, name: str, hotkey: str) -> Keypair:
    """One more hotkey for a wallet that exists."""
    folder = existing_wallet(root, name)
    keypair = new_keypair()
    add_hotkey(folder, hotkey, keypair)
    return keypair


def restore_coldkey(
    root: Path, name: str, keypair: Keypair, *, password: str | None, unencrypted: bool = False, cost: Cost = SENSITIVE
) -> None:
    """Writes a coldkey that is known into a wallet that has none, or a new one."""
    folder = wallet_folder(root, name)
    if (folder / "coldkey").exists():
        raise ConfigError(f"{folder / 'coldkey'} exists already; key files are never overwritten")
    secret = sealed(keypair, password, unencrypted=unencrypted, cost=cost)
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        write_public(folder / "coldkeypub.txt", keypair)
        write_new(folder / "coldkey", secret)
    except OSError as error:
        raise ConfigError(f"cannot write the coldkey of wallet {folder}: {error}") from error


def restore_hotkey(root: Path, name: str, hotkey: str, keypair: Keypair) -> None:
    """Writes a hotkey that is known; the wallet may be new and without a coldkey, as on a node's machine."""
    add_hotkey(wallet_folder(root, name), hotkey, keypair)


def list_wallets(root: Path) -> list[WalletEntry]:
    """All wallets under `root`, sorted by name; an absent folder holds none."""
    root = root.expanduser()
    if not root.is_dir():
        return []
    return [entry_of(folder) for folder in sorted(root.iterdir()) if folder.is_dir() and NAME.fullmatch(folder.name)]


def read_wallet(root: Path, name: str) -> WalletEntry:
    return entry_of(existing_wallet(root, name))


def entry_of(folder: Path) -> WalletEntry:
    return WalletEntry(
        name=folder.name,
        coldkey=address_or_none(folder / "coldkeypub.txt"),
        coldkey_state=state_of(folder / "coldkey"),
        hotkeys=tuple((key, address_or_none(folder / "hotkeys" / key)) for key in hotkey_names(folder)),
    )


def state_of(path: Path) -> ColdkeyState:
    """Judged by what this process could read."""
    try:
        with path.open("rb") as file:
            data = file.read(MARK_BYTES)
    except FileNotFoundError:
        return ColdkeyState.ABSENT
    except OSError:
        return ColdkeyState.UNREADABLE
    return ColdkeyState.ENCRYPTED if is_encrypted(data) else ColdkeyState.UNLOCKED


def load_hotkey(root: Path, name: str, hotkey: str) -> Keypair:
    folder = existing_wallet(root, name)
    path = folder / "hotkeys" / valid_name(hotkey, "hotkey")
    if not path.is_file():
        raise ConfigError(f"no hotkey {hotkey!r} at {path}; there are: {', '.join(hotkey_names(folder)) or 'none'}")
    data = read_key_file(path)
    if data.startswith(NACL_MARK):
        raise ConfigError(f"{path} is encrypted; a node signs by itself and needs a plain hotkey")
    return keypair_of(path, parse(path, data))


def hotkey_address(root: Path, name: str, hotkey: str) -> str:
    """Of the hotkey, or of its public file where the hotkey itself is on another machine."""
    folder = existing_wallet(root, name)
    path = folder / "hotkeys" / valid_name(hotkey, "hotkey")
    public = path.with_name(f"{hotkey}pub.txt")
    if not path.exists() and public.is_file():
        return read_address(public)
    return str(load_hotkey(root, name, hotkey).ss58_address)


def load_coldkey(root: Path, name: str, *, password: str | None, cost: Cost = SENSITIVE) -> Keypair:
    """The key that owns the stake; takes some seconds and 512 MiB when it is encrypted."""
    path = existing_wallet(root, name) / "coldkey"
    data = read_key_file(path)
    if data.startswith(NACL_MARK):
        if password is None:
            raise ConfigError(f"{path} is encrypted and no password was given")
        data = decrypt(path, data, password, cost)
    return keypair_of(path, parse(path, data))


def load_coldkeypub(root: Path, name: str) -> str:
    return read_address(existing_wallet(root, name) / "coldkeypub.txt")


def keypair_from_phrase(phrase: str, key_type: str = "sr25519") -> Keypair:
    """A key from its recovery phrase; the message never repeats the phrase."""
    if key_type not in KEY_TYPES:
        raise ConfigError(f"key type {key_type!r}, want one of {', '.join(KEY_TYPES)}")
    words = phrase.split()
    if len(words) not in PHRASE_WORDS:
        raise ConfigError(f"the phrase has {len(words)} words, want one of {', '.join(map(str, PHRASE_WORDS))}")
    try:
        return Keypair.create_from_mnemonic(" ".join(words), crypto_type=KEY_TYPES[key_type])
    except ValueError:
        raise ConfigError("this is no recovery phrase: a word is misspelt, missing or in the wrong place") from None


def keypair_from_uri(uri: str) -> Keypair:
    """A key by derivation path, such as //Alice, the sudo key of development chains."""
    try:
        return Keypair.create_from_uri(uri)
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise ConfigError(f"key {uri!r}: want a path such as //Alice or a mnemonic ({error})") from None


def new_keypair() -> Keypair:
    return Keypair.create_from_mnemonic(Keypair.generate_mnemonic())


def sealed(keypair: Keypair, password: str | None, *, unencrypted: bool, cost: Cost) -> bytes:
    """A coldkey's file; leaving it in the clear has to be asked for."""
    if password is not None and (unencrypted or not password):
        raise ConfigError("a wallet takes either a password that is not empty or unencrypted=True")
    if password is None and not unencrypted:
        raise ConfigError("a coldkey without a password must be asked for (unencrypted=True)")
    secret = private_json(keypair)
    return secret if password is None else encrypt(secret, password, cost)


def add_hotkey(folder: Path, hotkey: str, keypair: Keypair) -> None:
    valid_name(hotkey, "hotkey")
    try:
        (folder / "hotkeys").mkdir(parents=True, mode=0o700, exist_ok=True)
        write_hotkey(folder, hotkey, keypair)
    except OSError as error:
        raise ConfigError(f"cannot write hotkey {hotkey!r} of wallet {folder}: {error}") from error


def write_hotkey(folder: Path, hotkey: str, keypair: Keypair) -> None:
    path = folder / "hotkeys" / hotkey
    if path.exists():
        raise ConfigError(f"{path} exists already; key files are never overwritten")
    write_public(path.with_name(f"{hotkey}pub.txt"), keypair)
    write_new(path, private_json(keypair))


def valid_name(name: str, kind: str) -> str:
    if not NAME.fullmatch(name) or name.endswith(COMPANIONS):
        raise ConfigError(f"{kind} name {name!r}: want 1 to 64 of letters, digits, space, '.', '_', '-', no path")
    return name


def wallet_folder(root: Path, name: str) -> Path:
    return root.expanduser() / valid_name(name, "wallet")


def existing_wallet(root: Path, name: str) -> Path:
    folder = wallet_folder(root, name)
    if not folder.is_dir():
        there = ", ".join(entry.name for entry in list_wallets(root)) or "none"
        raise ConfigError(f"no wallet {name!r} under {root.expanduser()}; there are: {there}")
    return folder


def existing_file(folder: Path) -> Path:
    return next((path for path in (folder / "coldkey", folder / "coldkeypub.txt") if path.exists()), folder)


def hotkey_names(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob("hotkeys/*") if path.is_file())
    return [name for name in names if NAME.fullmatch(name) and not name.endswith(COMPANIONS)]


def address_or_none(path: Path) -> str | None:
    try:
        return read_address(path)
    except ConfigError:
        return None
