"""What a validator's receipts and the chain say of one submission, and what would have changed its pay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hivetune.records import Entry, Receipt
from validator.pay import Earlier, average_shares

MORE_NATS = 0.01  # the step of "so much more credit would have been paid so much more"

# Every check of a submission, in the order in which it is made, with the reasons for which it fails.
CHECKS: Mapping[str, frozenset[str]] = {
    "committed": frozenset({"bad_commitment", "wrong_round", "too_early", "late", "wrong_release"}),
    "revealed": frozenset({"not_revealed", "wrong_size", "wrong_digest", "download_failed"}),
    "form": frozenset({
        "not_safetensors", "bad_header", "wrong_owner", "bad_name", "extra_tensor", "missing_tensor", "wrong_dtype",
        "wrong_shape", "bad_offsets", "not_finite", "negative_magnitude", "ill_conditioned",
    }),
    "size": frozenset({"untrained", "norm_too_large", "norm_outlier"}),
    "original": frozenset({"duplicate", "near_copy", "mixture"}),
    "loss": frozenset({"broken_loss"}),
    "credit": frozenset({"harmful", "not_proven"}),
    "completeness": frozenset({"incomplete_credit"}),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check; `passed` is None when an earlier one failed."""

    name: str
    passed: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What one validator says of the submission."""

    validator: str
    receipt_sha256: str
    verdict: str
    reason: str
    credit: float | None
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Counterfactual:
    """What more credit, with the same spread over the text, would have brought; others as they were."""

    more_nats: float
    share: float
    weight: float
    tokens: float | None  # None while the round is not paid yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """A submission from its commitment to its pay. Losses and credits are nats per token, amounts are tokens."""

    round: int
    hotkey: str
    uid: int
    shard: int
    repo: str
    revision: str
    file_sha256: str
    verdict: str
    reason: str
    detail: str
    checks: tuple[Check, ...]
    improvement: float | None
    improvement_lower: float | None
    improvement_upper: float | None
    credit: float | None
    lower: float | None
    upper: float | None
    share: float
    earlier_shares: Mapping[int, float]  # by round, those that count in the weight
    weight: float
    words: tuple[Word, ...]  # the largest stake first
    consensus: float | None  # the chain's, at the end of the round
    emission: float | None
    otherwise: Counterfactual | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Paid:
    """What the chain made of the round's weights, by hotkey; amounts are tokens."""

    emission: Mapping[str, float]
    consensus: Mapping[str, float]
    to_miners: float  # in all


def explain(
    hotkey: str, receipts: Sequence[Receipt], digests: Sequence[str], earlier: Sequence[Earlier], paid: Paid | None
) -> Explanation | None:
    """From the round's receipts, the largest stake first, which decides; None when it has no entry for the hotkey."""
    entries = {entry.hotkey: entry for entry in receipts[0].entries}
    entry = entries.get(hotkey)
    if entry is None:
        return None
    return Explanation(
        round=receipts[0].round_id,
        hotkey=hotkey,
        uid=entry.uid,
        shard=entry.shard,
        repo=entry.repo,
        revision=entry.revision,
        file_sha256=entry.file_sha256,
        verdict=entry.verdict,
        reason=entry.reason,
        detail=entry.detail,
        checks=checks_of(entry),
        improvement=entry.improvement,
        improvement_lower=entry.improvement_lower,
        improvement_upper=entry.improvement_upper,
        credit=entry.credit,
        lower=entry.lower,
        upper=entry.upper,
        share=entry.share,
        earlier_shares={
            one.receipt.round_id: next((e.share for e in one.receipt.entries if e.hotkey == hotkey), 0.0)
            for one in earlier
            if entry.registered_at <= one.deadline
        },
        weight=entry.weight,
        words=tuple(_word(hotkey, *told) for told in zip(receipts, digests, strict=True)),
        consensus=paid.consensus.get(hotkey, 0.0) if paid else None,
        emission=paid.emission.get(hotkey, 0.0) if paid else None,
        otherwise=otherwise(entry, receipts[0], earlier, paid),
    )


def checks_of(entry: Entry) -> tuple[Check, ...]:
    """Passed up to the one that gave the entry's reason; all of them for a paid one."""
    failed = next((name for name, reasons in CHECKS.items() if entry.reason in reasons), None)
    if entry.file_sha256 and failed == "committed":  # the commitment was sound: it is the file that names another round
        failed = "form"
    found: list[Check] = []
    for name in CHECKS:
        before = all(check.passed for check in found)
        found.append(Check(name=name, passed=(name != failed) if before else None))
    return tuple(found)


def otherwise(entry: Entry, receipt: Receipt, earlier: Sequence[Earlier], paid: Paid | None) -> Counterfactual | None:
    """For a paid one a step more of credit; for an unproven one just so much that its lower bound is above zero.

    None for what never had a credit, and for a round whose credits did not add up.
    """
    if entry.credit is None or entry.lower is None or entry.reason == "incomplete_credit":
        return None
    more = MORE_NATS if entry.verdict == "paid" else max(0.0, -entry.lower)
    credits = {one.hotkey: one.credit or 0.0 for one in receipt.entries if one.verdict == "paid"}
    credits[entry.hotkey] = entry.credit + more
    total = sum(credits.values())
    if total <= 0:
        return None
    shares = {hotkey: credit / total for hotkey, credit in credits.items()}
    registered_at = {one.hotkey: one.registered_at for one in receipt.entries}
    weight = average_shares(shares, registered_at, earlier)[entry.hotkey]
    tokens = weight * paid.to_miners if paid else None
    return Counterfactual(more_nats=more, share=shares[entry.hotkey], weight=weight, tokens=tokens)


def _word(hotkey: str, receipt: Receipt, digest: str) -> Word:
    entry = next((entry for entry in receipt.entries if entry.hotkey == hotkey), None)
    return Word(
        validator=receipt.validator,
        receipt_sha256=digest,
        verdict=entry.verdict if entry else "",
        reason=entry.reason if entry else "no_entry",
        credit=entry.credit if entry else None,
        weight=entry.weight if entry else 0.0,
    )
