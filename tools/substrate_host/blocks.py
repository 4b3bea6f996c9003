"""Headers and blocks in SCALE: what the runtime hands back when it has finished one."""

from dataclasses import dataclass
from typing import Any

from chain.devnode.scale import MalformedBytes, Reader, compact
from tools.substrate_host.crypto import blake2_256

# sp_runtime's DigestItem.
OTHER, CONSENSUS, SEAL, PRE_RUNTIME, ENVIRONMENT_UPDATED = 0, 4, 5, 6, 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    number: int
    hash: bytes
    parent: bytes
    state_root: bytes
    extrinsics_root: bytes
    extrinsics: tuple[bytes, ...]
    logs: tuple[bytes, ...]  # the digest's items as they are encoded


def genesis_header(state_root: bytes) -> bytes:
    return bytes(32) + compact(0) + state_root + bytes(32) + compact(0)


def new_header(parent: bytes, number: int) -> bytes:
    """The header that a block begins with: the runtime fills the rest in."""
    return parent + compact(number) + bytes(64) + compact(0)


def read_block(header: bytes, extrinsics: list[bytes]) -> Block:
    reader = Reader(header)
    parent, number = reader.take(32), reader.compact()
    state_root, extrinsics_root = reader.take(32), reader.take(32)
    logs = tuple(_digest_item(reader) for _ in range(reader.compact()))
    reader.finish()
    return Block(
        number=number,
        hash=blake2_256(header),
        parent=parent,
        state_root=state_root,
        extrinsics_root=extrinsics_root,
        extrinsics=tuple(extrinsics),
        logs=logs,
    )


def _digest_item(reader: Reader) -> bytes:
    start = reader.offset
    kind = reader.take(1)[0]
    if kind in (CONSENSUS, SEAL, PRE_RUNTIME):
        reader.take(4)
    elif kind not in (OTHER, ENVIRONMENT_UPDATED):
        raise MalformedBytes(f"a digest item of kind {kind}")
    if kind != ENVIRONMENT_UPDATED:
        reader.take(reader.compact())
    return reader.data[start : reader.offset]


def header_json(block: Block) -> dict[str, Any]:
    return {
        "parentHash": "0x" + block.parent.hex(),
        "number": hex(block.number),
        "stateRoot": "0x" + block.state_root.hex(),
        "extrinsicsRoot": "0x" + block.extrinsics_root.hex(),
        "digest": {"logs": ["0x" + item.hex() for item in block.logs]},
    }


def split_extrinsics(data: bytes) -> list[bytes]:
    """Each extrinsic of an encoded vector, with its own length prefix."""
    reader = Reader(data)
    found = []
    for _ in range(reader.compact()):
        start = reader.offset
        reader.take(reader.compact())
        found.append(data[start : reader.offset])
    reader.finish()
    return found


def inherent_data(timestamp_ms: int) -> bytes:
    """What a block's author tells the runtime about the world: the time."""
    value = timestamp_ms.to_bytes(8, "little")
    return compact(1) + b"timstap0" + compact(len(value)) + value
