"""Sending a signed call so that it lands once or the caller is told: own deadline, resubmission, errors by name.

What is signed, whether it landed and how it ended is what a majority of the endpoints says, see `chain.quorum`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from substrateinterface import ExtrinsicReceipt, Keypair
from substrateinterface.exceptions import SubstrateRequestException

from chain.connection import NodeRefused
from chain.metagraph import Head
from chain.quorum import Quorum
from chain.refusals import Refusal
from hivetune.errors import HivetuneError, RetryableError

ERA_BLOCKS = 64  # an extrinsic that was given up cannot land later than this
RESEND_AFTER_BLOCKS = 6  # finality trails the head by about three
RESEND_AFTER_S = 60.0
BLOCKS_PER_REQUEST = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.03, 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TxResult:
    block_hash: str
    block: int
    extrinsic_hash: str


class ChainRejected(RetryableError):  # noqa: N818 - a verdict
    """The chain refused a call; `error_name` is the pallet's error, or InvalidTransaction before any pallet saw it."""

    def __init__(self, error_name: str, detail: str, *, block: int | None = None) -> None:
        super().__init__(f"{detail}: {error_name}")
        self.error_name = error_name
        self.block = block  # in which the call failed; None where it was refused before it was in one


class NotYet(ChainRejected):
    """A limit that time lifts; nothing was sent. `until_block` is the first block that the call could be in."""

    def __init__(self, error_name: str, detail: str, *, until_block: int) -> None:
        super().__init__(error_name, f"{detail}, not before block {until_block}")
        self.until_block = until_block


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Copies of a call that nodes may hold, whatever they answered: all with one nonce, so that one of them can land.

    There is no other nonce before the chain has used this one up, or their eras have passed.
    """

    nonce: int
    first_at: int  # head when the first of them was signed
    last_at: int  # and the newest that a node may hold
    tried_at: int
    tried_at_s: float
    refused: bool  # every node that answered the newest one


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed:
    """A copy of ours in a block."""

    head: Head
    index: int
    extrinsic_hash: str


class Submission:
    """One call on its way."""

    def __init__(
        self, quorum: Quorum, keypair: Keypair, module: str, function: str, parameters: Mapping[str, Any]
    ) -> None:
        self._quorum = quorum
        self._keypair = keypair
        self._name = f"{module}.{function}"
        self._parts = (module, function, dict(parameters))
        self._hashes: set[str] = set()
        self._sent: Sent | None = None
        self._searched: int | None = None  # the last block that holds no copy of ours
        self._searched_twice = False
        self._ends = 0.0

    def run(self, timeout_s: float) -> TxResult:
        """RetryableError when it has not landed by the deadline, ChainRejected when it landed and failed.

        After a RetryableError it may be run again: it goes on looking where it stopped.
        """
        self._ends = time.monotonic() + timeout_s
        trouble: HivetuneError | None = None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = self._step()
                if result is not None:
                    return result
            except ChainRejected:
                raise
            except RetryableError as error:
                if not self._hashes and time.monotonic() < self._ends:
                    raise
                trouble = error
            if time.monotonic() + pause_s > self._ends:
                last = "" if trouble is None else f"; last: {trouble}"
                raise RetryableError(f"{self._name} is in no block after {timeout_s} s{last}") from trouble
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)

    def _chain(self) -> Quorum:
        """The endpoints, while there is time to ask them."""
        if time.monotonic() > self._ends:
            raise RetryableError("the time is up")
        return self._quorum

    def _step(self) -> TxResult | None:
        """Looks for the call in new blocks; sends it when no copy is on its way."""
        head = self._chain().head()
        before = head.number if self._searched is None else self._searched
        landed = self._search(before, head)
        if landed is not None:
            return self._outcome(landed)
        sent = self._sent
        late = sent is not None and _is_late(sent, head)
        if sent is None:
            self._send(head, max(nonce_in_state(self._chain(), self._keypair, head), self._nonce_in_pool()))
        elif head.number > before or late:
            self._follow_up(head, sent, late)
        return None

    def _search(self, before: int, head: Head) -> Landed | None:
        """In the blocks after one; no copy lands in a block that its era does not reach."""
        self._searched = before
        last = head.number if self._sent is None else min(head.number, self._sent.last_at + ERA_BLOCKS)
        while self._hashes and self._searched < last:
            until = min(self._searched + BLOCKS_PER_REQUEST, last)
            found = self._find(range(self._searched + 1, until + 1))
            if found is not None:
                return found
            self._searched = until
        self._searched = max(before, head.number)
        return None

    def _find(self, numbers: range) -> Landed | None:
        wanted = frozenset(self._hashes)
        return self._chain().agree(lambda interface: _find_in_blocks(interface, numbers, wanted))

    def _follow_up(self, head: Head, sent: Sent, late: bool) -> None:
        """Sends another copy where the nodes have lost theirs, and takes another nonce where none can land any more."""
        in_state = nonce_in_state(self._chain(), self._keypair, head)
        if in_state > sent.nonce or head.number >= sent.last_at + ERA_BLOCKS:
            self._start_over(head, sent, in_state)
            return
        self._searched_twice = False
        if late and sent.nonce <= max(in_state, self._nonce_in_pool()):
            self._send(head, sent.nonce)
        elif late:  # the nonces before it are not taken yet: it waits for them, and another would land as well
            self._sent = replace(sent, tried_at=head.number, tried_at_s=time.monotonic())

    def _start_over(self, head: Head, sent: Sent, in_state: int) -> None:
        """After a second look at all blocks since the first copy: what was shown of them may have been false."""
        if not self._searched_twice:
            self._searched_twice, self._searched = True, sent.first_at
            return
        nonce = max(in_state, self._nonce_in_pool())
        self._searched_twice, self._sent = False, None
        self._send(head, nonce)

    def _nonce_in_pool(self) -> int:
        return nonce_in_pool(self._chain(), self._keypair)

    def _send(self, head: Head, nonce: int) -> None:
        """Signs and hands it to every endpoint."""
        extrinsic_hash, data = self._sign(head, nonce)
        chain = self._chain()
        before = self._sent
        self._hashes.add(extrinsic_hash)
        self._searched = min(self._searched or 0, head.number)
        self._sent = Sent(  # from here on, for the answer may get lost
            nonce=nonce,
            first_at=head.number if before is None else min(before.first_at, head.number),
            last_at=head.number if before is None else max(before.last_at, head.number),
            tried_at=head.number,
            tried_at_s=time.monotonic(),
            refused=False,
        )
        refusals = chain.answers(lambda interface: _hand_over(interface, data))
        self._sent = replace(self._sent, refused=all(refusals))
        final = [refusal for refusal in refusals if refusal and not refusal.passes]
        outlived = chain.head().number >= head.number + ERA_BLOCKS if final else False
        if len(final) < self._quorum.majority or outlived:  # a past era makes the signature a bad one
            return
        told = f"{self._name}: {final[0].message}"
        if before is None:
            raise ChainRejected(final[0].error_name(self._parts[1]), told)
        raise RetryableError(told)  # an earlier copy may still land

    def _sign(self, head: Head, nonce: int) -> tuple[str, str]:
        """(hash, hex) of the signed call. A minority's metadata, runtime version or hashes would give other bytes."""
        era = {"period": ERA_BLOCKS, "current": head.number}
        module, function, parameters = self._parts

        def compose(interface: Any) -> Any:
            interface.init_runtime(block_hash=head.hash)
            return interface.compose_call(module, function, parameters, block_hash=head.hash)

        def payload(interface: Any) -> bytes:
            return bytes(interface.generate_signature_payload(compose(interface), era=dict(era), nonce=nonce).data)

        signature = self._keypair.sign(self._chain().agree(payload))

        def assemble(interface: Any) -> tuple[str, str]:
            signed = interface.create_signed_extrinsic(
                compose(interface), self._keypair, era=dict(era), nonce=nonce, signature=signature
            )
            return "0x" + signed.extrinsic_hash.hex(), str(signed.data)

        return self._chain().agree(assemble)

    def _outcome(self, landed: Landed) -> TxResult:
        error_name = self._chain().agree(lambda interface: _error_of(interface, landed))
        if error_name is not None:
            raise ChainRejected(error_name, self._name, block=landed.head.number)
        return TxResult(block_hash=landed.head.hash, block=landed.head.number, extrinsic_hash=landed.extrinsic_hash)


