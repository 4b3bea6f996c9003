"""An explanation says what the receipts say, names the check that failed, and reckons as the validator does."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from hivetune.records import Entry
from neurons.cli import main
from neurons.explanation import CHECKS, MORE_NATS, Paid, checks_of, explain
from tests.test_receipt_check import entry, receipt
from validator.pay import Earlier

PROTOCOL = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
PAID = Paid(emission={"5Alice": 60.0, "5Bob": 40.0}, consensus={"5Alice": 0.6, "5Bob": 0.4}, to_miners=100.0)


def unpaid(hotkey: str, reason: str, **changes: object) -> Entry:
    return entry(hotkey, verdict="unpaid", reason=reason, share=0.0, weight=0.0, **changes)


ALICE = entry(credit=0.12, lower=0.1, share=0.75, weight=0.75)
BOB = entry("5Bob", credit=0.04, lower=0.01, share=0.25, weight=0.25)
CAROL = unpaid("5Carol", "not_proven", credit=0.01, lower=-0.02)
DAVE = unpaid("5Dave", "wrong_owner", credit=None, lower=None, upper=None)
ROUND = receipt(ALICE, BOB, CAROL, DAVE)


def reasons_of_a_submission() -> set[str]:
    """The words of the protocol's first two tables."""
    _, tables = PROTOCOL.split("## Reasons")
    submissions, _ = tables.split("| no release |")
    return set(re.findall(r"^\| `(\w+)` \|", submissions, re.MULTILINE))


def test_every_reason_belongs_to_one_check() -> None:
    assert sorted(reason for reasons in CHECKS.values() for reason in reasons) == sorted(reasons_of_a_submission())


@pytest.mark.parametrize("reason", sorted(reasons_of_a_submission()))
def test_the_check_that_failed_stands_between_those_passed_and_those_never_made(reason: str) -> None:
    passed = [check.passed for check in checks_of(unpaid("5Carol", reason, file_sha256=""))]
    assert passed.count(False) == 1
    failed = passed.index(False)
    assert all(passed[:failed])
    assert set(passed[failed + 1 :]) <= {None}
    assert reason in list(CHECKS.values())[failed]


def test_a_file_of_another_round_fails_by_its_form_and_not_by_its_commitment() -> None:
    (failed,) = [check.name for check in checks_of(unpaid("5Carol", "wrong_round")) if check.passed is False]
    assert failed == "form"


def test_a_paid_submission_passed_every_check() -> None:
    assert [check.passed for check in checks_of(ALICE)] == [True] * len(CHECKS)


def test_a_step_more_of_credit_is_paid_by_the_validator_s_rule() -> None:
    found = explain("5Alice", [ROUND], ["ab"], [], PAID)
    assert found is not None
    assert found.otherwise is not None
    share = (0.12 + MORE_NATS) / (0.16 + MORE_NATS)
    assert (found.otherwise.share, found.otherwise.weight) == pytest.approx((share, share))
    assert found.otherwise.tokens == pytest.approx(100 * share)
    assert (found.emission, found.consensus) == (60.0, 0.6)


def test_an_unproven_one_is_told_how_much_was_missing_and_what_it_would_have_brought() -> None:
    found = explain("5Carol", [ROUND], ["ab"], [], PAID)
    assert found is not None
    assert found.otherwise is not None
    assert found.otherwise.more_nats == pytest.approx(0.02)
    assert found.otherwise.share == pytest.approx(0.03 / 0.19)


def test_earlier_rounds_count_in_what_would_have_been() -> None:
    before = Earlier(deadline=100, receipt=receipt(ALICE, round_id=6))
    found = explain("5Bob", [ROUND], ["ab"], [before], None)
    assert found is not None
    assert found.earlier_shares == {6: 0.0}
    assert found.otherwise is not None
    share = (0.04 + MORE_NATS) / (0.16 + MORE_NATS)
    alice = (0.12 / (0.16 + MORE_NATS) + 0.75) / 2
    assert found.otherwise.weight == pytest.approx(share / 2 / (share / 2 + alice))
    assert found.otherwise.tokens is None


def test_what_never_had_a_credit_has_no_otherwise() -> None:
    found = explain("5Dave", [ROUND], ["ab"], [], PAID)
    assert found is not None
    assert found.otherwise is None
    assert explain("5Nobody", [ROUND], ["ab"], [], PAID) is None


def test_every_validator_has_its_word_and_silence_is_told() -> None:
    other = receipt(BOB, validator="5Other")
    found = explain("5Alice", [ROUND, other], ["ab", "cd"], [], PAID)
    assert found is not None
    assert [(word.validator, word.verdict, word.reason) for word in found.words] == [
        ("5Val", "paid", ""),
        ("5Other", "", "no_entry"),
    ]


def test_flags_before_the_last_word_are_refused_and_not_ignored() -> None:
    run = CliRunner().invoke(main, ["rewards", "--netuid=3", "explain"])
    assert run.exit_code == 2
    assert "--netuid belongs behind" in run.output
