"""The chain as the nodes see it: one typed client for a subnet, on a Subtensor node and on the embedded chain alike."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from substrateinterface import Keypair

from chain.connection import Connection
from chain.metagraph import (
    KEYS_PER_REQUEST,
    PALLET,
    Head,
    Hyperparameters,
    Metagraph,
    Neuron,
    has_storage,
    read_hyperparameters,
    read_metagraph,
    read_values,
    require_subnet,
)
from chain.schedule import next_epoch_block
from chain.submit import ChainRejected, Submission, TxResult, finalized_head
from hivetune.errors import ConfigError, RetryableError

U16_MAX = 65_535
MAX_COMMITMENT_BYTES = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Commitment:
    """What a hotkey put on chain last; `block` is when."""

    hotkey: str
    block: int
    data: bytes


def quantize(weights: Mapping[int, float]) -> dict[int, int]:
    """Shares as the u16 values that go on chain: the largest becomes 65535, zeros are dropped."""
    for uid, weight in weights.items():
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"weight of uid {uid} is {weight}, want a finite number of 0 or more")
        if not 0 <= uid <= U16_MAX:
            raise ValueError(f"uid {uid} is outside 0..{U16_MAX}")
    largest = max(weights.values(), default=0.0)
    if largest == 0:
        raise ValueError(f"none of {len(weights)} weights is above zero")
    scaled = {uid: round(weight / largest * U16_MAX) for uid, weight in sorted(weights.items())}
    return {uid: value for uid, value in scaled.items() if value > 0}


class Ledger:
    """Reads are taken at the finalized head unless a block hash is given. Threads may share one: they take turns."""

    def __init__(
        self,
        url: str,
        netuid: int,
        *,
        keypair: Keypair | None = None,
        timeout_s: float = 30.0,
        submit_timeout_s: float = 120.0,
    ) -> None:
        self.netuid = netuid
        self._connection = Connection(url, timeout_s)
        self._keypair = keypair
        self._submit_timeout_s = submit_timeout_s
        self._genesis_hash = ""
        self._finalized = -1

    @property
    def hotkey(self) -> str:
        return str(self._signer().ss58_address)

    def _signer(self) -> Keypair:
        if self._keypair is None:
            raise ConfigError("this needs a hotkey, and no wallet was given")
        return self._keypair

    def close(self) -> None:
        self._connection.close()

    def head(self) -> Head:
        head = self._connection.use(finalized_head)
        self._finalized = max(self._finalized, head.number)
        return head

    def block_hash(self, number: int) -> str:
        """Of a finalized block; RetryableError while there is none of that number."""
        if number < 0:
            raise ValueError(f"block {number} is below zero")
        if number > self._finalized and number > self.head().number:
            raise RetryableError(f"block {number} is not there yet, the head is {self._finalized}")
        found = self._connection.use(lambda interface: interface.get_block_hash(number))
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

    def _read(self, at: str | None, action: Callable[[Any, Head], Any]) -> Any:
        """Runs a read of several requests at one block."""

        def run(interface: Any) -> Any:
            head = finalized_head(interface) if at is None else Head(number=_number(interface, at), hash=at)
            interface.init_runtime(block_hash=head.hash)
            return action(interface, head)

        return self._connection.use(run)

    def subnet_exists(self) -> bool:
        def action(interface: Any, head: Head) -> bool:
            return bool(interface.query(PALLET, "NetworksAdded", [self.netuid], block_hash=head.hash).value)

        return bool(self._read(None, action))

    def owner_hotkey(self) -> str:
        """The subnet owner's hotkey, whose commitment points to the current release."""

        def action(interface: Any, head: Head) -> str:
            require_subnet(interface, self.netuid, head.hash)
            return str(read_values(interface, self.netuid, ("SubnetOwnerHotkey",), head.hash)["SubnetOwnerHotkey"])

        return str(self._read(None, action))

    def hyperparameters(self, at: str | None = None) -> Hyperparameters:
        result = self._read(at, lambda interface, head: read_hyperparameters(interface, self.netuid, head.hash))
        assert isinstance(result, Hyperparameters)
        return result

    def metagraph(self, at: str | None = None) -> Metagraph:
        result = self._read(at, lambda interface, head: read_metagraph(interface, self.netuid, head))
        assert isinstance(result, Metagraph)
        return result

    def commitments(self, at: str | None = None) -> dict[str, Commitment]:
        """By hotkey. What is no Raw field is not ours and is left out."""

        def action(interface: Any, head: Head) -> dict[str, Commitment]:
            rows = interface.query_map(
                "Commitments", "CommitmentOf", [self.netuid], block_hash=head.hash, page_size=KEYS_PER_REQUEST
            )
            read = ((str(account.value), value) for account, value in rows if account is not None)
            found = (_commitment(hotkey, value) for hotkey, value in read if value is not None)
            return {commitment.hotkey: commitment for commitment in found if commitment is not None}

        return dict(self._read(at, action))

    def commitment(self, hotkey: str, at: str | None = None) -> Commitment | None:
        def action(interface: Any, head: Head) -> Commitment | None:
            found = interface.query("Commitments", "CommitmentOf", [self.netuid, hotkey], block_hash=head.hash)
            return None if found.value is None else _commitment(hotkey, found)

        result = self._read(at, action)
        assert result is None or isinstance(result, Commitment)
        return result

    def next_epoch_block(self, after: int) -> int:
        """The first epoch block above `after`, as far as the present tempo tells."""

        def action(interface: Any, head: Head) -> int:
            require_subnet(interface, self.netuid, head.hash)
            names = ("Tempo", "LastEpochBlock", "PendingEpochAt")
            values = read_values(interface, self.netuid, names, head.hash)
            tempo = int(values["Tempo"])
            if not has_storage(interface, "PendingEpochAt"):
                return next_epoch_block(after, self.netuid, tempo)
            return _next_stateful_epoch(after, tempo, int(values["LastEpochBlock"]), int(values["PendingEpochAt"] or 0))

        return int(self._read(None, action))

    def total_balance(self, coldkey: str) -> int:
        """Free and reserved TAO of an account, in rao."""

        def action(interface: Any, head: Head) -> int:
            data = interface.query("System", "Account", [coldkey], block_hash=head.hash).value["data"]
            return int(data["free"]) + int(data["reserved"])

        return int(self._read(None, action))

    def set_commitment(self, data: bytes) -> TxResult:
        """Replaces this hotkey's commitment."""
        if len(data) > MAX_COMMITMENT_BYTES:
            raise ValueError(f"a commitment of {len(data)} bytes, at most {MAX_COMMITMENT_BYTES}")
        info = {"fields": [[{f"Raw{len(data)}": data}]]}
        return self._submit("Commitments", "set_commitment", {"netuid": self.netuid, "info": info})

    def set_weights(self, weights: Mapping[int, float], *, version_key: int = 0) -> TxResult:
        """Sets this hotkey's weights by uid; only their ratios count."""
        values = quantize(weights)
        return self._submit(
            PALLET,
            "set_weights",
            {
                "netuid": self.netuid,
                "dests": list(values),
                "weights": list(values.values()),
                "version_key": version_key,
            },
        )

    def _submit(self, module: str, function: str, parameters: Mapping[str, Any]) -> TxResult:
        submission = Submission(
            self._connection, self._signer(), module, function, parameters, timeout_s=self._submit_timeout_s
        )
        return submission.run()


