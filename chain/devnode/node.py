"""Block production: a pool of checked extrinsics, blocks sealed from it, each one written before anybody sees it."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scalecodec.utils.ss58 import ss58_decode
from substrateinterface import Keypair

from chain.devnode.extrinsics import (
    InvalidTransaction,
    SignedExtrinsic,
    blake256,
    check_signature,
    parse,
    timestamp_inherent,
)
from chain.devnode.overlay import Overlay
from chain.devnode.pallet import Context, DispatchError, Origin
from chain.devnode.pallets.system import NOW, SYSTEM, advance_nonce, nonce_of
from chain.devnode.runtime import EVENTS, run_call, start_block, write_genesis
from chain.devnode.scale import compact
from chain.devnode.store import Block, Store

log = logging.getLogger(__name__)

DEV_ACCOUNTS = ("//Alice", "//Bob", "//Charlie", "//Dave", "//Eve", "//Ferdie")
DEV_ENDOWMENT_RAO = 10**15
MAX_POOL = 8192
MAX_EXTRINSICS_PER_BLOCK = 1024
MAX_NONCE_AHEAD = 512
DISPATCH_INFO = {"weight": {"ref_time": 0, "proof_size": 0}, "class": ("Normal", ()), "pays_fee": ("No", ())}

EventRecord = dict[str, Any]


class PoolRefused(ValueError):  # noqa: N818 - what the pool did
    """The pool does not take an extrinsic it has, or whose nonce it has from the same signer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def account_id(address: str) -> bytes:
    return bytes.fromhex(ss58_decode(address))


def header_bytes(block: Block) -> bytes:
    """The SCALE header that the block hash is taken of; the digest is empty."""
    return block.parent + compact(block.number) + block.state_root + block.extrinsics_root + compact(0)


