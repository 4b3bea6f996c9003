"""A few batches measured again: a true receipt is repeated, a lie in a drawn batch is named, one elsewhere is not."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from hivetune.dora import Factors
from hivetune.evaluation import Batch
from hivetune.model import BaseModel
from hivetune.records import Receipt
from hivetune.round_text import RoundText
from tests.test_intake import NOW, Fair
from validator.receipt_check import first_difference
from validator.receipt_sample import repeat_batches
from validator.receipts import Registration
from validator.round_scoring import Admitted, RoundInputs, score_round

DRAWN = [1, 3]


def say(_activity: str) -> None:
    """Nobody listens."""


@pytest.fixture
def admitted(
    tmp_path: Path, llama: BaseModel, trained: Mapping[str, Mapping[str, Factors]], batches: list[Batch]
) -> Admitted:
    """A round of the three who trained, one who did not, and one who came late."""
    fair = Fair(tmp_path, llama)
    for hotkey, factors in trained.items():
        fair.enter(hotkey, factors)
    fair.honest("late", seed=7, block=NOW.deadline + 1)
    fair.honest("noise", seed=8)
    inputs = RoundInputs(
        located=fair.located, now=NOW, beacon="0xab", commitments=fair.commitments,
        registrations={hotkey: Registration(uid=uid, block=3) for uid, hotkey in enumerate(fair.commitments)},
    )  # fmt: skip
    return Admitted(
        inputs=inputs, base=llama, weights=fair.weights, candidates=list(fair.collect().values()), missing_earlier=(),
        text=RoundText(sequence_ids=tuple(range(6 * len(batches))), batches=batches),
    )  # fmt: skip


@pytest.fixture
def receipt(admitted: Admitted) -> Receipt:
    return score_round(admitted, validator="5Val", previous=None, earlier=[], measured={}, say=say)


def lie(receipt: Receipt, liar: str, **changes: object) -> Receipt:
    entries = [entry.model_copy(update=changes) if entry.hotkey == liar else entry for entry in receipt.entries]
    return receipt.model_copy(update={"entries": tuple(entries)})


def moved(values: tuple[float, ...], index: int) -> tuple[float, ...]:
    return (*values[:index], values[index] + 0.5, *values[index + 1 :])


def test_a_true_receipt_is_found_true_and_a_lie_only_where_it_is_looked_for(
    admitted: Admitted, receipt: Receipt
) -> None:
    verdicts = {entry.hotkey: entry.reason or entry.verdict for entry in receipt.entries}
    assert verdicts.pop("noise") in ("not_proven", "harmful")
    assert verdicts == {"honest-0": "paid", "honest-1": "paid", "honest-2": "paid", "late": "late"}
    assert first_difference(receipt, repeat_batches(receipt, admitted, DRAWN, say)) == ""
    (paid, *_) = [entry for entry in receipt.entries if entry.verdict == "paid"]
    for field in ("batch_nats", "credit_nats"):
        for index in range(5):
            lying = lie(receipt, paid.hotkey, **{field: moved(getattr(paid, field), index)})
            found = first_difference(lying, repeat_batches(lying, admitted, DRAWN, say))
            assert found.startswith(f"{paid.hotkey}: {field} ") == (index in DRAWN)


@pytest.mark.parametrize(
    ("hotkey", "changes", "named"),
    [
        ("late", {"verdict": "paid", "reason": "", "weight": 0.1}, "late: verdict paid, repeated rejected"),
        ("honest-1", {"verdict": "rejected", "reason": "duplicate"}, "honest-1: verdict rejected, repeated unpaid"),
        ("honest-1", {"norm": 0.5}, "honest-1: norm 0.5"),
        ("honest-1", {"registered_at": 4}, "honest-1: registered_at 4"),
        ("honest-1", {"hotkey": "made-up"}, "made-up has an entry"),
    ],
)
def test_what_is_judged_before_any_batch_is_repeated_whole(
    admitted: Admitted, receipt: Receipt, hotkey: str, changes: dict[str, object], named: str
) -> None:
    lying = lie(receipt, hotkey, **changes)
    assert first_difference(lying, repeat_batches(lying, admitted, DRAWN, say)).startswith(named)


def test_lies_about_the_base_and_the_draw_are_named(admitted: Admitted, receipt: Receipt) -> None:
    for field, value in {
        "base_batch_nats": moved(receipt.base_batch_nats, 3),
        "sequence_ids": receipt.sequence_ids[::-1],
        "beacon": "0xcd",
    }.items():
        lying = receipt.model_copy(update={field: value})
        assert first_difference(lying, repeat_batches(lying, admitted, DRAWN, say)).startswith(field)
