"""Hashes and signature checks as Substrate's hosts do them: bytes in, bytes or a verdict out."""

from collections.abc import Mapping
from hashlib import blake2b, sha256

import ed25519_zebra
import sr25519
import xxhash
from Crypto.Hash import keccak
from eth_keys import KeyAPI
from eth_keys.exceptions import BadSignature, ValidationError

from chain.devnode.scale import compact

# sp_io's EcdsaVerifyError.
BAD_RS, BAD_V, BAD_SIGNATURE = 0, 1, 2


class EcdsaRefused(ValueError):  # noqa: N818 - what the check did
    def __init__(self, code: int) -> None:
        super().__init__(f"EcdsaVerifyError {code}")
        self.code = code


def blake2_128(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def blake2_256(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


def sha2_256(data: bytes) -> bytes:
    return sha256(data).digest()


def keccak_256(data: bytes) -> bytes:
    return bytes(keccak.new(digest_bits=256, data=data).digest())


def twox_64(data: bytes) -> bytes:
    return bytes(xxhash.xxh64_digest(data, 0)[::-1])


def twox_128(data: bytes) -> bytes:
    return bytes(xxhash.xxh64_digest(data, 0)[::-1] + xxhash.xxh64_digest(data, 1)[::-1])


def changes_root(before: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
    """Stands for a state root: it commits to the whole history of changes, and is a hash chain, no Merkle trie."""
    parts = (compact(len(part)) + part for key, value in sorted(changes.items()) for part in (key, value or b""))
    return blake2_256(before + b"".join(parts))


def sr25519_verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
    try:
        return bool(sr25519.verify(signature, message, public_key))
    except ValueError:  # no point, no scalar, or not marked as a schnorrkel signature
        return False


def ed25519_verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
    try:
        return bool(ed25519_zebra.ed_verify(signature, message, public_key))
    except ValueError:
        return False


def ecdsa_recover(signature: bytes, digest: bytes) -> bytes:
    """The 64 bytes of the public key that signed a digest."""
    v = signature[64] - 27 if signature[64] > 26 else signature[64]
    if v > 3:
        raise EcdsaRefused(BAD_V)
    if v > 1:
        raise EcdsaRefused(BAD_SIGNATURE)  # r above the curve's order: nobody meets one by chance
    try:
        parsed = KeyAPI.Signature(signature_bytes=signature[:64] + bytes([v]))
        return bytes(parsed.recover_public_key_from_msg_hash(digest).to_bytes())
    except ValidationError as error:
        raise EcdsaRefused(BAD_RS) from error
    except BadSignature as error:
        raise EcdsaRefused(BAD_SIGNATURE) from error


def compressed(public_key: bytes) -> bytes:
    """The 33-byte form of a secp256k1 key."""
    return bytes([2 + (public_key[63] & 1)]) + public_key[:32]