def _number(interface: Any, at: str) -> int:
    number = interface.get_block_number(at)
    if number is None:
        raise RetryableError(f"this node has no block {at}")
    return int(number)


def _next_stateful_epoch(after: int, tempo: int, last: int, pending: int) -> int:
    """Newer runtimes count a tempo from the last epoch, and the owner may ask for one in between."""
    periods = max(1, (after - last) // tempo + 1)
    regular = last + periods * tempo
    return min(regular, pending) if pending > after else regular


def _commitment(hotkey: str, value: Any) -> Commitment | None:
    registration = value.value
    for item in _flat(registration["info"]["fields"]):
        for name, content in item.items() if isinstance(item, dict) else ():
            if name.startswith("Raw") and name[3:].isdigit():
                data = bytes.fromhex(content[2:]) if isinstance(content, str) else bytes(content)
                return Commitment(hotkey=hotkey, block=int(registration["block"]), data=data)
    return None


def _flat(items: Any) -> Iterator[Any]:
    for item in items:
        if isinstance(item, (list, tuple)):
            yield from _flat(item)
        else:
            yield item


__all__ = [
    "ChainRejected",
    "Commitment",
    "Head",
    "Hyperparameters",
    "Ledger",
    "Metagraph",
    "Neuron",
    "TxResult",
    "quantize",
]
