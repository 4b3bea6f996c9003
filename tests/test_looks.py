"""Planned looks: what stopping at them costs, and that it errs no more often than promised."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivetune.statistics import Estimate, token_mean
from validator.looks import FIRST_SEQUENCES, confidence_at_each, is_decided, planned_looks


@given(st.integers(1, 5000), st.integers(1, 32))
def test_looks_begin_with_the_first_sequences_double_and_end_with_all(batches: int, batch_sequences: int) -> None:
    looks = planned_looks(batches, batch_sequences)
    assert looks[-1] == batches
    assert list(looks) == sorted(set(looks))
    for early, late in itertools.pairwise(looks[:-1]):
        assert late == 2 * early
    if len(looks) > 1:
        assert looks[0] * batch_sequences >= FIRST_SEQUENCES > (looks[0] - 1) * batch_sequences
        assert looks[-1] <= 2 * looks[-2]


def test_a_text_no_longer_than_the_first_look_is_looked_at_once() -> None:
    assert planned_looks(16, 4) == (16,)
    assert planned_looks(17, 4) == (16, 17)
    assert planned_looks(128, 4) == (16, 32, 64, 128)
    assert confidence_at_each(0.95, 1) == pytest.approx(0.95)
    assert confidence_at_each(0.95, 4) == pytest.approx(0.9875)


def errs_somewhere(draws: np.ndarray, looks: tuple[int, ...], confidence: float) -> bool:
    """Whether any look's interval misses the true mean, zero."""
    for look in looks:
        found = token_mean(draws[:look], [1] * look, confidence)
        if not found.lower <= 0 <= found.upper:
            return True
    return False


@pytest.mark.parametrize("tails", [None, 4])
def test_stopping_at_any_look_errs_no_more_often_than_promised(tails: int | None) -> None:
    generator = np.random.default_rng(0)
    looks, runs = planned_looks(128, 4), 600
    draws = generator.standard_t(tails, (runs, 128)) if tails else generator.standard_normal((runs, 128))
    spent = confidence_at_each(0.95, len(looks))
    misses = sum(errs_somewhere(row, looks, spent) for row in draws) / runs
    peeking = sum(errs_somewhere(row, looks, 0.95) for row in draws) / runs
    assert misses <= 0.05
    assert peeking > 0.08


def around(mean: float, reach: float) -> Estimate:
    return Estimate(mean=mean, lower=mean - reach, upper=mean + reach)


@pytest.mark.parametrize(
    ("improvement", "decided"),
    [
        (around(0.0, 0.001), True),  # surely worthless
        (around(0.001, 0.0005), True),  # surely an improvement, and surely too small
        (around(-0.5, 0.3), True),  # surely harmful
        (around(0.1, 0.02), True),
        (around(0.1, 0.09), True),
        (around(0.001, 0.01), False),
        (around(0.01, 0.02), False),
    ],
)
def test_a_look_suffices_when_more_would_change_no_verdict(improvement: Estimate, decided: bool) -> None:
    assert is_decided(improvement) is decided
