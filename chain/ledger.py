"""The chain as the nodes see it: one typed client for a subnet, on a Subtensor node and on the embedded chain alike."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from substrateinterface import Keypair

from chain.commitments import Commitment, Quota, cost_bytes, read_commitment, read_commitments, read_quota
from chain.metagraph import (
    PALLET,
    Head,
    Hyperparameters,
    Metagraph,
    Neuron,
    read_hyperparameters,
    read_metagraph,
    read_schedule,
    read_values,
    require_subnet,
)
from chain.quorum import Quorum
from chain.serving import Axon, axon_arguments, read_axon
from chain.submit import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    ChainRejected,
    NotYet,
    Submission,
    TxResult,
    nonce_in_pool,
    nonce_in_state,
)
from chain.weight_rules import read_weight_rules
from chain.weights import WeightRules
from hivetune.errors import ConfigError, RetryableError

MAX_COMMITMENT_BYTES = 128
DEFAULT_BLOCK_TIME_S = 12.0
_BLOCK_TIME_SAMPLE = 50  # blocks

Result = TypeVar("Result")


class Ledger:
    """Reads are taken at the finalized head unless a block hash is given. Threads may share one: they take turns.

    `network` is a name or URLs, see `chain.networks`; with several endpoints the majority's word counts.
    `timeout_s` bounds one endpoint's part of a call, `submit_timeout_s` a call that waits for its block.
    """

    def __init__(
        self,
        network: str,
        netuid: int,
        *,
        keypair: Keypair | None = None,
        genesis_hash: str = "",
        timeout_s: float = 30.0,
        submit_timeout_s: float = 120.0,
    ) -> None:
        self.netuid = netuid
        self._quorum = Quorum(network, genesis_hash=genesis_hash, timeout_s=timeout_s)
        self._keypair = keypair
        self._submit_timeout_s = submit_timeout_s
        self._submitting = threading.Lock()
        self._unsettled: dict[str, Submission] = {}
        self._landed: dict[str, int] = {}  # by function: the newest block in which a call of this ledger ended
        self._genesis_hash = ""
        self._finalized = -1

    @property
    def hotkey(self) -> str:
        return str(self._signer().ss58_address)

    @property
    def public_key(self) -> bytes:
        return bytes(self._signer().public_key)

    def _signer(self) -> Keypair:
        if self._keypair is None:
            raise ConfigError("this needs a hotkey, and no wallet was given")
        return self._keypair

    def close(self) -> None:
        self._quorum.close()

    def head(self) -> Head:
        head = self._quorum.head()
        self._finalized = max(self._finalized, head.number)
        return head

    def block_hash(self, number: int) -> str:
        """Of a finalized block; RetryableError while there is none of that number."""
        if number < 0:
            raise ValueError(f"block {number} is below zero")
        if number > self._finalized and number > self.head().number:
            raise RetryableError(f"block {number} is not there yet, the head is {self._finalized}")
        found = self._quorum.agree(lambda interface: interface.get_block_hash(number))
        if found is None:
            raise RetryableError(f"block {number} has no hash on this node")
        return str(found)

    def wait_for_block(self, number: int, *, timeout_s: float, poll_s: float = 1.0) -> Head:
        """The head once it has reached a block; RetryableError when that takes too long."""
        deadline = time.monotonic() + timeout_s
        while (head := self.head()).number < number:
            if time.monotonic() + poll_s > deadline:
                raise RetryableError(f"block {number} did not come within {timeout_s} s, the head is {head.number}")
            time.sleep(poll_s)
        return head

    def genesis_hash(self) -> str:
        if not self._genesis_hash:
            self._genesis_hash = self.block_hash(0)
        return self._genesis_hash

    def _read(self, at: str | None, action: Callable[[Any, Head], Result]) -> Result:
        """Runs a read of several requests at one block."""
        head = self._quorum.head() if at is None else None

        def run(interface: Any) -> Result:
            block = head or Head(number=_number(interface, str(at)), hash=str(at))
            interface.init_runtime(block_hash=block.hash)
            return action(interface, block)

        return self._quorum.agree(run)

    def subnet_exists(self) -> bool:
        def action(interface: Any, head: Head) -> bool:
            return bool(interface.query(PALLET, "NetworksAdded", [self.netuid], block_hash=head.hash).value)

        return self._read(None, action)

    def owner_hotkey(self) -> str:
        """The subnet owner's hotkey, whose commitment points to the current release."""

        def action(interface: Any, head: Head) -> str:
            require_subnet(interface, self.netuid, head.hash)
            return str(read_values(interface, self.netuid, ("SubnetOwnerHotkey",), head.hash)["SubnetOwnerHotkey"])

        return self._read(None, action)

    def hyperparameters(self, at: str | None = None) -> Hyperparameters:
        return self._read(at, lambda interface, head: read_hyperparameters(interface, self.netuid, head.hash))

    def metagraph(self, at: str | None = None) -> Metagraph:
        return self._read(at, lambda interface, head: read_metagraph(interface, self.netuid, head))

    def commitments(self, at: str | None = None) -> dict[str, Commitment]:
        """By hotkey. What is no Raw field is not ours and is left out."""
        return self._read(at, lambda interface, head: read_commitments(interface, self.netuid, head.hash))

    def commitment(self, hotkey: str, at: str | None = None) -> Commitment | None:
        return self._read(at, lambda interface, head: read_commitment(interface, self.netuid, hotkey, head.hash))

    def commitment_quota(self) -> Quota:
        """How many bytes this hotkey may still commit in the present epoch."""
        return self._read(None, lambda interface, head: read_quota(interface, self.netuid, self.hotkey, head))

    def weight_rules(self) -> WeightRules:
        """What the subnet demands of this hotkey's weights, and what it holds of them."""
        return self._read(None, lambda interface, head: read_weight_rules(interface, self.netuid, self.hotkey, head))

    def next_epoch_block(self, after: int) -> int:
        """The first epoch block above `after`, as far as the present tempo tells."""
        schedule = self._read(None, lambda interface, head: read_schedule(interface, self.netuid, head.hash))
        return schedule.next_epoch(after)

    def total_balance(self, coldkey: str) -> int:
        """Free and reserved TAO of an account, in rao."""

        def action(interface: Any, head: Head) -> int:
            data = interface.query("System", "Account", [coldkey], block_hash=head.hash).value["data"]
            return int(data["free"]) + int(data["reserved"])

        return self._read(None, action)

    def block_time_s(self) -> float:
        """Mean seconds between the last blocks; twelve where the chain does not tell."""
        head = self.head()
        first = max(1, head.number - _BLOCK_TIME_SAMPLE)
        if first >= head.number:
            return DEFAULT_BLOCK_TIME_S
        passed_ms = self._now_ms(head.hash) - self._now_ms(self.block_hash(first))
        return passed_ms / 1000 / (head.number - first) if passed_ms > 0 else DEFAULT_BLOCK_TIME_S

    def _now_ms(self, at: str) -> int:
        return self._read(at, lambda interface, head: int(_value(interface, "Timestamp", "Now", head)))

    def set_commitment(self, data: bytes) -> TxResult:
        """Replaces this hotkey's commitment; NotYet, with nothing sent, when the epoch's quota is used up.

        When a process that was stopped had sent the very same one, this waits for that one alone.
        """
        if len(data) > MAX_COMMITMENT_BYTES:
            raise ValueError(f"a commitment of {len(data)} bytes, at most {MAX_COMMITMENT_BYTES}")
        info = {"fields": [[{f"Raw{len(data)}": data}]]}
        call = ("Commitments", "set_commitment", {"netuid": self.netuid, "info": info})
        if _name(*call) not in self._unsettled:
            since = self.head().number
            found = self.commitment(self.hotkey) if self.settle() else None
            if found is not None and found.data == data and found.block > since:
                return TxResult(block_hash=self.block_hash(found.block), block=found.block, extrinsic_hash="")
            quota = self.commitment_quota()
            if quota.left_bytes < cost_bytes(data):
                raise NotYet("SpaceLimitExceeded", "commitment", until_block=quota.renewed_at)
        return self.submit(*call)

    def serve(self, ip: str, port: int) -> TxResult:
        """Publishes where this hotkey's service is reached."""
        return self.submit(PALLET, "serve_axon", axon_arguments(self.netuid, ip, port))

    def axon(self, hotkey: str, at: str | None = None) -> Axon | None:
        """Where a hotkey says that its service is; None when it says nothing."""
        return self._read(at, lambda interface, head: read_axon(interface, self.netuid, hotkey, head.hash))

    def settle(self) -> bool:
        """Waits until no call of this hotkey is on its way; whether it had to. RetryableError when that takes too long.

        A process that was stopped may have sent something that no block holds yet: whoever decides by what the chain
        holds, would send it again.
        """
        deadline, pause_s, waited = time.monotonic() + self._submit_timeout_s, FIRST_PAUSE_S, False
        while self._calls_on_their_way():
            if time.monotonic() + pause_s > deadline:
                raise RetryableError(f"calls of {self.hotkey} are still on their way after {self._submit_timeout_s} s")
            time.sleep(pause_s)
            pause_s, waited = min(pause_s * 1.3, LONGEST_PAUSE_S), True
        return waited

    def _calls_on_their_way(self) -> bool:
        in_state = nonce_in_state(self._quorum, self._signer(), self.head())
        return nonce_in_pool(self._quorum, self._signer()) > in_state

    def submit(self, module: str, function: str, parameters: Mapping[str, Any], *, since: int = -1) -> TxResult:
        """Signs a call with the hotkey and waits for its block; ChainRejected when it failed there.

        A call that was in no block by the deadline may still land: the same call again goes on waiting for that one,
        unless it turns out to have landed no later than block `since` or than another call of this function.
        """
        name = _name(module, function, parameters)
        with self._submitting:
            since = max(since, self._landed.get(function, -1))
            if name in self._unsettled:
                outcome = self._run(name, function)
                if outcome.block is None or outcome.block > since:
                    return _result(outcome)
            self._unsettled[name] = Submission(self._quorum, self._signer(), module, function, parameters)
            return _result(self._run(name, function))

    def _run(self, name: str, function: str) -> TxResult | ChainRejected:
        """How a submission ended; it stays where it is when it did not."""
        outcome: TxResult | ChainRejected
        try:
            outcome = self._unsettled[name].run(self._submit_timeout_s)
        except ChainRejected as error:
            outcome = error
        del self._unsettled[name]
        self._landed[function] = max(self._landed.get(function, -1), outcome.block or -1)
        return outcome


def _name(module: str, function: str, parameters: Mapping[str, Any]) -> str:
    return f"{module}.{function} {sorted(parameters.items())}"


def _result(outcome: TxResult | ChainRejected) -> TxResult:
    if isinstance(outcome, ChainRejected):
        raise outcome
    return outcome


def _number(interface: Any, at: str) -> int:
    number = interface.get_block_number(at)
    if number is None:
        raise RetryableError(f"this node has no block {at}")
    return int(number)


def _value(interface: Any, pallet: str, name: str, head: Head) -> Any:
    return interface.query(pallet, name, block_hash=head.hash).value


__all__ = [
    "Axon",
    "ChainRejected",
    "Commitment",
    "Head",
    "Hyperparameters",
    "Ledger",
    "Metagraph",
    "Neuron",
    "NotYet",
    "TxResult",
]
