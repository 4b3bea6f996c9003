"""Confidence intervals against scipy's own and against what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hivetune.statistics import token_mean

NATS = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20)


@given(NATS, st.integers(1, 500), st.sampled_from([0.8, 0.95, 0.99]))
def test_equal_batches_give_the_plain_t_interval(nats: list[float], tokens: int, confidence: float) -> None:
    found = token_mean(nats, [tokens] * len(nats), confidence)
    per_token = np.array(nats) / tokens
    error = stats.sem(per_token)
    tolerance = 1e-9 * (1 + np.abs(per_token).max())
    assert found.mean == pytest.approx(per_token.mean(), abs=tolerance)
    lower, upper = (
        stats.t.interval(confidence, len(nats) - 1, per_token.mean(), error) if error > 0 else (per_token.mean(),) * 2
    )
    assert found.lower == pytest.approx(lower, abs=1e3 * tolerance)
    assert found.upper == pytest.approx(upper, abs=1e3 * tolerance)


@given(NATS, st.data())
def test_the_mean_weighs_tokens_not_batches(nats: list[float], data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(1, 100), min_size=len(nats), max_size=len(nats)))
    found = token_mean(nats, tokens, 0.95)
    assert found.mean == pytest.approx(sum(nats) / sum(tokens), abs=1e-9)
    assert found.lower <= found.mean <= found.upper


def test_one_batch_proves_nothing_and_stays_finite() -> None:
    found = token_mean([5.0], [10], 0.95)
    assert found.mean == 0.5
    assert found.lower < -1e300 < 1e300 < found.upper
    assert np.isfinite([found.lower, found.upper]).all()


def test_batches_that_agree_leave_no_doubt() -> None:
    found = token_mean([10.0, 20.0, 40.0], [10, 20, 40], 0.95)
    assert found.lower == found.mean == found.upper == 1.0


def test_more_confidence_takes_a_wider_interval() -> None:
    nats, tokens = [1.0, 4.0, 2.0, 8.0], [3, 5, 4, 6]
    widths = [
        (found := token_mean(nats, tokens, confidence)).upper - found.lower for confidence in (0.8, 0.9, 0.95, 0.99)
    ]
    assert widths == sorted(widths)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth, covered, trials = 0.03, 0, 2000
    for _ in range(trials):
        tokens = generator.integers(60, 140, size=16)
        nats = truth * tokens + generator.normal(0, 3.0, size=16)
        found = token_mean(nats, tokens.tolist(), 0.95)
        covered += found.lower <= truth <= found.upper
    assert 0.935 < covered / trials < 0.965
