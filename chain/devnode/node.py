"""Block production: a pool of checked extrinsics, blocks sealed from it, each one written before anybody sees it."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalecodec.utils.ss58 import ss58_decode
from substrateinterface import Keypair

from chain.devnode.admission import refusal
from chain.devnode.blocks import Block, make_block
from chain.devnode.extrinsics import (
    InvalidTransaction,
    SignedExtrinsic,
    check_signature,
    parse,
    timestamp_inherent,
)
from chain.devnode.overlay import Overlay
from chain.devnode.pallet import Context, DispatchError, Origin, rules_of
from chain.devnode.pallets.system import ACCOUNTS, NOW, SYSTEM, advance_nonce, nonce_of
from chain.devnode.rules import OLD, rules_of_spec
from chain.devnode.runtime import end_block, run_call, runtime_under, start_block, write_genesis
from chain.devnode.store import Store
from hivetune.errors import ConfigError

log = logging.getLogger(__name__)

DEV_ACCOUNTS = ("//Alice", "//Bob", "//Charlie", "//Dave", "//Eve", "//Ferdie")
DEV_ENDOWMENT_RAO = 10**15
TEMPORARILY_BANNED, ALREADY_IMPORTED, PRIORITY_TOO_LOW, POOL_FULL = 1012, 1013, 1014, 1016
MAX_POOL = 8192
MAX_EXTRINSICS_PER_BLOCK = 1024
MAX_NONCE_AHEAD = 512
DISPATCH_INFO = {"weight": {"ref_time": 0, "proof_size": 0}, "class": ("Normal", ()), "pays_fee": ("No", ())}

EventRecord = dict[str, Any]
HeadListener = Callable[[Sequence[Block], Sequence[Block]], None]


class PoolRefused(ValueError):  # noqa: N818 - what the pool did
    """The pool does not take an extrinsic it has, or whose nonce it has from the same signer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ReorgRefused(ValueError):  # noqa: N818 - what the chain did
    """The chain does not go back behind its finalized block, nor to a shorter branch."""


def account_id(address: str) -> bytes:
    return bytes.fromhex(ss58_decode(address))


def record(phase: tuple[str, tuple[int, ...]], event: tuple[str, str, tuple[Any, ...]]) -> EventRecord:
    pallet, name, values = event
    return {"phase": phase, "event": (pallet, ((name, values),)), "topics": []}


