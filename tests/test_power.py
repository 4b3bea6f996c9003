"""Tokens that a decision costs: the formula against what happens to drawn differences."""

import numpy as np
import pytest

from hivetune.statistics import token_mean
from tests.conftest import make_scoring
from tests.test_receipt_check import entry, receipt
from validator.power import power_of, tokens_needed, variance_per_token

TOKENS = 127  # of a batch
SPREAD = 0.9  # nats, standard deviation of a batch's difference


def differences(batches: int, delta: float, seed: int) -> list[float]:
    generator = np.random.default_rng(seed)
    return list(delta * TOKENS + SPREAD * generator.standard_normal(batches))


def test_the_variance_is_that_of_the_mean_times_its_tokens() -> None:
    variance = variance_per_token(differences(4000, 0.01, 0), [TOKENS] * 4000)
    assert variance == pytest.approx(SPREAD**2 / TOKENS, rel=0.1)


def test_what_is_alike_within_a_batch_costs_as_many_times_more_text() -> None:
    """A batch of two copies of one sequence tells no more than the sequence."""
    nats = differences(500, 0.0, 1)
    doubled = variance_per_token([2 * value for value in nats], [2 * TOKENS] * 500)
    assert doubled == pytest.approx(2 * variance_per_token(nats, [TOKENS] * 500))


def test_with_the_tokens_that_are_named_the_difference_is_found_as_often_as_wanted() -> None:
    delta, confidence, power = 0.002, 0.95, 0.8
    batches = -(-tokens_needed(SPREAD**2 / TOKENS, delta, confidence, power) // TOKENS)
    runs = 2000
    found = sum(
        token_mean(differences(batches, delta, seed), [TOKENS] * batches, confidence).lower > 0 for seed in range(runs)
    )
    assert found / runs == pytest.approx(power, abs=0.03)


def test_a_receipt_s_losses_and_credits_are_what_it_reckons_with() -> None:
    batches, tokens = 48, (TOKENS,) * 48
    generator = np.random.default_rng(2)
    base = 400 + 20 * generator.standard_normal(batches)
    better, best = (base - 20 - width * generator.standard_normal(batches) for width in (1.0, 2.0))
    told = receipt(
        entry("5Alice", batch_nats=tuple(better), credit_nats=tuple(10 + generator.standard_normal(batches))),
        entry("5Bob", batch_nats=tuple(best[:16]), credit_nats=()),
        entry("5Carol", verdict="rejected", reason="late", batch_nats=(), credit_nats=()),
        batch_tokens=tokens, sequence_ids=tuple(range(batches)), base_batch_nats=tuple(base),
    )  # fmt: skip
    found = power_of(told, make_scoring(batch_sequences=1), 0.01, 0.8)
    assert {one.name: one.cases for one in found.decisions} == {
        "credit in the merge": 1,
        "alone, against the base": 2,
        "one paid against another": 1,
        "a loss without a pair": 1,
    }
    alone, unpaired = found.decisions[1], found.decisions[3]
    assert alone.tokens < alone.tokens_of_worst < unpaired.tokens / 20
    worst = variance_per_token(list(base[:16] - best[:16]), tokens[:16])
    assert alone.tokens_of_worst == tokens_needed(worst, 0.01, found.confidence, 0.8)
    assert alone.smallest_told == pytest.approx(0.01 * (alone.tokens / sum(tokens)) ** 0.5, rel=0.01)


def test_a_stranger_s_receipt_with_more_batches_than_there_are_breaks_nothing() -> None:
    long = receipt(entry(credit_nats=(1.0, 2.0, 3.0, 4.0)))
    assert {one.name: one.cases for one in power_of(long, make_scoring(), 0.01, 0.8).decisions}[
        "credit in the merge"
    ] == 1


def test_a_round_without_submissions_still_tells_what_unpaired_losses_cost() -> None:
    nobody = receipt(entries=(), batch_tokens=(9, 9), base_batch_nats=(20.0, 22.0))
    assert [one.name for one in power_of(nobody, make_scoring(), 0.01, 0.8).decisions] == ["a loss without a pair"]
