"""Signed extrinsics: read from hostile bytes, and checked against the very payload that clients sign."""

from collections.abc import Callable
from dataclasses import dataclass

import sr25519

from chain.devnode.pallet import blake256 as blake256
from chain.devnode.rules import Rules
from chain.devnode.runtime import TRANSACTION_VERSION, RuntimeCall, runtime_under
from chain.devnode.scale import MalformedBytes, Reader, compact
from chain.devnode.substrate_types import MULTI_ADDRESS, MULTI_SIGNATURE

SIGNED_V4 = 0x84
UNSIGNED_V4 = 0x04
MAX_EXTRINSIC_BYTES = 256 * 1024
PAYLOAD_HASHED_ABOVE_BYTES = 256

BlockHashOf = Callable[[int], bytes | None]


class InvalidTransaction(ValueError):  # noqa: N818 - Substrate's name for it
    """An extrinsic that no block takes; the message is what Substrate says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Era:
    """The blocks in which an extrinsic counts; `period` 0 means always."""

    period: int
    phase: int

    def birth(self, block: int) -> int:
        if self.period == 0:
            return 0
        return (max(block, self.phase) - self.phase) // self.period * self.period + self.phase


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedExtrinsic:
    raw: bytes
    hash: bytes
    signer: bytes
    signature: bytes
    nonce: int
    era: Era
    call: RuntimeCall
    call_bytes: bytes
    extra_bytes: bytes


def _read_era(reader: Reader) -> Era:
    first = reader.take(1)[0]
    if first == 0:
        return Era(period=0, phase=0)
    encoded = first | reader.take(1)[0] << 8
    period = 2 << (encoded & 15)
    phase = (encoded >> 4) * max(1, period >> 12)
    if period < 4 or phase >= period:
        raise MalformedBytes(f"era with period {period} and phase {phase}")
    return Era(period=period, phase=phase)


def parse(raw: bytes, rules: Rules) -> SignedExtrinsic:
    """MalformedBytes when it is no v4 extrinsic signed by an account id with sr25519, or no call of this runtime."""
    if len(raw) > MAX_EXTRINSIC_BYTES:
        raise MalformedBytes(f"extrinsic of {len(raw)} bytes, at most {MAX_EXTRINSIC_BYTES}")
    reader = Reader(raw)
    if reader.compact() != len(raw) - reader.offset:
        raise MalformedBytes("the length prefix does not match")
    version = reader.take(1)[0]
    if version != SIGNED_V4:
        raise MalformedBytes(f"extrinsic version byte {version}, want {SIGNED_V4}")
    address, (signer, *_) = MULTI_ADDRESS.read(reader)
    scheme, (signature,) = MULTI_SIGNATURE.read(reader)
    if address != "Id" or scheme != "Sr25519":
        raise MalformedBytes(f"address {address} with a {scheme} signature, want Id with Sr25519")
    start = reader.offset
    era = _read_era(reader)
    nonce = reader.compact()
    reader.compact()  # the tip: there are no fees, so nobody collects it
    if reader.take(1)[0] != 0:
        raise MalformedBytes("metadata hash mode is not Disabled")
    extra_end = reader.offset
    call = runtime_under(rules).call.read(reader)
    reader.finish()
    return SignedExtrinsic(
        raw=raw,
        hash=blake256(raw),
        signer=signer,
        signature=signature,
        nonce=nonce,
        era=era,
        call=call,
        call_bytes=raw[extra_end:],
        extra_bytes=raw[start:extra_end],
    )


def check_signature(extrinsic: SignedExtrinsic, rules: Rules, next_block: int, block_hash: BlockHashOf) -> None:
    """Bad proof unless the signer signed this call for this chain, this runtime and this era."""
    birth = extrinsic.era.birth(next_block)
    era_hash = block_hash(birth)
    if era_hash is None:
        raise InvalidTransaction("Transaction has an ancient birth block")
    genesis = block_hash(0) or bytes(32)
    payload = (
        extrinsic.call_bytes
        + extrinsic.extra_bytes
        + rules.spec_version.to_bytes(4, "little")
        + TRANSACTION_VERSION.to_bytes(4, "little")
        + genesis
        + era_hash
        + b"\x00"  # no metadata hash
    )
    if len(payload) > PAYLOAD_HASHED_ABOVE_BYTES:
        payload = blake256(payload)
    if not sr25519.verify(extrinsic.signature, payload, extrinsic.signer):
        raise InvalidTransaction("Transaction has a bad signature")


def timestamp_inherent(now_ms: int) -> bytes:
    """The unsigned Timestamp.set that opens every block."""
    body = bytes([UNSIGNED_V4, 2, 0]) + compact(now_ms)
    return compact(len(body)) + body
