"""How much text a decision costs, from a round's own losses: the power of the tests that pay hangs on.

n = (z_a + z_b)^2 * v / delta^2 tokens tell a true difference of `delta` nats from none, for z_a of the intervals'
confidence, z_b of the wanted power, and v the variance of a batch's difference for each of its tokens. The batches
are clusters of whole documents, so v holds what tokens of one text have in common (Miller 2024, arXiv:2411.00640).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.stats import norm

from hivetune.records import Receipt, ScoringPlan
from validator.looks import confidence_at_each, planned_looks


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One kind of decision, over all submissions or pairs of a round."""

    name: str
    cases: int
    tokens: int  # that the median case needs
    tokens_of_worst: int
    smallest_told: float  # nats per token that this round's whole text tells from none, in the median case


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """What a round's text can tell, and what telling `delta` would cost."""

    round: int
    delta: float  # nats per token
    power: float  # probability that a true difference of delta is found
    confidence: float
    tokens: int  # of the round's text
    sequences: int
    decisions: tuple[Decision, ...]


def variance_per_token(nats: Sequence[float], tokens: Sequence[int]) -> float:
    """v of the ratio estimator: the variance of the mean over n tokens is v / n. At least two batches."""
    nats_b, tokens_b = np.asarray(nats, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    residuals_b = nats_b - nats_b.sum() / tokens_b.sum() * tokens_b
    return float(len(nats_b) / (len(nats_b) - 1) * np.square(residuals_b).sum() / tokens_b.sum())


def tokens_needed(variance: float, delta: float, confidence: float, power: float) -> int:
    """As in the module's formula, rounded up."""
    return math.ceil(_reach(confidence, power) ** 2 * variance / delta**2)


def power_of(receipt: Receipt, plan: ScoringPlan, delta: float, power: float) -> Power:
    """From the losses and credits in a receipt; kinds without a case are left out."""
    looks = planned_looks(len(receipt.batch_tokens), plan.batch_sequences)
    confidence = confidence_at_each(plan.confidence, len(looks))
    total = sum(receipt.batch_tokens)

    def decision(name: str, cases: list[list[float]]) -> list[Decision]:
        told = [nats[: len(receipt.batch_tokens)] for nats in cases]
        variances = [variance_per_token(nats, receipt.batch_tokens[: len(nats)]) for nats in told if len(nats) > 1]
        if not variances:
            return []
        middle = median(variances)
        return [
            Decision(
                name=name,
                cases=len(variances),
                tokens=tokens_needed(middle, delta, confidence, power),
                tokens_of_worst=tokens_needed(max(variances), delta, confidence, power),
                smallest_told=_reach(confidence, power) * math.sqrt(middle / total),
            )
        ]

    alone = [_paired(receipt.base_batch_nats, entry.batch_nats) for entry in receipt.entries if entry.batch_nats]
    losses = [entry.batch_nats for entry in receipt.entries if entry.verdict == "paid"]
    pairs = [_paired(one, other) for one, other in itertools.combinations(losses, 2)]
    credits = [list(entry.credit_nats) for entry in receipt.entries]
    return Power(
        round=receipt.round_id,
        delta=delta,
        power=power,
        confidence=confidence,
        tokens=total,
        sequences=len(receipt.sequence_ids),
        decisions=tuple(
            decision("credit in the merge", credits)
            + decision("alone, against the base", alone)
            + decision("one paid against another", pairs)
            + decision("a loss without a pair", [list(receipt.base_batch_nats)])
        ),
    )


def _reach(confidence: float, power: float) -> float:
    return float(norm.ppf(0.5 + confidence / 2) + norm.ppf(power))


def _paired(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Differences on the batches that both were measured on."""
    return [a - b for a, b in zip(one, other, strict=False)]
