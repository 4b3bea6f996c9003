"""The validator's account of a round, from candidates and scores to a receipt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hivetune.draws import assign_shard
from hivetune.records import Entry, Receipt, Verdict
from hivetune.releases import Located
from hivetune.rounds import Round
from validator.intake import Candidate
from validator.pay import Earlier, average_shares
from validator.scoring import Scorer, Scores, pay


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """A hotkey's place on the subnet at the round's deadline."""

    uid: int
    block: int


def make_entry(
    candidate: Candidate,
    scores: Scores,
    share: float,
    weight: float,
    registration: Registration,
    located: Located,
    now: Round,
) -> Entry:
    """One submission's line: rejected before or during scoring, unpaid, or paid."""
    hotkey = candidate.hotkey
    solo, credit = scores.solo.get(hotkey), scores.credit.get(hotkey)
    limit = located.release.scoring.max_completeness_error
    verdict, reason, detail = _verdict(candidate, scores, limit)
    return Entry(
        hotkey=hotkey,
        uid=registration.uid,
        registered_at=registration.block,
        shard=assign_shard(located.sha256, now.round_id, registration.uid, located.release.data.num_shards),
        verdict=verdict,
        reason=reason,
        detail=detail,
        repo=candidate.repo,
        revision=candidate.revision,
        file_sha256=candidate.file_sha256,
        improvement=solo.improvement.mean if solo else None,
        improvement_lower=solo.improvement.lower if solo else None,
        improvement_upper=solo.improvement.upper if solo else None,
        credit=credit.mean if credit else None,
        lower=credit.lower if credit else None,
        upper=credit.upper if credit else None,
        norm=candidate.relative_norm,
        merged=hotkey in scores.merged,
        share=share,
        weight=weight,
        batch_nats=solo.batch_nats if solo else (),
        credit_nats=scores.credit_nats.get(hotkey, ()),
    )


def make_receipt(
    *,
    validator: str,
    previous: str | None,
    located: Located,
    now: Round,
    beacon: str,
    sequence_ids: Sequence[int],
    batch_tokens: Sequence[int],
    candidates: Sequence[Candidate],
    registrations: Mapping[str, Registration],
    earlier: Sequence[Earlier],
    scorer: Scorer,
    scores: Scores,
    missing_earlier: Sequence[str] = (),
) -> Receipt:
    """The whole round, in hotkey order."""
    shares = pay(scores)
    weights = average_shares(shares, {hotkey: one.block for hotkey, one in registrations.items()}, earlier)
    return Receipt(
        protocol=1,
        round_id=now.round_id,
        validator=validator,
        previous=previous,
        release_sha256=located.sha256,
        beacon=beacon,
        sequence_ids=tuple(sequence_ids),
        batch_tokens=tuple(batch_tokens),
        base_batch_nats=tuple(scorer.base_nats),
        base_loss=scorer.base_loss,
        merged_loss=scores.merged_loss,
        completeness_error=scores.completeness_error,
        nodes=scores.nodes,
        clip=scores.clip,
        replicate_spread=scorer.replicate_spread(),
        missing_earlier=tuple(missing_earlier),
        entries=tuple(
            make_entry(
                candidate,
                scores,
                shares.get(candidate.hotkey, 0.0),
                weights.get(candidate.hotkey, 0.0),
                registrations[candidate.hotkey],
                located,
                now,
            )
            for candidate in candidates
        ),
    )


def _verdict(candidate: Candidate, scores: Scores, max_completeness_error: float) -> tuple[Verdict, str, str]:
    rejection = candidate.rejection or scores.rejected.get(candidate.hotkey)
    if rejection is not None:
        return "rejected", rejection.reason, rejection.detail
    if candidate.hotkey in scores.paid:
        return "paid", "", ""
    credit = scores.credit[candidate.hotkey]
    if credit.upper < 0:
        return "unpaid", "harmful", f"credit at most {credit.upper:.4f} nats"
    complete = scores.completeness_error is None or abs(scores.completeness_error) <= max_completeness_error
    if credit.lower <= 0 or complete:
        return "unpaid", "not_proven", f"credit {credit.mean:.4f} nats, lower bound {credit.lower:.4f}"
    return "unpaid", "incomplete_credit", f"credits miss the improvement by {scores.completeness_error:.1%}"
