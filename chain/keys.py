"""Wallet files in Bittensor's layout and format, so that a wallet made here works there and the other way round.

<root>/<wallet>/coldkey             encrypted with a password; owns the stake, no node needs it
<root>/<wallet>/coldkeypub.txt      the public half
<root>/<wallet>/hotkeys/<hotkey>    plain, signs what a node does
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2i
from nacl.secret import SecretBox
from substrateinterface import Keypair as Keypair

from hivetune.errors import ConfigError

NACL_MARK = b"$NACL"
OLD_FORMATS = {b"$ANSIBLE_VAULT": "Ansible vault", b"gAAAAA": "Fernet"}
SALT = bytes.fromhex("137183dff15a09bc9c90b5518739e9b1")  # the one Bittensor uses for every wallet
NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9 ._-]{0,62}[A-Za-z0-9_-])?")
MAX_KEY_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Work to turn a password into a key; Bittensor's readers know only the default."""

    operations: int = argon2i.OPSLIMIT_SENSITIVE
    memory_bytes: int = argon2i.MEMLIMIT_SENSITIVE


SENSITIVE = Cost()


@dataclass(frozen=True, kw_only=True, slots=True)
class Addresses:
    """What a new wallet answers to (ss58)."""

    coldkey: str
    hotkey: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WalletEntry:
    """One wallet found on disk."""

    name: str
    coldkey: str | None  # ss58; None when coldkeypub.txt is missing or unreadable
    hotkeys: tuple[tuple[str, str | None], ...]  # (name, ss58), None when the file is unreadable