class Node:
    """One chain. Not thread-safe: the server calls it from one thread."""

    def __init__(
        self,
        state_path: Path,
        *,
        endow: Mapping[str, int] | None = None,
        finality_lag: int = 0,
        rules: int = OLD,
    ) -> None:
        self.rules = rules_of_spec(rules)
        self.store = Store(state_path)
        self.pool: dict[bytes, SignedExtrinsic] = {}
        self._banned: set[bytes] = set()  # hashes that were in a block or no longer fit one: a pool takes them once
        self._finality_lag = finality_lag
        self.on_head: list[HeadListener] = []  # called with the blocks that left the chain and those that joined it
        self.on_dropped: list[Callable[[bytes], None]] = []
        if self.store.head is None:
            self._write_genesis(dict(endow or {}))
        self._check_rules(state_path)

    def _check_rules(self, state_path: Path) -> None:
        """A chain keeps the rules it was born with."""
        kept = rules_of(self.store)
        if kept is not self.rules:
            self.close()
            asked = self.rules.spec_version
            raise ConfigError(f"chain state {state_path} follows runtime {kept.spec_version}, asked for is {asked}")

    def close(self) -> None:
        self.store.close()

    @property
    def head(self) -> Block:
        assert self.store.head is not None
        return self.store.head

    @property
    def finalized(self) -> Block:
        """Trails the head; it never moves back, for no reorg makes the chain shorter."""
        return self.block(max(0, self.head.number - self._finality_lag))

    def _write_genesis(self, endow: dict[str, int]) -> None:
        accounts = [Keypair.create_from_uri(uri) for uri in DEV_ACCOUNTS]
        endowments = {keypair.public_key: DEV_ENDOWMENT_RAO for keypair in accounts}
        endowments.update({account_id(address): amount for address, amount in endow.items()})
        overlay = Overlay(self.store)
        write_genesis(overlay, self.rules, accounts[0].public_key, endowments)
        self.store.append(make_block(0, None, overlay.changes, []), overlay.changes)

    def block(self, number: int) -> Block:
        """One of the chain; numbers run from 0 to the head's."""
        block = self.store.block_by_number(number)
        assert block is not None, f"no block {number}"
        return block

    def block_hash(self, number: int) -> bytes | None:
        block = self.store.block_by_number(number)
        return None if block is None else block.hash

    def next_nonce(self, who: bytes, at: Block) -> int:
        """The nonce after all that is in the state at a block and, without a gap, in the pool."""
        waiting = {extrinsic.nonce for extrinsic in self.pool.values() if extrinsic.signer == who}
        raw = self.store.get_at(ACCOUNTS.key(who), at)
        nonce = 0 if raw is None else int(ACCOUNTS.value.decode(raw)["nonce"])
        while nonce in waiting:
            nonce += 1
        return nonce

    def submit(self, raw: bytes) -> bytes:
        """Takes an extrinsic into the pool and returns its hash; raises what makes it impossible."""
        extrinsic = parse(raw, self.rules)
        if extrinsic.hash in self._banned:
            raise PoolRefused(TEMPORARILY_BANNED, "Transaction is temporarily banned")
        if extrinsic.hash in self.pool:
            raise PoolRefused(ALREADY_IMPORTED, "Transaction Already Imported")
        nonce = nonce_of(self.store, extrinsic.signer)
        if extrinsic.nonce < nonce:
            raise InvalidTransaction("Transaction is outdated")
        if extrinsic.nonce > nonce + MAX_NONCE_AHEAD:
            raise InvalidTransaction("Transaction nonce is too far in the future")
        check_signature(extrinsic, self.rules, self.head.number + 1, self.block_hash)
        code = refusal(self.store, self.head.number + 1, extrinsic.signer, extrinsic.call)
        if code is not None:
            raise InvalidTransaction(f"Custom error: {code}")
        if len(self.pool) >= MAX_POOL:
            raise PoolRefused(POOL_FULL, "The pool is full")
        if any(other.signer == extrinsic.signer and other.nonce == extrinsic.nonce for other in self.pool.values()):
            raise PoolRefused(PRIORITY_TOO_LOW, "Priority is too low: the pool has this signer's nonce already")
        self.pool[extrinsic.hash] = extrinsic
        return extrinsic.hash

    def drop_pool(self) -> int:
        """Forgets what waits, as a node does that restarts."""
        dropped = list(self.pool)
        self.pool.clear()
        self._banned.clear()
        for extrinsic_hash in dropped:
            self._tell_dropped(extrinsic_hash)
        return len(dropped)

    def _tell_dropped(self, extrinsic_hash: bytes) -> None:
        for listener in self.on_dropped:
            listener(extrinsic_hash)

    def seal(self) -> Block:
        """Makes the next block from what is ready in the pool."""
        block = self._append()
        self._tell_head((), (block,))
        return block

    def set_storage(self, writes: Mapping[bytes, bytes | None]) -> Block:
        """Seals a block without extrinsics whose last act are these writes; a reorg takes them back with it."""
        block = self._append(empty=True, writes=writes)
        self._tell_head((), (block,))
        return block

    def reorg(self, depth: int, *, length: int | None = None, drop: bool = False, include: bool = False) -> Block:
        """Replaces the last `depth` blocks by `length` siblings, one more than there were if not said otherwise.

        What the abandoned blocks held waits in the pool again, or is forgotten with `drop`. The siblings are empty;
        with `include` they take what is ready in the pool.
        """
        length = depth + 1 if length is None else length
        unfinalized = self.head.number - self.finalized.number
        if not 1 <= depth <= unfinalized:
            raise ReorgRefused(f"a reorg {depth} blocks deep, {unfinalized} are not finalized")
        if length < depth:
            raise ReorgRefused(f"a branch of {length} blocks in the place of {depth}")
        later_ms = NOW.get(self.store) + 1  # no sibling is the same block again
        with self.store.transaction():
            abandoned = self.store.rewind(self.head.number - depth)
            held = [parse(raw, self.rules) for block in abandoned for raw in block.extrinsics[1:]]
            if not drop:
                self.pool = {extrinsic.hash: extrinsic for extrinsic in held} | self.pool
            blocks = [self._append(empty=not include, not_before_ms=later_ms) for _ in range(length)]
        self._tell_head(abandoned, blocks)
        for extrinsic in held if drop else ():
            self._tell_dropped(extrinsic.hash)
        return blocks[-1]

    def _tell_head(self, abandoned: Sequence[Block], joined: Sequence[Block]) -> None:
        self.store.forget_abandoned(self.finalized.number)
        for listener in self.on_head:
            listener(abandoned, joined)

    def _append(
        self, *, empty: bool = False, writes: Mapping[bytes, bytes | None] | None = None, not_before_ms: int = 0
    ) -> Block:
        parent = self.head
        overlay = Overlay(self.store)
        context = Context(state=overlay, block=parent.number + 1, events=[])
        start_block(context, parent.hash)
        records = [record(("Initialization", ()), event) for event in context.events]
        now_ms = max(NOW.get(overlay) + 1, int(time.time() * 1000), not_before_ms)
        NOW.put(overlay, now_ms)
        included = [timestamp_inherent(now_ms)]
        records.append(record(("ApplyExtrinsic", (0,)), outcome(None)))
        refused: set[bytes] = set()  # signers one of whose extrinsics no block takes: the later ones miss its nonce
        for extrinsic in () if empty else self._take_ready(overlay, context.block):
            admitted = refusal(overlay, context.block, extrinsic.signer, extrinsic.call) is None
            if extrinsic.signer in refused or not admitted:
                refused.add(extrinsic.signer)
                self._tell_dropped(extrinsic.hash)
                continue
            records.extend(self._apply(overlay, context.block, len(included), extrinsic))
            included.append(extrinsic.raw)
        end_block(context)
        runtime_under(self.rules).events.put(overlay, records)
        for key, value in (writes or {}).items():
            overlay.put(key, value)
        block = make_block(context.block, parent, overlay.changes, included)
        self.store.append(block, overlay.changes)
        log.info("block %d: %d extrinsics, %s", block.number, len(included) - 1, block.hash.hex()[:12])
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
            self._take_out(extrinsic)
        return ready

    def _still_valid(self, extrinsic: SignedExtrinsic, block: int) -> bool:
        """A mortal extrinsic whose era has passed no longer matches the hash it was signed over."""
        try:
            check_signature(extrinsic, self.rules, block, self.block_hash)
        except InvalidTransaction:
            self._take_out(extrinsic)
            self._tell_dropped(extrinsic.hash)
            return False
        return True

    def _take_out(self, extrinsic: SignedExtrinsic) -> None:
        del self.pool[extrinsic.hash]
        self._banned.add(extrinsic.hash)

    def _apply(self, overlay: Overlay, block: int, index: int, extrinsic: SignedExtrinsic) -> list[EventRecord]:
        advance_nonce(overlay, extrinsic.signer)
        context = Context(state=overlay, block=block, events=[])
        error = run_call(context, Origin(account=extrinsic.signer), extrinsic.call)
        phase = ("ApplyExtrinsic", (index,))
        return [record(phase, event) for event in (*context.events, outcome(error))]


def outcome(error: DispatchError | None) -> tuple[str, str, tuple[Any, ...]]:
    if error is None:
        return SYSTEM.name, "ExtrinsicSuccess", (DISPATCH_INFO,)
    return SYSTEM.name, "ExtrinsicFailed", (error.encoded(), DISPATCH_INFO)
