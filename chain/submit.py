"""Sending a signed call so that it lands once or the caller is told: own deadline, resubmission, errors by name."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from substrateinterface import ExtrinsicReceipt, Keypair
from substrateinterface.exceptions import SubstrateRequestException

from chain.connection import Connection, NodeRefused
from chain.metagraph import Head
from hivetune.errors import HivetuneError, RetryableError

ERA_BLOCKS = 64  # an extrinsic that was given up cannot land later than this
RESEND_AFTER_BLOCKS = 6  # finality trails the head by about three
RESEND_AFTER_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.03, 1.0

ALREADY_IMPORTED, PRIORITY_TOO_LOW, TEMPORARILY_BANNED, POOL_FULL = 1013, 1014, 1012, 1016
INVALID_TRANSACTION = 1010
PASSING_REASONS = ("outdated", "stale", "ancient")  # of 1010: a fresh nonce and era help


@dataclass(frozen=True, kw_only=True, slots=True)
class TxResult:
    block_hash: str
    block: int
    extrinsic_hash: str


class ChainRejected(RetryableError):  # noqa: N818 - a verdict
    """The chain refused a call; `error_name` is the pallet's error, or InvalidTransaction before any pallet saw it."""

    def __init__(self, error_name: str, detail: str) -> None:
        super().__init__(f"{detail}: {error_name}")
        self.error_name = error_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """The newest copy that a node took."""

    nonce: int
    at_block: int
    at_s: float


def finalized_head(interface: Any) -> Head:
    digest = str(interface.get_chain_finalised_head())
    return Head(number=int(interface.get_block_number(digest)), hash=digest)


class Submission:
    """One call on its way. Copies share a nonce unless the nonce went to another call, so at most one lands."""

    def __init__(
        self,
        connection: Connection,
        keypair: Keypair,
        module: str,
        function: str,
        parameters: Mapping[str, Any],
        *,
        timeout_s: float,
    ) -> None:
        self._connection = connection
        self._keypair = keypair
        self._name = f"{module}.{function}"
        self._parts = (module, function, dict(parameters))
        self._timeout_s = timeout_s
        self._hashes: set[str] = set()
        self._sent: Sent | None = None
        self._scanned = 0

    def run(self) -> TxResult:
        """RetryableError when it has not landed by the deadline, ChainRejected when it landed and failed."""
        deadline = time.monotonic() + self._timeout_s
        self._scanned = self._connection.use(finalized_head).number
        trouble: HivetuneError | None = None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = self._connection.use(self._step)
                if result is not None:
                    return result
            except ChainRejected:
                raise
            except RetryableError as error:
                if not self._hashes:
                    raise
                trouble = error
            if time.monotonic() + pause_s > deadline:
                last = "" if trouble is None else f"; last: {trouble}"
                raise RetryableError(f"{self._name} is in no block after {self._timeout_s} s{last}") from trouble
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)

    def _step(self, interface: Any) -> TxResult | None:
        """Looks for the call in new blocks; sends it when no copy is on its way."""
        head = finalized_head(interface)
        advanced = head.number > self._scanned
        while self._scanned < head.number:
            found = self._find(interface, self._scanned + 1)
            if found is not None:
                return self._outcome(interface, *found)
            self._scanned += 1
        if self._sent is None or (advanced and self._is_dead(interface, head)) or self._is_late(head):
            self._send(interface, head)
        return None

    def _find(self, interface: Any, number: int) -> tuple[Head, int, str] | None:
        block_hash = str(interface.get_block_hash(number))
        if not self._hashes:
            return None
        block = interface.rpc_request("chain_getBlock", [block_hash])["result"]["block"]
        for index, text in enumerate(block["extrinsics"]):
            digest = "0x" + blake2b(bytes.fromhex(text[2:]), digest_size=32).hexdigest()
            if digest in self._hashes:
                return Head(number=number, hash=block_hash), index, digest
        return None

    def _is_dead(self, interface: Any, head: Head) -> bool:
        """Whether the nonce has gone to another call: ours is in no block up to this head."""
        account = interface.query("System", "Account", [self._keypair.ss58_address], block_hash=head.hash)
        return self._sent is not None and int(account.value["nonce"]) > self._sent.nonce

    def _is_late(self, head: Head) -> bool:
        sent = self._sent
        if sent is None:
            return False
        return head.number - sent.at_block >= RESEND_AFTER_BLOCKS or time.monotonic() - sent.at_s >= RESEND_AFTER_S

    def _send(self, interface: Any, head: Head) -> None:
        """Signs with the nonce that is next and hands it to the node."""
        interface.init_runtime(block_hash=head.hash)
        module, function, parameters = self._parts
        call = interface.compose_call(module, function, parameters, block_hash=head.hash)
        nonce = int(interface.get_account_nonce(self._keypair.ss58_address) or 0)
        waiting = self._sent is not None and nonce > self._sent.nonce and not self._is_dead(interface, head)
        if waiting and self._sent is not None:
            nonce = self._sent.nonce  # the node holds our copy: another nonce would let the call land twice
        era = {"period": ERA_BLOCKS, "current": head.number}
        extrinsic = interface.create_signed_extrinsic(call, self._keypair, era=era, nonce=nonce)
        self._hashes.add("0x" + extrinsic.extrinsic_hash.hex())
        before = self._sent
        self._sent = Sent(nonce=nonce, at_block=head.number, at_s=time.monotonic())  # the answer may get lost
        try:
            interface.rpc_request("author_submitExtrinsic", [str(extrinsic.data)])
        except SubstrateRequestException as error:
            refused = NodeRefused(self._connection.url, error)
            if not self._is_passing(refused):
                raise ChainRejected("InvalidTransaction", f"{self._name}: {refused.message}") from error
            if before is None or not waiting:
                self._sent = None

    @staticmethod
    def _is_passing(refused: NodeRefused) -> bool:
        if refused.code in (ALREADY_IMPORTED, PRIORITY_TOO_LOW, TEMPORARILY_BANNED, POOL_FULL):
            return True
        reason = refused.message.lower()
        return refused.code == INVALID_TRANSACTION and any(word in reason for word in PASSING_REASONS)

    def _outcome(self, interface: Any, head: Head, index: int, digest: str) -> TxResult:
        receipt = ExtrinsicReceipt(interface, extrinsic_hash=digest, block_hash=head.hash, extrinsic_idx=index)
        if not receipt.is_success:
            error = receipt.error_message or {"name": "Unknown"}
            raise ChainRejected(str(error["name"]), self._name)
        for event in receipt.triggered_events:
            if event.value["module_id"] == "Sudo" and event.value["event_id"] == "Sudid":
                self._check_sudo(interface, event.value["attributes"])
        return TxResult(block_hash=head.hash, block=head.number, extrinsic_hash=digest)

    def _check_sudo(self, interface: Any, attributes: Any) -> None:
        """Sudo succeeds even when the call inside it failed; its event tells."""
        result = attributes["sudo_result"]
        if not isinstance(result, dict) or "Err" not in result:
            return
        error = result["Err"]
        if not isinstance(error, dict) or "Module" not in error:
            raise ChainRejected(str(error), self._name)
        module = error["Module"]
        number = int(str(module["error"])[2:4], 16)
        named = interface.metadata.get_module_error(module_index=module["index"], error_index=number)
        raise ChainRejected(str(named.name), self._name)