def make_block(
    number: int, parent: Block | None, changes: Mapping[bytes, bytes | None], extrinsics: list[bytes]
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
    return Block(
        number=number,
        hash=blake256(header_bytes(block)),
        parent=block.parent,
        state_root=block.state_root,
        extrinsics_root=block.extrinsics_root,
        extrinsics=block.extrinsics,
    )


def _framed(data: bytes) -> bytes:
    return compact(len(data)) + data


def _record(phase: tuple[str, tuple[int, ...]], event: tuple[str, str, tuple[Any, ...]]) -> EventRecord:
    pallet, name, values = event
    return {"phase": phase, "event": (pallet, ((name, values),)), "topics": []}


class Node:
    """One chain. Not thread-safe: the server calls it from one thread."""

    def __init__(self, state_path: Path, *, endow: Mapping[str, int] | None = None) -> None:
        self.store = Store(state_path)
        self.pool: dict[bytes, SignedExtrinsic] = {}
        self.on_block: list[Callable[[Block], None]] = []
        self.on_dropped: list[Callable[[bytes], None]] = []
        if self.store.head is None:
            self._write_genesis(dict(endow or {}))

    def close(self) -> None:
        self.store.close()

    @property
    def head(self) -> Block:
        assert self.store.head is not None
        return self.store.head

    def _write_genesis(self, endow: dict[str, int]) -> None:
        accounts = [Keypair.create_from_uri(uri) for uri in DEV_ACCOUNTS]
        endowments = {keypair.public_key: DEV_ENDOWMENT_RAO for keypair in accounts}
        endowments.update({account_id(address): amount for address, amount in endow.items()})
        overlay = Overlay(self.store)
        write_genesis(overlay, accounts[0].public_key, endowments)
        self.store.append(make_block(0, None, overlay.changes, []), overlay.changes)

    def block_hash(self, number: int) -> bytes | None:
        block = self.head if number == self.head.number else self.store.block_by_number(number)
        return None if block is None else block.hash

    def next_nonce(self, who: bytes) -> int:
        """The nonce after all that is in the state and, without a gap, in the pool."""
        waiting = {extrinsic.nonce for extrinsic in self.pool.values() if extrinsic.signer == who}
        nonce = nonce_of(self.store, who)
        while nonce in waiting:
            nonce += 1
        return nonce

    def submit(self, raw: bytes) -> bytes:
        """Takes an extrinsic into the pool and returns its hash; raises what makes it impossible."""
        extrinsic = parse(raw)
        if extrinsic.hash in self.pool:
            raise PoolRefused(1013, "Transaction is already imported")
        nonce = nonce_of(self.store, extrinsic.signer)
        if extrinsic.nonce < nonce:
            raise InvalidTransaction("Transaction is outdated")
        if extrinsic.nonce > nonce + MAX_NONCE_AHEAD:
            raise InvalidTransaction("Transaction nonce is too far in the future")
        check_signature(extrinsic, self.head.number + 1, self.block_hash)
        if len(self.pool) >= MAX_POOL:
            raise PoolRefused(1016, "The pool is full")
        if any(other.signer == extrinsic.signer and other.nonce == extrinsic.nonce for other in self.pool.values()):
            raise PoolRefused(1014, "Priority is too low: the pool has this signer's nonce already")
        self.pool[extrinsic.hash] = extrinsic
        return extrinsic.hash

    def drop_pool(self) -> int:
        """Forgets what waits, as a node does that restarts."""
        dropped = list(self.pool)
        self.pool.clear()
        for extrinsic_hash in dropped:
            self._tell_dropped(extrinsic_hash)
        return len(dropped)

    def _tell_dropped(self, extrinsic_hash: bytes) -> None:
        for listener in self.on_dropped:
            listener(extrinsic_hash)

    def seal(self) -> Block:
        """Makes the next block from what is ready in the pool."""
        parent = self.head
        overlay = Overlay(self.store)
        context = Context(state=overlay, block=parent.number + 1, events=[])
        start_block(context, parent.hash)
        records = [_record(("Initialization", ()), event) for event in context.events]
        now_ms = max(NOW.get(overlay) + 1, int(time.time() * 1000))
        NOW.put(overlay, now_ms)
        included = [timestamp_inherent(now_ms)]
        records.append(_record(("ApplyExtrinsic", (0,)), _outcome(None)))
        for extrinsic in self._take_ready(overlay, context.block):
            records.extend(self._apply(overlay, context.block, len(included), extrinsic))
            included.append(extrinsic.raw)
        EVENTS.put(overlay, records)
        changes = overlay.changes
        block = make_block(context.block, parent, changes, included)
        self.store.append(block, changes)
        log.info("block %d: %d extrinsics, %s", block.number, len(included) - 1, block.hash.hex()[:12])
        for listener in self.on_block:
            listener(block)
        return block

    def _take_ready(self, overlay: Overlay, block: int) -> list[SignedExtrinsic]:
        """Those whose turn it is: signers in order of their first arrival, each signer's by nonce without a gap."""
        by_signer: dict[bytes, list[SignedExtrinsic]] = {}
        for extrinsic in self.pool.values():
            by_signer.setdefault(extrinsic.signer, []).append(extrinsic)
        ready: list[SignedExtrinsic] = []
        for signer, waiting in by_signer.items():
            expected = nonce_of(overlay, signer)
            for extrinsic in sorted(waiting, key=lambda one: one.nonce):
                full = len(ready) >= MAX_EXTRINSICS_PER_BLOCK
                if full or extrinsic.nonce != expected or not self._still_valid(extrinsic, block):
                    break
                ready.append(extrinsic)
                expected += 1
        for extrinsic in ready:
            del self.pool[extrinsic.hash]
        return ready

    def _still_valid(self, extrinsic: SignedExtrinsic, block: int) -> bool:
        """A mortal extrinsic whose era has passed no longer matches the hash it was signed over."""
        try:
            check_signature(extrinsic, block, self.block_hash)
        except InvalidTransaction:
            del self.pool[extrinsic.hash]
            self._tell_dropped(extrinsic.hash)
            return False
        return True

    def _apply(self, overlay: Overlay, block: int, index: int, extrinsic: SignedExtrinsic) -> list[EventRecord]:
        advance_nonce(overlay, extrinsic.signer)
        context = Context(state=overlay, block=block, events=[])
        error = run_call(context, Origin(account=extrinsic.signer), extrinsic.call)
        phase = ("ApplyExtrinsic", (index,))
        return [_record(phase, event) for event in (*context.events, _outcome(error))]


def _outcome(error: DispatchError | None) -> tuple[str, str, tuple[Any, ...]]:
    if error is None:
        return SYSTEM.name, "ExtrinsicSuccess", (DISPATCH_INFO,)
    return SYSTEM.name, "ExtrinsicFailed", (error.encoded(), DISPATCH_INFO)
