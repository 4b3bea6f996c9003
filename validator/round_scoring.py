"""A round's scoring from public inputs to a receipt: what a validator does, and what anybody does who repeats it."""

import shutil
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from chain.ledger import Ledger, Metagraph
from hivetune.commitments import ReceiptPointer, unpack
from hivetune.corpus import read_split
from hivetune.errors import RejectedSubmission
from hivetune.merging import Adapter
from hivetune.model import BaseModel, digest_of, load_base, target_weights
from hivetune.records import Receipt, Release
from hivetune.releases import Located, OnChain, ReleaseFollower
from hivetune.round_text import RoundText, draw_text
from hivetune.rounds import Round, round_by_id
from hivetune.submissions import SubmissionSource
from validator.earlier import MEMORY_ROUNDS, EarlierFiles, works_of
from validator.intake import Candidate, Intake
from validator.pay import Earlier
from validator.receipts import Registration, make_receipt
from validator.scoring import Scorer, batch_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundInputs:
    """All that the chain says of a round."""

    located: Located  # the release that the round starts from
    now: Round
    beacon: str
    commitments: Mapping[str, OnChain]  # the submissions', as of the deadline
    registrations: Mapping[str, Registration]  # of everybody registered then


def read_round(ledger: Ledger, located: Located, now: Round) -> RoundInputs:
    """What stood on the chain at the round's deadline; RetryableError when its state is no longer kept."""
    deadline = ledger.block_hash(now.deadline)
    metagraph = ledger.metagraph(deadline)
    return RoundInputs(
        located=located,
        now=now,
        beacon=ledger.block_hash(now.beacon_block),
        commitments=submissions_of_round(metagraph, ledger.commitments(deadline), now),
        registrations={
            neuron.hotkey: Registration(uid=neuron.uid, block=neuron.registered_at) for neuron in metagraph.neurons
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Admitted:
    """A round with its base in memory, its submissions judged by themselves, and its text drawn."""

    inputs: RoundInputs
    base: BaseModel
    weights: Mapping[str, Tensor]  # the base's adapted ones
    candidates: Sequence[Candidate]  # in hotkey order
    text: RoundText
    missing_earlier: Sequence[str]  # sha256 of files of rounds before that could not be had


def admit_round(
    inputs: RoundInputs,
    follower: ReleaseFollower,
    source: SubmissionSource,
    *,
    earlier: Sequence[Receipt],
    earlier_files: EarlierFiles,
    submissions: Path,
    say: Callable[[str], None],
) -> Admitted:
    """Open and judge every submission.

    `earlier` are the validator's own receipts of the `remembered_rounds` before, or those that it has. What
    `submissions` still holds of the round before goes to the earlier files, then it is emptied.
    """
    located, now = inputs.located, inputs.now
    say(f"loading release {located.release.number}")
    base = load_base(follower.base_folder(located))
    layout = located.release.layout
    weights = target_weights(base.model, layout)
    gathered = earlier_files.gather(earlier, now.round_id, layout, submissions)
    say(f"admitting {len(inputs.commitments)} submissions, {len(gathered.files)} earlier ones are known")
    shutil.rmtree(submissions, ignore_errors=True)
    known = works_of(gathered.files, layout, weights)
    intake = Intake(located, now, source, weights, submissions, beacon=inputs.beacon, earlier=known)
    candidates = intake.collect(inputs.commitments)
    return Admitted(
        inputs=inputs,
        base=base,
        weights=weights,
        candidates=candidates,
        text=scoring_text(located, follower, base, inputs.beacon),
        missing_earlier=gathered.missing,
    )


def score_round(
    admitted: Admitted,
    *,
    validator: str,
    previous: str | None,
    earlier: Sequence[Receipt],
    measured: MutableMapping[str, tuple[float, ...]],
    say: Callable[[str], None],
) -> Receipt:
    """Score and pay what was admitted; `measured` as in `Scorer.score`, `earlier` as in `admit_round`.

    `previous` is the digest of the validator's own receipt before.
    """
    inputs, text = admitted.inputs, admitted.text
    release = inputs.located.release
    untouched = digest_of(admitted.weights)
    scorer = Scorer(admitted.base, admitted.weights, text.batches, release.layout.scale, release.scoring, say)
    scores = scorer.score(adapters_of(admitted.candidates), measured)
    if digest_of(admitted.weights) != untouched:
        raise RuntimeError("scoring changed the base model in memory")
    return make_receipt(
        validator=validator,
        previous=previous,
        located=inputs.located,
        now=inputs.now,
        beacon=inputs.beacon,
        sequence_ids=text.sequence_ids,
        batch_tokens=batch_tokens(text.batches),
        candidates=admitted.candidates,
        registrations=inputs.registrations,
        earlier=pay_history(earlier, release, inputs.now),
        scorer=scorer,
        scores=scores,
        missing_earlier=admitted.missing_earlier,
    )


def adapters_of(candidates: Sequence[Candidate]) -> list[Adapter]:
    """Of those that were admitted."""
    return [c.adapter for c in candidates if c.rejection is None and c.adapter is not None]


def remembered_rounds(release: Release) -> int:
    """How many rounds back a round's scoring looks."""
    return max(release.scoring.pay_rounds - 1, MEMORY_ROUNDS)


def pay_history(earlier: Sequence[Receipt], release: Release, now: Round) -> list[Earlier]:
    """The rounds before this one whose shares count in its pay."""
    first = now.round_id - release.scoring.pay_rounds + 1
    return [
        Earlier(deadline=round_by_id(release.rounds, receipt.round_id).deadline, receipt=receipt)
        for receipt in earlier
        if first <= receipt.round_id < now.round_id
    ]


def scoring_text(located: Located, follower: ReleaseFollower, base: BaseModel, beacon: str) -> RoundText:
    """What the beacon draws of the evaluation split."""
    release = located.release
    (text,) = draw_text(
        base.tokenizer,
        read_split(follower.data_file(release, release.data.evaluation)),
        beacon,
        [release.scoring.score_sequences],
        sequence_length=release.data.sequence_length,
        batch_sequences=release.scoring.batch_sequences,
    )
    return text


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