def nonce_in_state(quorum: Quorum, keypair: Keypair, head: Head) -> int:
    """How many calls of a key are in final blocks."""

    def read(interface: Any) -> int:
        interface.init_runtime(block_hash=head.hash)
        return int(interface.query("System", "Account", [keypair.ss58_address], block_hash=head.hash).value["nonce"])

    return quorum.agree(read)


def nonce_in_pool(quorum: Quorum, keypair: Keypair) -> int:
    """With the calls that nodes know of beyond that. Pools differ; no minority can push this one."""
    answers = quorum.answers(
        lambda interface: int(interface.rpc_request("system_accountNextIndex", [keypair.ss58_address])["result"])
    )
    return sorted(answers)[len(answers) - quorum.majority]


def _is_late(sent: Sent, head: Head) -> bool:
    patience = 1 if sent.refused else RESEND_AFTER_BLOCKS
    return head.number - sent.tried_at >= patience or time.monotonic() - sent.tried_at_s >= RESEND_AFTER_S


def call_exists(interface: Any, module: str, function: str) -> bool:
    """Whether this runtime has a call; after `init_runtime`."""
    return function in call_arguments(interface, module)


def call_arguments(interface: Any, module: str) -> dict[str, list[str]]:
    """Argument names of a pallet's calls by name; empty when there is no such pallet."""
    pallet = interface.metadata.get_metadata_pallet(module)
    if pallet is None or not pallet.calls:
        return {}
    return {call.name: [argument.name for argument in call.args] for call in pallet.calls}


