"""One key in one file, in Bittensor's format: JSON, plain or sealed with a password. No file is ever overwritten."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.pwhash import argon2i
from nacl.secret import SecretBox
from substrateinterface import Keypair, KeypairType

from hivetune.errors import ConfigError

NACL_MARK = b"$NACL"
OLD_FORMATS = {b"$ANSIBLE_VAULT": "Ansible vault", b"gAAAAA": "Fernet"}
SALT = bytes.fromhex("137183dff15a09bc9c90b5518739e9b1")  # the one Bittensor uses for every wallet
MAX_KEY_BYTES = 64 * 1024
KEY_TYPES = {"sr25519": KeypairType.SR25519, "ed25519": KeypairType.ED25519}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Work to turn a password into a key; Bittensor's readers know only the default."""

    operations: int = argon2i.OPSLIMIT_SENSITIVE
    memory_bytes: int = argon2i.MEMLIMIT_SENSITIVE


SENSITIVE = Cost()


def encrypt(data: bytes, password: str, cost: Cost = SENSITIVE) -> bytes:
    return NACL_MARK + bytes(box(password, cost).encrypt(data))


def decrypt(path: Path, data: bytes, password: str, cost: Cost = SENSITIVE) -> bytes:
    try:
        return box(password, cost).decrypt(data[len(NACL_MARK) :])
    except (CryptoError, ValueError) as error:
        raise ConfigError(f"wrong password for {path}, or the file is damaged") from error


def box(password: str, cost: Cost) -> SecretBox:
    return SecretBox(argon2i.kdf(SecretBox.KEY_SIZE, password.encode(), SALT, cost.operations, cost.memory_bytes))


def is_encrypted(data: bytes) -> bool:
    """Whether the bytes of a key file give no key away, in the present format or an old one."""
    return data.startswith((NACL_MARK, *OLD_FORMATS))


def public_json(keypair: Keypair) -> bytes:
    return json.dumps(public_fields(keypair)).encode()


def private_json(keypair: Keypair) -> bytes:
    """Secrets that the key was not made from, such as the phrase behind a seed, are left out."""
    secrets_of_key = {
        "privateKey": f"0x{keypair.private_key.hex()}",
        "secretPhrase": keypair.mnemonic,
        "secretSeed": f"0x{keypair.seed_hex.hex()}" if keypair.seed_hex else None,
    }
    given = {name: secret for name, secret in secrets_of_key.items() if secret}
    return json.dumps({**public_fields(keypair), **given}).encode()


def public_fields(keypair: Keypair) -> dict[str, object]:
    public = f"0x{keypair.public_key.hex()}"
    address, kind = keypair.ss58_address, keypair.crypto_type
    return {"accountId": public, "publicKey": public, "ss58Address": address, "cryptoType": kind}


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


def write_public(path: Path, keypair: Keypair) -> None:
    """The public half; one that is there already stays, and must be of this key."""
    if not path.exists():
        write_new(path, public_json(keypair))
    elif (found := read_address(path)) != keypair.ss58_address:
        raise ConfigError(f"{path} is of {found}, and this key is {keypair.ss58_address}")


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
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a key file: no JSON") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"{path} is not a key file: want a JSON object, found {type(fields).__name__}")
    return fields


def read_address(path: Path) -> str:
    """The address that a file in the clear states."""
    return address_of(path, parse(path, read_key_file(path)))


def address_of(path: Path, fields: Mapping[str, object]) -> str:
    """The stated address, its checksum checked."""
    try:
        return str(Keypair(ss58_address=fields["ss58Address"]).ss58_address)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(f"{path} holds no valid ss58Address") from error


def keypair_of(path: Path, fields: Mapping[str, object]) -> Keypair:
    """The key from whichever secret gives the stated address (a derived key's phrase alone does not)."""
    address, kind = address_of(path, fields), fields.get("cryptoType", KeypairType.SR25519)
    if kind not in KEY_TYPES.values():
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
