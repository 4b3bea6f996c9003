"""Reading a subnet from outside: one validator's bad receipt hides no other's."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chain.commitments import Commitment
from hivetune.commitments import ReceiptPointer, pack
from hivetune.records import Receipt
from hub.client import CorruptDownload
from neurons.observer import Observer
from tests.test_selection import make_metagraph

RECEIPT = Receipt(
    protocol=1, round_id=3, validator="honest", previous=None, release_sha256="0" * 64, beacon="0x0", sequence_ids=(),
    batch_tokens=(), base_batch_nats=(), base_loss=1.0, merged_loss=None, completeness_error=None, nodes=0, clip=0.0,
    replicate_spread=0.0, missing_earlier=(), entries=(),
)  # fmt: skip
POINTER = ReceiptPointer(round_id=3, receipt_sha256="", revision="a" * 40, repo="bad/receipts")


@dataclass
class Chain:
    """Everybody's commitments."""

    data: dict[str, bytes]

    def commitments(self) -> dict[str, Commitment]:
        return {hotkey: Commitment(hotkey=hotkey, block=1, data=data) for hotkey, data in self.data.items()}


@dataclass
class Files:
    """One file a repository; None is one that is larger than it may be."""

    data: dict[str, bytes | None]

    def read_bytes(self, repo: str, revision: str, path: str, *, max_bytes: int) -> bytes:
        found = self.data[repo]
        if found is None:
            raise CorruptDownload(f"more than {max_bytes} bytes")
        return found


@pytest.mark.parametrize(
    "bad", [b"", b"{}", b"\xff", b'{"entries":[' + b"{}," * 1000 + b"{}]}", RECEIPT.to_bytes() + b" ", None]
)
@pytest.mark.parametrize("promised", [True, False])
def test_a_receipt_that_cannot_be_read_hides_no_other(bad: bytes | None, promised: bool) -> None:
    good = RECEIPT.to_bytes()
    digest = hashlib.sha256(bad or b"").hexdigest() if promised else "0" * 64
    honest = replace(POINTER, receipt_sha256=hashlib.sha256(good).hexdigest(), repo="honest/receipts")
    chain: Any = Chain({"honest": pack(honest), "bad": pack(replace(POINTER, receipt_sha256=digest)), "m-a": b"\0"})
    files: Any = Files({"honest/receipts": good, "bad/receipts": bad})
    observer = Observer(ledger=chain, hub=files)
    assert observer.receipts(3, make_metagraph({"bad": 2, "honest": 1}, {})) == [RECEIPT]
