"""Receipts hang together by their digests: a flipped byte anywhere is found, from the chain's pointer backwards."""

from dataclasses import dataclass

import pytest

from hivetune.commitments import ReceiptPointer
from hivetune.errors import HivetuneError
from hivetune.records import Receipt, receipt_path
from hub.client import NotOnHub
from neurons.receipt_chain import receipts_back, receipts_before
from tests.test_receipt_check import receipt

ROUNDS = (3, 4, 6)  # the validator was away in round 5


@dataclass
class Shelf:
    """A repository with nothing but receipts."""

    files: dict[str, bytes]

    def read_bytes(self, repo: str, revision: str, path: str, *, max_bytes: int) -> bytes:
        if path not in self.files:
            raise NotOnHub(f"{repo} has no {path}")
        return self.files[path]


@pytest.fixture
def chained() -> tuple[Shelf, ReceiptPointer]:
    shelf, previous = Shelf({}), None
    last: Receipt | None = None
    for round_id in ROUNDS:
        last = receipt(round_id=round_id, previous=previous)
        shelf.files[receipt_path(round_id)] = last.to_bytes()
        previous = last.digest()
    assert last is not None
    pointer = ReceiptPointer(round_id=6, receipt_sha256=last.digest(), revision="a" * 40, repo="v/receipts")
    return shelf, pointer


def test_receipts_come_newest_first_and_rounds_away_are_passed_over(chained: tuple[Shelf, ReceiptPointer]) -> None:
    shelf, pointer = chained
    assert [found.round_id for found in receipts_back(shelf, "5Val", pointer, 0)] == [6, 4, 3]
    newest, fourth = receipts_back(shelf, "5Val", pointer, 4)
    assert [newest.round_id, fourth.round_id] == [6, 4]
    assert [found.round_id for found in receipts_before(shelf, "5Val", pointer, newest, 4)] == [4]
    assert [found.round_id for found in receipts_before(shelf, "5Val", pointer, fourth, 0)] == [3]


def test_a_flipped_byte_anywhere_is_found(chained: tuple[Shelf, ReceiptPointer]) -> None:
    shelf, pointer = chained
    for path, data in shelf.files.items():
        for index in range(0, len(data), 7):
            flipped = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
            with pytest.raises(HivetuneError, match="has sha256"):
                list(receipts_back(Shelf({**shelf.files, path: flipped}), "5Val", pointer, 0))


def test_a_receipt_that_the_chain_names_and_nobody_can_read_is_a_break(chained: tuple[Shelf, ReceiptPointer]) -> None:
    shelf, pointer = chained
    del shelf.files[receipt_path(6)]
    with pytest.raises(HivetuneError, match="no receipt of round 6"):
        list(receipts_back(shelf, "5Val", pointer, 0))


def test_a_receipt_under_another_round_s_name_is_a_break(chained: tuple[Shelf, ReceiptPointer]) -> None:
    shelf, pointer = chained
    shelf.files[receipt_path(5)] = shelf.files[receipt_path(4)]
    with pytest.raises(HivetuneError, match="round 5 is of round 4"):
        list(receipts_back(shelf, "5Val", pointer, 0))


def test_a_validator_that_points_to_anothers_receipt_is_named(chained: tuple[Shelf, ReceiptPointer]) -> None:
    """Otherwise whoever copies weights could copy the account of them too, and be found true."""
    shelf, pointer = chained
    with pytest.raises(HivetuneError, match="is of 5Val, and 5Copier points to it"):
        list(receipts_back(shelf, "5Copier", pointer, 0))
