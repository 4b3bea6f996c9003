"""A receipt whose numbers do not follow from each other is caught without a model."""

from collections.abc import Sequence

import numpy as np
import pytest

from hivetune.records import BadRecord, Entry, Receipt
from hivetune.statistics import token_mean
from tests.conftest import make_scoring
from tests.test_receipt_check import entry, receipt
from validator.pay import Earlier
from validator.receipt_arithmetic import first_contradiction

PLAN = make_scoring(batch_sequences=4)
BATCHES = 40  # looks after 16, 32 and 40
TOKENS = (508,) * BATCHES
GENERATOR = np.random.default_rng(0)
BASE = tuple((1700 + 60 * GENERATOR.standard_normal(BATCHES)).tolist())
CONFIDENCE = 1 - 0.05 / 3


def measured(hotkey: str, gain: float, credit: float, looks: tuple[int, int], **changes: object) -> Entry:
    """Of so many nats a batch."""
    gains = gain + 5 * GENERATOR.standard_normal(looks[0])
    nats = tuple((np.array(BASE[: looks[0]]) - gains).tolist())
    credits = tuple((credit + 3 * GENERATOR.standard_normal(looks[1])).tolist())
    alone = token_mean(np.array(BASE[: looks[0]]) - np.array(nats), TOKENS[: looks[0]], CONFIDENCE)
    inside = token_mean(credits, TOKENS[: looks[1]], CONFIDENCE)
    return entry(
        hotkey, batch_nats=nats, credit_nats=credits, improvement=alone.mean, improvement_lower=alone.lower,
        improvement_upper=alone.upper, credit=inside.mean, lower=inside.lower, upper=inside.upper, **changes,
    )  # fmt: skip


def paid(entries: Sequence[Entry]) -> list[Entry]:
    total = sum(one.credit or 0 for one in entries)
    return [one.model_copy(update={"share": one.credit / total, "weight": one.credit / total}) for one in entries]  # type: ignore[operator]


ALICE, BOB = paid([measured("5Alice", 30, 20, (16, 40)), measured("5Bob", 20, 10, (32, 40))])
CAROL = measured("5Carol", -20, -10, (16, 16), verdict="unpaid", reason="harmful", merged=False, share=0.0, weight=0.0)
DAVE = entry(
    "5Dave", verdict="rejected", reason="late", batch_nats=(), credit_nats=(), improvement=None, improvement_lower=None,
    improvement_upper=None, credit=None, lower=None, upper=None, merged=False, share=0.0, weight=0.0,
)  # fmt: skip
TRUE = receipt(
    ALICE, BOB, CAROL, DAVE, batch_tokens=TOKENS, base_batch_nats=BASE, base_loss=sum(BASE) / sum(TOKENS),
    merged_loss=sum(BASE) / sum(TOKENS) - (ALICE.credit + BOB.credit) / 1.01, completeness_error=0.01,  # type: ignore[operator]
)  # fmt: skip


def with_entry(changed: Entry) -> Receipt:
    entries = tuple(changed if one.hotkey == changed.hotkey else one for one in TRUE.entries)
    return TRUE.model_copy(update={"entries": entries})


def test_a_true_receipt_contradicts_itself_nowhere() -> None:
    assert first_contradiction(TRUE, PLAN, []) == ""


@pytest.mark.parametrize(
    "field", ["improvement", "improvement_lower", "improvement_upper", "credit", "lower", "upper", "share", "weight"]
)
@pytest.mark.parametrize("one", [ALICE, BOB, CAROL])
def test_a_number_that_is_moved_is_named(one: Entry, field: str) -> None:
    moved = one.model_copy(update={field: getattr(one, field) + 1e-4})
    assert first_contradiction(with_entry(moved), PLAN, []).startswith(f"{one.hotkey}: {field} ")


@pytest.mark.parametrize("field", ["batch_nats", "credit_nats"])
def test_a_batch_that_is_moved_moves_what_follows_from_it(field: str) -> None:
    values = getattr(ALICE, field)
    moved = ALICE.model_copy(update={field: (values[0] + 1, *values[1:])})
    assert first_contradiction(with_entry(moved), PLAN, []).startswith("5Alice: ")
    cut = ALICE.model_copy(update={field: values[:-1]})
    assert "looks are after 16, 32, 40" in first_contradiction(with_entry(cut), PLAN, [])


def test_numbers_without_a_measurement_are_named() -> None:
    made_up = DAVE.model_copy(update={"credit": 0.1, "lower": 0.05, "upper": 0.15})
    assert first_contradiction(with_entry(made_up), PLAN, []) == "5Dave: credit 0.1, its batches give None"


def test_a_verdict_that_its_bounds_do_not_bear_is_named() -> None:
    friend = CAROL.model_copy(update={"verdict": "paid", "reason": ""})
    assert "5Carol: paid with a lower bound of -" in first_contradiction(with_entry(friend), PLAN, [])
    enemy = ALICE.model_copy(update={"verdict": "unpaid", "reason": "not_proven"})
    assert "5Alice: not_proven with a lower bound of 0." in first_contradiction(with_entry(enemy), PLAN, [])


def test_weights_follow_from_earlier_shares_too() -> None:
    before = [Earlier(deadline=100, receipt=receipt(entry(share=1.0), round_id=6))]
    assert first_contradiction(TRUE, PLAN, before).startswith("5Alice: weight ")


def test_numbers_that_would_hold_up_whoever_reads_them_are_named() -> None:
    """A billion nodes would be computed; batches without tokens, and shares below zero, lead to a division by zero."""
    assert first_contradiction(TRUE.model_copy(update={"nodes": 10**9}), PLAN, []).startswith("nodes 1000000000")
    with pytest.raises(BadRecord, match="batch_tokens"):
        Receipt.parse(TRUE.model_copy(update={"batch_tokens": (0, *TOKENS[1:])}).to_bytes())
    with pytest.raises(BadRecord, match="share"):
        Receipt.parse(with_entry(ALICE.model_copy(update={"share": -0.5})).to_bytes())


def test_completeness_follows_from_the_credits_of_the_merge() -> None:
    moved = TRUE.model_copy(update={"completeness_error": 0.001})
    assert first_contradiction(moved, PLAN, []).startswith("completeness_error 0.001, its credits give")


def test_the_base_s_loss_is_that_of_its_batches() -> None:
    assert "base_loss 9.0" in first_contradiction(TRUE.model_copy(update={"base_loss": 9.0}), PLAN, [])
    short = TRUE.model_copy(update={"base_batch_nats": BASE[:-1]})
    assert first_contradiction(short, PLAN, []) == "base_batch_nats has 39 batches, batch_tokens 40"
