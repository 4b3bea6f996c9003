"""Strangers' words cannot forge a log line, drive a terminal or spoil a receipt."""

import pytest

from hivetune.errors import RejectedSubmission
from hivetune.printable import printable
from hivetune.records import MergeOutcome


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("header of 5 bytes, want 8", "header of 5 bytes, want 8"),
        ("née 鼠", "née 鼠"),
        ("a\nE forged: line", "a\\nE forged: line"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\ud800", "\\ud800"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\0", "\\x00"),
        ("", ""),
    ],
)
def test_what_cannot_be_shown_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_words_are_cut() -> None:
    assert printable("x" * 10_000, 20) == "x" * 20


def test_a_rejections_detail_can_stand_in_a_record() -> None:
    """A receipt with half a surrogate pair in it can be written, but never read again."""
    detail = RejectedSubmission("wrong_shape", "\ud800" + "x" * 1000).detail
    outcome = MergeOutcome(round_id=1, published=False, reason=detail, report=None)
    assert MergeOutcome.parse(outcome.to_bytes()) == outcome
    assert len(detail) < 400
