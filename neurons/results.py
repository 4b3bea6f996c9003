"""A round as a result: one table row a submission, from the receipts, the outcome and the payout."""

from dataclasses import asdict, dataclass

from hivetune.records import Entry, MergeOutcome, Receipt

RAO = 1_000_000_000  # rao in one token


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionResult:
    """One miner's round. Losses and credits are nats per token, emission is in tokens."""

    hotkey: str
    role: str  # as the observer knows it; "miner" when it knows nothing more
    shard: int | None
    verdict: str
    reason: str
    detail: str
    improvement: float | None
    improvement_lower: float | None
    improvement_upper: float | None
    credit: float | None
    lower: float | None
    upper: float | None
    weight: float
    emission: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseResult:
    """What the averager made of a round."""

    published: bool
    reason: str
    scale: float | None
    improvement: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundResult:
    """One round, as `--json` writes it."""

    round: int
    base_loss: float | None
    validators_agree: bool  # same verdicts and reasons in every receipt
    completeness_error: float | None
    submissions: tuple[SubmissionResult, ...]
    release: ReleaseResult
    seconds: dict[str, float]  # by phase

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def round_result(
    round_id: int,
    receipts: list[Receipt],
    outcome: MergeOutcome | None,
    emission_rao: dict[str, int],
    roles: dict[str, str],
    seconds: dict[str, float],
) -> RoundResult:
    """A round from the receipt of the largest stake; the other receipts say whether validators agree."""
    first = receipts[0] if receipts else None
    entries = first.entries if first is not None else ()
    return RoundResult(
        round=round_id,
        base_loss=first.base_loss if first else None,
        validators_agree=all(_verdicts(receipt) == _verdicts(receipts[0]) for receipt in receipts),
        completeness_error=first.completeness_error if first else None,
        submissions=tuple(
            _submission(entry, emission_rao.get(entry.hotkey, 0), roles.get(entry.hotkey, "miner")) for entry in entries
        ),
        release=_release(outcome),
        seconds=seconds,
    )


def _submission(entry: Entry, emission_rao: int, role: str) -> SubmissionResult:
    return SubmissionResult(
        hotkey=entry.hotkey,
        role=role,
        shard=entry.shard,
        verdict=entry.verdict,
        reason=entry.reason,
        detail=entry.detail,
        improvement=entry.improvement,
        improvement_lower=entry.improvement_lower,
        improvement_upper=entry.improvement_upper,
        credit=entry.credit,
        lower=entry.lower,
        upper=entry.upper,
        weight=entry.weight,
        emission=emission_rao / RAO,
    )


def _release(outcome: MergeOutcome | None) -> ReleaseResult:
    report = outcome.report if outcome is not None else None
    return ReleaseResult(
        published=outcome.published if outcome is not None else False,
        reason=outcome.reason if outcome is not None else "no_word_from_averager",
        scale=report.scale if report else None,
        improvement=report.improvement if report else None,
        lower=report.lower if report else None,
        upper=report.upper if report else None,
    )


def _verdicts(receipt: Receipt) -> dict[str, tuple[str, str]]:
    return {entry.hotkey: (entry.verdict, entry.reason) for entry in receipt.entries}
