"""What anybody can see of a subnet: receipts and outcomes from the Hub, checked against the chain, and pay."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from chain.ledger import Ledger, Metagraph
from hivetune.commitments import Pointer, ReceiptPointer, ReleasePointer
from hivetune.errors import ConfigError, RetryableError
from hivetune.records import BadRecord, MergeOutcome, Receipt, Release, outcome_path
from hivetune.releases import MANIFEST_NAME, read_pointers
from hub.client import CorruptDownload, HubClient, NotOnHub
from neurons.receipt_chain import receipts_back

log = logging.getLogger(__name__)

_MAX_RECORD_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One payout: what each hotkey got in one block, in rao."""

    block: int
    emission_rao: dict[str, int]


def earned_rao(metagraph: Metagraph) -> dict[str, int]:
    """What the last epoch paid to each hotkey; the chain burns what the owner's hotkey would get as a miner."""
    paid = {neuron.hotkey: neuron.emission_rao for neuron in metagraph.neurons}
    owner = metagraph.by_hotkey(metagraph.owner_hotkey)
    if owner is not None and owner.incentive > 0:
        paid[owner.hotkey] = round(owner.emission_rao * owner.dividends / (owner.incentive + owner.dividends))
    return paid


@dataclass(kw_only=True, slots=True)
class Observer:
    """Reads a subnet from outside; keeps what it has read, because the past does not change."""

    ledger: Ledger
    hub: HubClient | None
    _receipts: dict[tuple[str, int], Receipt] = field(default_factory=dict)
    _epochs: dict[int, Epoch] = field(default_factory=dict)

    def pointers(self) -> dict[str, Pointer]:
        """Every hotkey's well-formed pointer."""
        return {hotkey: pointer for hotkey, (pointer, _) in read_pointers(self.ledger.commitments()).items()}

    def release(self) -> Release:
        """The current manifest, checked against the chain."""
        owner = self.ledger.owner_hotkey()
        pointer = self.pointers().get(owner)
        if self.hub is None or not isinstance(pointer, ReleasePointer):
            raise ConfigError(f"the rounds stand in the release: give --hub, and {owner} must have published one")
        data = self.hub.read_bytes(pointer.repo, pointer.revision, MANIFEST_NAME, max_bytes=_MAX_RECORD_BYTES)
        if hashlib.sha256(data).hexdigest() != pointer.manifest_sha256:
            raise RetryableError(f"{pointer.repo}: the manifest is not the one the chain points to")
        return Release.parse(data)

    def receipts(self, round_id: int | None, metagraph: Metagraph) -> list[Receipt]:
        """The validators' receipts of a round (None: each one's last), the largest stake first."""
        found = []
        pointers = self.pointers()
        for neuron in sorted(metagraph.neurons, key=lambda neuron: -neuron.stake_rao):
            pointer = pointers.get(neuron.hotkey)
            if isinstance(pointer, ReceiptPointer):
                receipt = self._receipt(neuron.hotkey, pointer, pointer.round_id if round_id is None else round_id)
                if receipt is not None:
                    found.append(receipt)
        return found

    def outcome(self, round_id: int, metagraph: Metagraph) -> MergeOutcome | None:
        """What the averager made of a round; None when it has said nothing yet."""
        pointer = self.pointers().get(metagraph.owner_hotkey)
        if self.hub is None or not isinstance(pointer, ReleasePointer):
            return None
        try:
            head = self.hub.head(pointer.repo)
            data = self.hub.read_bytes(pointer.repo, head, outcome_path(round_id), max_bytes=_MAX_RECORD_BYTES)
        except NotOnHub:
            return None
        return MergeOutcome.parse(data)

    def epochs(self, first_block: int, last_block: int) -> Iterator[Epoch]:
        """Every payout in a range of blocks, oldest first, as far back as the chain's state reaches."""
        block = self.ledger.next_epoch_block(max(first_block - 1, 0))
        while block <= last_block:
            if block not in self._epochs:
                try:
                    metagraph = self.ledger.metagraph(self.ledger.block_hash(block))
                except RetryableError as error:
                    log.warning("block %d: %s", block, error)
                    block = self.ledger.next_epoch_block(block)
                    continue
                self._epochs[block] = Epoch(block=block, emission_rao=earned_rao(metagraph))
            yield self._epochs[block]
            block = self.ledger.next_epoch_block(block)

    def _receipt(self, hotkey: str, pointer: ReceiptPointer, round_id: int) -> Receipt | None:
        """The receipt of a round, held to the digests that lead to it from the chain."""
        if self.hub is None or round_id > pointer.round_id:
            return None
        if (hotkey, round_id) not in self._receipts:
            try:
                for receipt in receipts_back(self.hub, hotkey, pointer, round_id):
                    self._receipts[hotkey, receipt.round_id] = receipt
            except (BadRecord, ConfigError, CorruptDownload) as bad:  # one validator's own doing
                log.warning("%s: the receipt of round %d cannot be read: %s", hotkey, round_id, bad)
        return self._receipts.get((hotkey, round_id))
