"""The validator's round: wait for the reveals, admit, score, set weights, publish the receipt.

Each finished part stands on disk or on the chain before the next begins, so a restart goes on where it stopped.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chain.ledger import Ledger, Metagraph
from chain.weight_setter import WeightSetter
from hivetune.commitments import PROTOCOL, ReceiptPointer, pack, unpack
from hivetune.corpus import read_split
from hivetune.draws import draw_sequences
from hivetune.errors import ConfigError, RejectedSubmission, RetryableError
from hivetune.evaluation import Batch, make_batches
from hivetune.files import write_atomically
from hivetune.model import BaseModel, digest_of, load_base, target_weights
from hivetune.records import Receipt, receipt_path
from hivetune.releases import Located, OnChain, ReleaseFollower
from hivetune.rounds import Round, round_by_id
from hivetune.status import Report, Status
from hivetune.submissions import SubmissionSource
from hub.client import HubClient
from validator.intake import Intake
from validator.journal import Journal
from validator.receipts import make_receipt
from validator.scoring import Scorer, batch_tokens

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
        path = self._receipt_file(now)
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
        at_deadline = self.ledger.block_hash(now.deadline)
        beacon = self.ledger.block_hash(now.beacon_block)
        metagraph = self.ledger.metagraph(at_deadline)
        commitments = submissions_of_round(metagraph, self.ledger.commitments(at_deadline), now)
        self._say(now, f"loading release {located.release.number}")
        base = load_base(self.follower.base_folder(located))
        weights = target_weights(base.model, located.release.layout)
        untouched = digest_of(weights)
        self._say(now, f"admitting {len(commitments)} submissions")
        folder = self.state / "submissions"
        shutil.rmtree(folder, ignore_errors=True)
        candidates = Intake(located, now, self.source, weights, folder).collect(commitments)
        sequence_ids, batches = self._batches(located, base, beacon)
        scorer = Scorer(
            base,
            weights,
            batches,
            located.release.layout.scale,
            located.release.scoring,
            lambda activity: self._say(now, activity),
        )
        admitted = [c.adapter for c in candidates if c.rejection is None and c.adapter is not None]
        scores = scorer.score(admitted, Journal(self.state / "measured" / f"{now.round_id:06d}-{beacon[2:18]}.jsonl"))
        if digest_of(weights) != untouched:
            raise RuntimeError("scoring changed the base model in memory")
        return make_receipt(
            validator=self.ledger.hotkey,
            previous=self._previous_receipt(now),
            located=located,
            now=now,
            beacon=beacon,
            sequence_ids=sequence_ids,
            batch_tokens=batch_tokens(batches),
            candidates=candidates,
            uids={neuron.hotkey: neuron.uid for neuron in metagraph.neurons},
            scorer=scorer,
            scores=scores,
        )

    def _batches(self, located: Located, base: BaseModel, beacon: str) -> tuple[list[int], list[Batch]]:
        release = located.release
        rows = read_split(self.follower.data_file(release, release.data.evaluation))
        draws = draw_sequences(beacon, [row.domain for row in rows], [release.scoring.score_sequences])
        batches = make_batches(
            base.tokenizer,
            [rows[index].text for index in draws[0]],
            sequence_length=release.data.sequence_length,
            batch_sequences=release.scoring.batch_sequences,
        )
        return draws[0], batches

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
        data = receipt.to_bytes()
        revision = self.hub.publish(
            self.repo, {receipt_path(now.round_id): data}, message=f"Receipt of round {now.round_id}"
        )
        digest = hashlib.sha256(data).hexdigest()
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
        own = self._receipt_file(now)
        earlier = sorted(path for path in own.parent.glob("*.json") if path < own)
        return hashlib.sha256(earlier[-1].read_bytes()).hexdigest() if earlier else None

    def _receipt_file(self, now: Round) -> Path:
        return self.state / "receipts" / f"{now.round_id:06d}.json"

    def _say(self, now: Round, activity: str) -> None:
        log.info("round %d: %s", now.round_id, activity)
        self.report(Status(round_id=now.round_id, activity=activity))


def submissions_of_round(metagraph: Metagraph, commitments: Mapping[str, OnChain], now: Round) -> dict[str, OnChain]:
    """Commitments made in this round by registered hotkeys other than the owner's and the validators' pointers.

    A pointer to a release or a receipt is another role's business, not a failed submission.
    """
    found = {}
    for neuron in metagraph.neurons:
        commitment = commitments.get(neuron.hotkey)
        if commitment is None or commitment.block < now.first_block or neuron.hotkey == metagraph.owner_hotkey:
            continue
        if not _is_receipt(commitment.data):
            found[neuron.hotkey] = commitment
    return found


def _is_receipt(data: bytes) -> bool:
    try:
        return isinstance(unpack(data), ReceiptPointer)
    except RejectedSubmission:
        return False