def create_wallet(
    root: Path,
    name: str,
    hotkey: str = "default",
    *,
    password: str | None,
    unencrypted: bool = False,
    cost: Cost = SENSITIVE,
) -> Addresses:
    """A new coldkey and its first hotkey; the folder appears whole or not at all."""
    if password is not None and (unencrypted or not password):
        raise ConfigError("a wallet takes either a password that is not empty or unencrypted=True")
    if password is None and not unencrypted:
        raise ConfigError("a coldkey without a password must be asked for (unencrypted=True)")
    folder = wallet_folder(root, name)
    valid_name(hotkey, "hotkey")
    if folder.exists():
        raise ConfigError(f"{existing_file(folder)} exists already; key files are never overwritten")
    coldkey_pair, hotkey_pair = new_keypair(), new_keypair()
    secret = private_json(coldkey_pair)
    unfinished = folder.parent / f".{folder.name}.{secrets.token_hex(8)}"
    try:
        (unfinished / "hotkeys").mkdir(parents=True, mode=0o700)
        unfinished.chmod(0o700)
        write_new(unfinished / "coldkey", secret if password is None else encrypt(secret, password, cost))
        write_new(unfinished / "coldkeypub.txt", public_json(coldkey_pair))
        write_hotkey(unfinished, hotkey, hotkey_pair)
        unfinished.rename(folder)
    except OSError as error:
        raise ConfigError(f"cannot write wallet {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Addresses(coldkey=coldkey_pair.ss58_address, hotkey=hotkey_pair.ss58_address)


def create_hotkey(root: Path, name: str, hotkey: str) -> str:
    """One more hotkey for a wallet that exists; its ss58 address."""
    folder = existing_wallet(root, name)
    keypair = new_keypair()
    try:
        (folder / "hotkeys").mkdir(mode=0o700, exist_ok=True)
        write_hotkey(folder, valid_name(hotkey, "hotkey"), keypair)
    except OSError as error:
        raise ConfigError(f"cannot write hotkey {hotkey!r} of wallet {folder}: {error}") from error
    return str(keypair.ss58_address)


def list_wallets(root: Path) -> list[WalletEntry]:
    """All wallets under `root`, sorted by name; an absent folder holds none."""
    root = root.expanduser()
    if not root.is_dir():
        return []
    return [
        WalletEntry(
            name=folder.name,
            coldkey=address_or_none(folder / "coldkeypub.txt"),
            hotkeys=tuple((key, address_or_none(folder / "hotkeys" / key)) for key in hotkey_names(folder)),
        )
        for folder in sorted(root.iterdir())
        if folder.is_dir() and NAME.fullmatch(folder.name)
    ]


def load_hotkey(root: Path, name: str, hotkey: str) -> Keypair:
    folder = existing_wallet(root, name)
    path = folder / "hotkeys" / valid_name(hotkey, "hotkey")
    if not path.is_file():
        raise ConfigError(f"no hotkey {hotkey!r} at {path}; there are: {', '.join(hotkey_names(folder)) or 'none'}")
    data = read_key_file(path)
    if data.startswith(NACL_MARK):
        raise ConfigError(f"{path} is encrypted; a node signs by itself and needs a plain hotkey")
    return keypair_of(path, parse(path, data))


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
    path = existing_wallet(root, name) / "coldkeypub.txt"
    return address_of(path, parse(path, read_key_file(path)))


def encrypt(data: bytes, password: str, cost: Cost = SENSITIVE) -> bytes:
    return NACL_MARK + bytes(box(password, cost).encrypt(data))


def decrypt(path: Path, data: bytes, password: str, cost: Cost = SENSITIVE) -> bytes:
    try:
        return box(password, cost).decrypt(data[len(NACL_MARK) :])
    except (CryptoError, ValueError) as error:
        raise ConfigError(f"wrong password for {path}, or the file is damaged") from error


def box(password: str, cost: Cost) -> SecretBox:
    return SecretBox(argon2i.kdf(SecretBox.KEY_SIZE, password.encode(), SALT, cost.operations, cost.memory_bytes))


def new_keypair() -> Keypair:
    return Keypair.create_from_mnemonic(Keypair.generate_mnemonic())


def public_json(keypair: Keypair) -> bytes:
    return json.dumps(public_fields(keypair)).encode()


def private_json(keypair: Keypair) -> bytes:
    secrets_of_key = {
        "privateKey": f"0x{keypair.private_key.hex()}",
        "secretPhrase": keypair.mnemonic,
        "secretSeed": f"0x{keypair.seed_hex.hex()}",
    }
    return json.dumps({**public_fields(keypair), **secrets_of_key}).encode()


def public_fields(keypair: Keypair) -> dict[str, object]:
    public = f"0x{keypair.public_key.hex()}"
    address, kind = keypair.ss58_address, keypair.crypto_type
    return {"accountId": public, "publicKey": public, "ss58Address": address, "cryptoType": kind}


def write_hotkey(folder: Path, hotkey: str, keypair: Keypair) -> None:
    write_new(folder / "hotkeys" / hotkey, private_json(keypair))
    write_new(folder / "hotkeys" / f"{hotkey}pub.txt", public_json(keypair))


def write_new(path: Path, data: bytes) -> None:
    """Whole or not at all, mode 600; a hard link, unlike a rename, fails when the target exists."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already; key files are never overwritten") from error
    finally:
        unfinished.unlink()


def valid_name(name: str, kind: str) -> str:
    if not NAME.fullmatch(name) or name.endswith("pub.txt"):
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
    return [name for name in names if NAME.fullmatch(name) and not name.endswith("pub.txt")]


def read_key_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_KEY_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes, a key file at most {MAX_KEY_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read key file {path}: {error.strerror}") from error
    for mark, label in OLD_FORMATS.items():
        if data.startswith(mark):
            raise ConfigError(f"{path} has the old {label} format; let btcli write it anew, then try again")
    return data


def parse(path: Path, data: bytes) -> Mapping[str, object]:
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise ConfigError(f"{path} is not a key file: no JSON") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"{path} is not a key file: want a JSON object, found {type(fields).__name__}")
    return fields


def address_of(path: Path, fields: Mapping[str, object]) -> str:
    """The address the file states, its checksum checked."""
    try:
        return str(Keypair(ss58_address=fields["ss58Address"]).ss58_address)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(f"{path} holds no valid ss58Address") from error


def address_or_none(path: Path) -> str | None:
    try:
        return address_of(path, parse(path, read_key_file(path)))
    except ConfigError:
        return None


def keypair_of(path: Path, fields: Mapping[str, object]) -> Keypair:
    """The key from whichever secret gives the stated address (a derived key's phrase alone does not)."""
    address, kind = address_of(path, fields), fields.get("cryptoType", 1)
    if kind not in (0, 1):
        raise ConfigError(f"{path}: cryptoType {kind!r}, want 1 (sr25519) or 0 (ed25519)")
    makers: dict[str, Callable[[str], Keypair]] = {
        "secretPhrase": lambda value: Keypair.create_from_mnemonic(value, crypto_type=kind),
        "secretSeed": lambda value: Keypair.create_from_seed(value, ss58_format=42, crypto_type=kind),
        "privateKey": lambda value: Keypair.create_from_private_key(value, ss58_address=address, crypto_type=kind),
    }
    for field, make in makers.items():
        value = fields.get(field)
        try:
            keypair = make(value) if isinstance(value, str) and value else None
            if keypair and keypair.ss58_address == address and keypair.verify(b"check", keypair.sign(b"check")):
                return keypair
        except (ValueError, TypeError, IndexError):
            continue
    raise ConfigError(f"{path}: no secret in it gives the address {address}")


def keypair_from_uri(uri: str) -> Keypair:
    """A key by derivation path, such as //Alice, the sudo key of development chains."""
    try:
        return Keypair.create_from_uri(uri)
    except (ValueError, NotImplementedError, AttributeError) as error:
        raise ConfigError(f"key {uri!r}: want a path such as //Alice or a mnemonic ({error})") from None
