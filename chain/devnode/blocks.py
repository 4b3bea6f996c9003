"""Blocks: what is in one, and the header its hash is taken of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chain.devnode.extrinsics import blake256
from chain.devnode.scale import compact


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    number: int
    hash: bytes
    parent: bytes
    state_root: bytes
    extrinsics_root: bytes
    extrinsics: tuple[bytes, ...]


def header_bytes(block: Block) -> bytes:
    """The SCALE header that the block hash is taken of; the digest is empty."""
    return block.parent + compact(block.number) + block.state_root + block.extrinsics_root + compact(0)


def make_block(
    number: int, parent: Block | None, changes: Mapping[bytes, bytes | None], extrinsics: Sequence[bytes]
) -> Block:
    """The state root commits to the whole history of changes; it is a hash chain, not a Merkle trie."""
    digest = blake256(b"".join(_framed(key) + _framed(value or b"") for key, value in sorted(changes.items())))
    before = bytes(32) if parent is None else parent.state_root
    block = Block(
        number=number,
        hash=b"",
        parent=bytes(32) if parent is None else parent.hash,
        state_root=blake256(before + digest),
        extrinsics_root=blake256(b"".join(map(_framed, extrinsics))),
        extrinsics=tuple(extrinsics),
    )
    return replace(block, hash=blake256(header_bytes(block)))


def _framed(data: bytes) -> bytes:
    return compact(len(data)) + data
