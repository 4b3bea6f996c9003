"""A validator's receipts, back from the one that the chain vouches for: each names the digest of the one before."""

import hashlib
from collections.abc import Iterator

from chain.ledger import Ledger
from hivetune.commitments import ReceiptPointer
from hivetune.errors import ConfigError
from hivetune.records import Receipt, receipt_path
from hivetune.releases import read_pointers
from hub.client import HubClient, NotOnHub

_MAX_RECEIPT_BYTES = 16 << 20


def receipt_pointer(ledger: Ledger, validator: str) -> tuple[str, ReceiptPointer]:
    """A validator's hotkey and what it points to; for "" the largest stake's that points to a receipt."""
    pointers = {hotkey: pointer for hotkey, (pointer, _) in read_pointers(ledger.commitments()).items()}
    neurons = sorted(ledger.metagraph().neurons, key=lambda neuron: -neuron.stake_rao)
    for neuron in neurons:
        pointer = pointers.get(neuron.hotkey)
        if validator in ("", neuron.hotkey) and isinstance(pointer, ReceiptPointer):
            return neuron.hotkey, pointer
    raise ConfigError(f"{validator or 'nobody'} points to a receipt on subnet {ledger.netuid}")


def receipts_back(hub: HubClient, validator: str, pointer: ReceiptPointer, last_round: int) -> Iterator[Receipt]:
    """Receipts from the newest to round `last_round`, each of the digest that the chain or the next one names.

    ConfigError names the first break, and whoever points to somebody else's receipt. Rounds without a receipt, in which
    the validator was away, are passed over.
    """
    yield from _walk(hub, validator, pointer, pointer.receipt_sha256, range(pointer.round_id, last_round - 1, -1))


def receipts_before(
    hub: HubClient, validator: str, pointer: ReceiptPointer, receipt: Receipt, last_round: int
) -> Iterator[Receipt]:
    """Receipts before one of them back to round `last_round`, as `receipts_back`."""
    yield from _walk(hub, validator, pointer, receipt.previous, range(receipt.round_id - 1, last_round - 1, -1))


def _walk(
    hub: HubClient, validator: str, pointer: ReceiptPointer, expected: str | None, rounds: range
) -> Iterator[Receipt]:
    for round_id in rounds:
        if expected is None:
            return
        try:
            data = hub.read_bytes(pointer.repo, pointer.revision, receipt_path(round_id), max_bytes=_MAX_RECEIPT_BYTES)
        except NotOnHub:
            if round_id == pointer.round_id:
                raise ConfigError(f"{pointer.repo} has no receipt of round {round_id}, which the chain names") from None
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest != expected:
            raise ConfigError(f"{pointer.repo}: the receipt of round {round_id} has sha256 {digest}, want {expected}")
        receipt = Receipt.parse(data)
        if receipt.round_id != round_id:
            raise ConfigError(f"{pointer.repo}: the receipt of round {round_id} is of round {receipt.round_id}")
        if receipt.validator != validator:
            raise ConfigError(
                f"{pointer.repo}: the receipt of round {round_id} is of {receipt.validator}, "
                f"and {validator} points to it"
            )
        yield receipt
        expected = receipt.previous
