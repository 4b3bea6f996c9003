"""How often scoring decides rightly: what was measured once, batch by batch, is drawn again and again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hivetune.statistics import token_mean
from validator.looks import FIRST_SEQUENCES, confidence_at_each, is_decided, planned_looks

BATCH_SEQUENCES = 4
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One adapter's gains over the whole held-out text."""

    nats: np.ndarray  # of every batch
    tokens: np.ndarray

    @property
    def mean(self) -> float:
        """Nats per token."""
        return float(self.nats.sum() / self.tokens.sum())

    def without_effect(self) -> "Recorded":
        """The same spread with a mean of zero."""
        return Recorded(nats=self.nats - self.mean * self.tokens, tokens=self.tokens)

    def draw(self, generator: np.random.Generator, batches: int) -> tuple[np.ndarray, np.ndarray]:
        """Nats and tokens of so many batches, with repetition: the text stands for one without end."""
        rows = generator.integers(len(self.nats), size=batches)
        return self.nats[rows], self.tokens[rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    sequences: int  # the budget
    tokens: float  # of the budget, mean
    tokens_spent: float  # until decided, mean
    accepted_alone: float  # share of draws with a lower bound above zero at the look where measuring stops
    accepted_by_credit: float  # share of draws with a credit surely above the least


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping:
    """Share of draws of something without effect that a rule calls an effect at any time."""

    looks_accept: float  # calls it an improvement
    looks_any: float  # an improvement or a harm
    peeking_accept: float  # with plain intervals after every batch from the first look on
    peeking_any: float


def powers(
    alone: Recorded, credit: Recorded, least: float, budgets: Sequence[int], draws: int, seed: int = 0
) -> list[Power]:
    """Of one adapter, by budget; `least` is what a credit must surely exceed."""
    generator = np.random.default_rng(seed)
    found = []
    for budget in budgets:
        batches = budget // BATCH_SEQUENCES
        looks = planned_looks(batches, BATCH_SEQUENCES)
        confidence = confidence_at_each(CONFIDENCE, len(looks))
        accepted, spent, whole, paid = 0, 0.0, 0.0, 0
        for _ in range(draws):
            nats_B, tokens_B = alone.draw(generator, batches)
            for look in looks:
                estimate = token_mean(nats_B[:look], tokens_B[:look], confidence)
                if is_decided(estimate):
                    break
            accepted += estimate.lower > 0
            spent += float(tokens_B[:look].sum()) / draws
            whole += float(tokens_B.sum()) / draws
            paid += token_mean(*credit.draw(generator, batches), confidence).lower > least
        found.append(
            Power(
                sequences=budget,
                tokens=whole,
                tokens_spent=spent,
                accepted_alone=accepted / draws,
                accepted_by_credit=paid / draws,
            )
        )
    return found


def stopping(nulls: Sequence[Recorded], sequences: int, draws: int, seed: int = 0) -> Stopping:
    """Every look and every peek of `draws` draws, over the nulls in turn."""
    generator = np.random.default_rng(seed)
    batches = sequences // BATCH_SEQUENCES
    looks = planned_looks(batches, BATCH_SEQUENCES)
    peeks = range(FIRST_SEQUENCES // BATCH_SEQUENCES, batches + 1)
    wrong = np.zeros((2, 2))
    for turn in range(draws):
        nats_B, tokens_B = nulls[turn % len(nulls)].without_effect().draw(generator, batches)
        for rule, (ends, confidence) in enumerate(
            ((looks, confidence_at_each(CONFIDENCE, len(looks))), (peeks, CONFIDENCE))
        ):
            estimates = [token_mean(nats_B[:end], tokens_B[:end], confidence) for end in ends]
            better = any(estimate.lower > 0 for estimate in estimates)
            wrong[rule] += (better, better or any(estimate.upper < 0 for estimate in estimates))
    (looks_accept, looks_any), (peeking_accept, peeking_any) = (wrong / draws).tolist()
    return Stopping(
        looks_accept=looks_accept, looks_any=looks_any, peeking_accept=peeking_accept, peeking_any=peeking_any
    )
