"""The chain: blocks built by a runtime from a pool that the runtime has checked, kept with all their states."""

import logging
import time
from collections.abc import Callable, Mapping

from chain.devnode.scale import MalformedBytes, Reader
from tools.substrate_host.blocks import (
    Block,
    genesis_header,
    inherent_data,
    new_header,
    read_block,
    split_extrinsics,
)
from tools.substrate_host.crypto import blake2_256, changes_root
from tools.substrate_host.pool import Pool, PoolRefused, Waiting
from tools.substrate_host.runtime import Runtime, RuntimeFailed
from tools.substrate_host.state import History, Overlay
from tools.substrate_host.validity import (
    BlockFull,
    InvalidTransaction,
    UnknownValidity,
    ValidTransaction,
    raise_unless_applied,
    read_validity,
)

log = logging.getLogger(__name__)

SLOT_MS = 12_000
MAX_EXTRINSIC_BYTES = 5 << 20
MAX_EXTRINSICS_PER_BLOCK = 1024
MAX_REFUSED_FOR_SPACE = 8  # a block is full when so many did not fit, as Substrate's authors see it
EXTERNAL = b"\x02"  # sp_runtime's TransactionSource


class Node:
    """One chain in memory. Not thread-safe: the server calls it from one thread."""

    def __init__(
        self,
        runtime: Runtime,
        genesis: Mapping[bytes, bytes],
        *,
        finality_lag: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.runtime = runtime
        self.state = History()
        self.pool = Pool()
        self.on_block: list[Callable[[Block], None]] = []
        self.on_gone: list[Callable[[bytes, str], None]] = []  # called with the hash and Substrate's word for why
        self.on_ready: list[Callable[[], None]] = []  # something can be in the next block
        self._finality_lag = finality_lag
        self._start_ms = int(clock() * 1000) // SLOT_MS * SLOT_MS
        self._blocks: list[Block] = []
        self._by_hash: dict[bytes, Block] = {}
        self.state.append(genesis)
        self._remember(read_block(genesis_header(changes_root(bytes(32), genesis)), []))

    @property
    def head(self) -> Block:
        return self._blocks[-1]

    @property
    def finalized(self) -> Block:
        return self._blocks[max(0, self.head.number - self._finality_lag)]

    def block_by_hash(self, digest: bytes) -> Block | None:
        return self._by_hash.get(digest)

    def block_by_number(self, number: int) -> Block | None:
        return self._blocks[number] if 0 <= number < len(self._blocks) else None

    def _remember(self, block: Block) -> None:
        self._blocks.append(block)
        self._by_hash[block.hash] = block

    def call(self, function: str, argument: bytes, block: Block | None = None) -> bytes:
        """A runtime call over the state of a block, the head by default; what it writes is forgotten."""
        return self.runtime.call(function, argument, self._overlay(block or self.head))

    def _overlay(self, block: Block) -> Overlay:
        return Overlay(self.state.view(block.number))

    def next_nonce(self, who: bytes) -> int:
        """The nonce after all that is in the state and ready in the pool."""
        nonce = int.from_bytes(self.call("AccountNonceApi_account_nonce", who), "little")
        taken = {tag for entry in self.pool.ready() for tag in entry.validity.provides}
        while who + nonce.to_bytes(4, "little") in taken:  # the tag of frame_system's CheckNonce
            nonce += 1
        return nonce

    def submit(self, raw: bytes) -> bytes:
        """Takes an extrinsic into the pool and returns its hash; raises what makes it impossible."""
        reader = Reader(raw)
        if len(raw) > MAX_EXTRINSIC_BYTES or reader.compact() != len(raw) - reader.offset:
            raise MalformedBytes("the length prefix does not match")
        digest = blake2_256(raw)
        self.pool.refuse_known(digest)
        for replaced in self.pool.add(raw, digest, self._validate(raw), self.head.number):
            self._tell_gone(replaced, "usurped")
        if self.is_ready(digest):
            for listener in self.on_ready:
                listener()
        return digest

    def is_ready(self, digest: bytes) -> bool:
        """Whether it can be in the next block; otherwise it waits for others."""
        return any(entry.hash == digest for entry in self.pool.ready())

    def _validate(self, raw: bytes) -> ValidTransaction:
        """At the head; raises InvalidTransaction, PoolRefused for "cannot tell", or MalformedBytes."""
        argument = EXTERNAL + raw + self.head.hash
        try:
            return read_validity(self.call("TaggedTransactionQueue_validate_transaction", argument))
        except UnknownValidity as error:
            raise PoolRefused(1011, "Unknown Transaction Validity", str(error)) from error
        except RuntimeFailed as error:
            raise MalformedBytes(str(error)) from error

    def drop_pool(self) -> int:
        """Forgets what waits, as a node does that restarts."""
        dropped = self.pool.clear()
        for digest in dropped:
            self._tell_gone(digest, "dropped")
        return len(dropped)

    def _tell_gone(self, digest: bytes, word: str) -> None:
        for listener in self.on_gone:
            listener(digest, word)

    def _forget_invalid(self, digest: bytes, error: Exception) -> None:
        log.info("extrinsic %s left the pool: %s", digest.hex()[:12], error)
        self.pool.remove(digest)
        self.pool.ban(digest)
        self._tell_gone(digest, "invalid")

    def seal(self) -> Block:
        """Makes the next block from what is ready in the pool. RuntimeFailed leaves the chain as it was."""
        overlay = self._overlay(self.head)
        included = self._begin(overlay)
        applied = self._apply_ready(overlay)
        return self._finish(overlay, included, applied, {})

    def set_storage(self, writes: Mapping[bytes, bytes | None]) -> Block:
        """Seals a block without the pool's extrinsics whose last act are these writes."""
        overlay = self._overlay(self.head)
        return self._finish(overlay, self._begin(overlay), [], writes)

    def _begin(self, overlay: Overlay) -> list[bytes]:
        """Starts a block with the extrinsics that the runtime itself puts into one of this time."""
        number = self.head.number + 1
        self.runtime.call("Core_initialize_block", new_header(self.head.hash, number), overlay)
        data = inherent_data(self._start_ms + number * SLOT_MS)
        inherents = split_extrinsics(self.runtime.call("BlockBuilder_inherent_extrinsics", data, overlay))
        for raw in inherents:
            raise_unless_applied(self.runtime.call("BlockBuilder_apply_extrinsic", raw, overlay))
        return inherents

    def _apply_ready(self, overlay: Overlay) -> list[Waiting]:
        """Applies what fits; what turns out invalid leaves the pool, and what builds upon it waits on."""
        applied: list[Waiting] = []
        missing: set[bytes] = set()
        refused = 0
        for entry in self.pool.ready():
            if len(applied) == MAX_EXTRINSICS_PER_BLOCK or refused == MAX_REFUSED_FOR_SPACE:
                break
            if missing.isdisjoint(entry.validity.requires):
                try:
                    self._apply(overlay, entry)
                except BlockFull:
                    refused += 1
                except (InvalidTransaction, UnknownValidity, RuntimeFailed) as error:
                    self._forget_invalid(entry.hash, error)
                else:
                    applied.append(entry)
                    continue
            missing.update(entry.validity.provides)
        return applied

    def _apply(self, overlay: Overlay, entry: Waiting) -> None:
        """Raises what kept it out of the block; the overlay is then as it was before."""
        overlay.begin()
        try:
            raise_unless_applied(self.runtime.call("BlockBuilder_apply_extrinsic", entry.raw, overlay))
        except (InvalidTransaction, UnknownValidity, RuntimeFailed):
            overlay.rollback()
            raise
        overlay.commit()

    def _finish(
        self, overlay: Overlay, included: list[bytes], applied: list[Waiting], writes: Mapping[bytes, bytes | None]
    ) -> Block:
        """Closes the block, keeps it, and checks anew what still waits: nonces and eras moved on."""
        root = changes_root(self.head.state_root, writes)
        header = self.runtime.call("BlockBuilder_finalize_block", b"", overlay, root)
        block = read_block(header, [*included, *(entry.raw for entry in applied)])
        self.state.append({**overlay.changes, **writes})
        self._remember(block)
        for entry in applied:
            self.pool.remove(entry.hash)
            self.pool.ban(entry.hash)
        for entry in self.pool:
            try:
                self.pool.refresh(entry.hash, self._validate(entry.raw), block.number)
            except (InvalidTransaction, PoolRefused, MalformedBytes) as error:
                self._forget_invalid(entry.hash, error)
        log.info("block %d: %d extrinsics, %s", block.number, len(block.extrinsics), block.hash.hex()[:12])
        for listener in self.on_block:
            listener(block)
        return block