def _hand_over(interface: Any, data: str) -> Refusal | None:
    try:
        interface.rpc_request("author_submitExtrinsic", [data])
    except SubstrateRequestException as error:
        return Refusal.of(NodeRefused("", error))
    return None


def _find_in_blocks(interface: Any, numbers: range, wanted: frozenset[str]) -> Landed | None:
    for number in numbers:
        block_hash = str(interface.get_block_hash(number))
        block = interface.rpc_request("chain_getBlock", [block_hash])["result"]["block"]
        for index, text in enumerate(block["extrinsics"]):
            digest = "0x" + blake2b(bytes.fromhex(text[2:]), digest_size=32).hexdigest()
            if digest in wanted:
                return Landed(head=Head(number=number, hash=block_hash), index=index, extrinsic_hash=digest)
    return None


def _error_of(interface: Any, landed: Landed) -> str | None:
    """The name of the error that a landed call ended with; None when it succeeded."""
    receipt = ExtrinsicReceipt(
        interface,
        extrinsic_hash=landed.extrinsic_hash,
        block_hash=landed.head.hash,
        extrinsic_idx=landed.index,
    )
    if receipt.is_success is None:
        raise LookupError(f"block {landed.head.number} tells no outcome of extrinsic {landed.index}")
    if not receipt.is_success:
        return str((receipt.error_message or {"name": "Unknown"})["name"])
    for event in receipt.triggered_events:
        if event.value["module_id"] == "Sudo" and event.value["event_id"] == "Sudid":
            return _error_in_sudo(interface, event.value["attributes"])
    return None


def _error_in_sudo(interface: Any, attributes: Any) -> str | None:
    """Sudo succeeds even when the call inside it failed; its event tells."""
    result = attributes["sudo_result"]
    if not isinstance(result, dict) or "Err" not in result:
        return None
    error = result["Err"]
    if not isinstance(error, dict) or "Module" not in error:
        return str(error)
    module = error["Module"]
    number = int(str(module["error"])[2:4], 16)
    return str(interface.metadata.get_module_error(module_index=module["index"], error_index=number).name)
