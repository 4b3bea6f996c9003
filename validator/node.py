"""The validator's round: wait for the reveals, admit, score, set weights, publish the receipt.

Each finished part stands on disk or on the chain before the next begins, so a restart goes on where it stopped.
"""

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chain.ledger import Ledger
from chain.weight_setter import WeightSetter
from hivetune.commitments import PROTOCOL, ReceiptPointer, pack, unpack
from hivetune.errors import ConfigError, RejectedSubmission, RetryableError
from hivetune.files import write_atomically
from hivetune.records import BadRecord, Receipt, receipt_path
from hivetune.releases import Located, ReleaseFollower
from hivetune.rounds import Round, round_by_id
from hivetune.status import Report, Status
from hivetune.submissions import SubmissionSource
from hub.client import HubClient
from validator.earlier import MEMORY_ROUNDS, EarlierFiles
from validator.journal import Journal
from validator.round_scoring import admit_round, read_round, remembered_rounds, score_round

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatorNode:
    """One validator."""

    ledger: Ledger
    weights: WeightSetter
    hub: HubClient
    source: SubmissionSource
    follower: ReleaseFollower
    repo: str
    state: Path
    report: Report

    def step(self) -> int:
        """Score the round once its reveals are in, and show earlier weights that the subnet had hidden."""
        self.weights.reveal_due()
        following = self._play_round()
        reveal_at = self.weights.reveal_due()
        return following if reveal_at is None else min(following, reveal_at)

    def _play_round(self) -> int:
        """The block to come back at; the weights must stand before the round ends."""
        block = self.ledger.head().number
        located, now = self.follower.at_block(block)
        if now is None:
            return located.release.rounds.first_block
        following = round_by_id(located.release.rounds, now.round_id + 1)
        if block <= now.reveal_end:
            return now.reveal_end + 1
        path = self._receipt_file(now.round_id)
        if not path.exists():
            if block > now.score_end:
                log.warning("round %d: too late to score", now.round_id)
                return following.reveal_end + 1
            write_atomically(path, self._score(located, now).to_bytes())
        receipt = Receipt.parse(path.read_bytes())
        self._set_weights(receipt, now)
        self._publish(receipt, now)
        return following.reveal_end + 1

    def _score(self, located: Located, now: Round) -> Receipt:
        inputs = read_round(self.ledger, located, now)
        earlier = self._earlier_receipts(now, remembered_rounds(located.release))
        say = partial(self._say, now)
        admitted = admit_round(
            inputs,
            self.follower,
            self.source,
            earlier=earlier,
            earlier_files=EarlierFiles(source=self.source, folder=self.state / "earlier"),
            submissions=self.state / "submissions",
            say=say,
        )
        return score_round(
            admitted,
            validator=self.ledger.hotkey,
            previous=self._previous_receipt(now),
            earlier=earlier,
            measured=Journal(self.state / "measured" / f"{now.round_id:06d}-{inputs.beacon[2:18]}.jsonl"),
            say=say,
        )

    def _set_weights(self, receipt: Receipt, now: Round) -> None:
        """Weights of the paid; all to the owner, which burns them, when nobody earned anything."""
        metagraph = self.ledger.metagraph()
        if metagraph.by_hotkey(self.ledger.hotkey) is None:
            raise ConfigError(f"validator {self.ledger.hotkey} is not registered on subnet {metagraph.netuid}")
        weights = {entry.uid: entry.weight for entry in receipt.entries if entry.weight > 0}
        if not weights:
            owner = metagraph.by_hotkey(metagraph.owner_hotkey)
            if owner is None:
                raise RetryableError("the subnet's owner is not registered, nobody can take the burned weight")
            weights = {owner.uid: 1.0}
        self._say(now, "setting weights")
        way = self.weights.set(weights, since=now.beacon_block, version_key=PROTOCOL)
        if way is not None:
            shares = {uid: round(weight, 4) for uid, weight in weights.items()}
            log.info("round %d: weights %s (%s)", now.round_id, shares, way)

    def _publish(self, receipt: Receipt, now: Round) -> None:
        on_chain = self._own_pointer()
        if on_chain is not None and on_chain.round_id >= now.round_id:
            return
        self.hub.ensure_repo(self.repo)
        # Those before as well: one that a kill kept from the Hub would break their chain.
        told = [*self._earlier_receipts(now, MEMORY_ROUNDS), receipt]
        files: dict[str, Path | bytes] = {receipt_path(one.round_id): one.to_bytes() for one in told}
        revision = self.hub.publish(self.repo, files, message=f"Receipt of round {now.round_id}")
        digest = receipt.digest()
        self.ledger.set_commitment(
            pack(ReceiptPointer(round_id=now.round_id, receipt_sha256=digest, revision=revision, repo=self.repo))
        )
        self._say(now, f"scored, {sum(entry.verdict == 'paid' for entry in receipt.entries)} paid")

    def _own_pointer(self) -> ReceiptPointer | None:
        found = self.ledger.commitment(self.ledger.hotkey)
        try:
            pointer = unpack(found.data) if found is not None else None
        except RejectedSubmission:
            return None
        return pointer if isinstance(pointer, ReceiptPointer) else None

    def _previous_receipt(self, now: Round) -> str | None:
        own = self._receipt_file(now.round_id)
        earlier = sorted(path for path in own.parent.glob("*.json") if path < own)
        return hashlib.sha256(earlier[-1].read_bytes()).hexdigest() if earlier else None

    def _earlier_receipts(self, now: Round, rounds: int) -> list[Receipt]:
        """Own receipts of so many rounds before; one that this version cannot read is passed over."""
        found = []
        for round_id in range(max(0, now.round_id - rounds), now.round_id):
            path = self._receipt_file(round_id)
            try:
                found.append(Receipt.parse(path.read_bytes()))
            except FileNotFoundError:
                continue
            except BadRecord as error:
                log.warning("round %d: the receipt of round %d is passed over, %s", now.round_id, round_id, error)
        return found

    def _receipt_file(self, round_id: int) -> Path:
        return self.state / "receipts" / f"{round_id:06d}.json"

    def _say(self, now: Round, activity: str) -> None:
        log.info("round %d: %s", now.round_id, activity)
        self.report(Status(round_id=now.round_id, activity=activity))
