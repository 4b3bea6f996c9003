"""A receipt that differs from the round scored again is caught at its first lie, whatever the lie is about."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivetune.records import Entry, Receipt
from validator.receipt_check import first_difference, unrepeatable


def entry(hotkey: str = "5Alice", **changes: object) -> Entry:
    fields: dict[str, Any] = {
        "hotkey": hotkey, "uid": 3, "registered_at": 90, "shard": 5, "verdict": "paid", "reason": "",
        "detail": "", "repo": "alice/adapters",
        "revision": "a" * 40, "file_sha256": "b" * 64, "improvement": 0.24, "improvement_lower": 0.2,
        "improvement_upper": 0.28, "credit": 0.13, "lower": 0.1, "upper": 0.16, "norm": 0.05, "merged": True,
        "share": 1.0, "weight": 1.0, "batch_nats": (400.0, 410.0), "credit_nats": (16.5, 16.6),
    }  # fmt: skip
    return Entry.model_validate(fields | changes)


def receipt(*entries: Entry, **changes: object) -> Receipt:
    fields: dict[str, Any] = {
        "protocol": 1, "round_id": 7, "validator": "5Val", "previous": "c" * 64, "release_sha256": "d" * 64,
        "beacon": "0xab", "sequence_ids": (4, 1), "batch_tokens": (127, 127), "base_batch_nats": (430.0, 440.0),
        "base_loss": 3.4, "merged_loss": 3.1, "completeness_error": 0.001, "nodes": 2, "clip": 3.5,
        "replicate_spread": 1e-7,
        "missing_earlier": (), "entries": entries or (entry(),),
    }  # fmt: skip
    return Receipt.model_validate(fields | changes)


def test_the_same_round_scored_again_differs_in_nothing() -> None:
    assert first_difference(receipt(), receipt()) == ""


def test_rounding_is_no_lie() -> None:
    near = receipt(entry(credit=0.13001, weight=0.99999, batch_nats=(400.01, 409.99)), base_loss=3.40001)
    assert first_difference(receipt(), near) == ""


LIES: dict[str, object] = {
    "release_sha256": "e" * 64, "beacon": "0xac", "sequence_ids": (1, 4), "batch_tokens": (127, 126),
    "base_batch_nats": (430.0, 441.0), "base_loss": 3.5, "merged_loss": None, "completeness_error": 0.01,
    "nodes": 4, "clip": 3.6, "replicate_spread": 0.001,
}  # fmt: skip
LIES_OF_ENTRY: dict[str, object] = {
    "uid": 4, "registered_at": 91, "shard": 6, "verdict": "unpaid", "reason": "harmful",
    "repo": "bob/adapters", "file_sha256": "c" * 64,
    "improvement": 0.25, "improvement_lower": 0.19, "improvement_upper": None, "credit": 0.14, "lower": 0.11,
    "upper": 0.17, "norm": 0.06, "merged": False, "share": 0.9, "weight": 0.9,
    "batch_nats": (400.0, 411.0), "credit_nats": (16.5, 16.7),
}  # fmt: skip


@pytest.mark.parametrize("field", LIES)
def test_a_lie_about_the_round_is_named(field: str) -> None:
    assert first_difference(receipt(**{field: LIES[field]}), receipt()).startswith(f"{field} ")


@pytest.mark.parametrize("field", LIES_OF_ENTRY)
def test_a_lie_about_a_submission_is_named(field: str) -> None:
    lying = receipt(entry("5Bob"), entry(**{field: LIES_OF_ENTRY[field]}))
    assert first_difference(lying, receipt(entry("5Bob"), entry())).startswith(f"5Alice: {field} ")


@given(st.sampled_from(["improvement", "credit", "lower", "weight"]), st.floats(0.001, 10))
def test_no_number_can_be_moved_by_more_than_rounding(field: str, by: float) -> None:
    honest = entry()
    lying = honest.model_copy(update={field: getattr(honest, field) + by})
    assert field in first_difference(receipt(lying), receipt(honest))


def test_entries_made_up_and_left_out_are_named() -> None:
    assert "5Bob has an entry, but made no submission" in first_difference(receipt(entry(), entry("5Bob")), receipt())
    assert "5Bob made a submission, but has no entry" in first_difference(receipt(), receipt(entry(), entry("5Bob")))


def test_what_the_hub_showed_then_is_left_out_and_still_earns_nothing() -> None:
    gone = entry("5Bob", verdict="rejected", reason="not_revealed", weight=0.0)
    assert unrepeatable(receipt(entry(), gone)) == {"5Bob"}
    assert first_difference(receipt(entry(), gone), receipt()) == ""
    favoured = gone.model_copy(update={"weight": 0.5})
    assert "5Bob: weight 0.5" in first_difference(receipt(entry(), favoured), receipt())
