"""A hundred thousand mutated headers, commitments and records: each is the canonical one or refused by a known word.

The generator is seeded, so that a run is like the one before; a failure names its seed and its bytes.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
import torch

from hivetune.adapter import header_bytes, read_adapter, tensor_shapes
from hivetune.adapter_header import explain_header
from hivetune.commitments import ReceiptPointer, ReleasePointer, SubmissionPointer, pack, unpack
from hivetune.errors import RejectedSubmission
from hivetune.records import AdapterLayout, BadRecord, Entry, MergeOutcome, Receipt, Record, Target
from tests.conftest import make_release
from tests.hostile_corpus import CORPUS, LENGTHS
from tests.hostile_files import LAYOUT, STAMP, good_file
from tests.mutations import changed_bytes, changed_json, written

Answer = TypeVar("Answer")

HEADERS, FILES, COMMITMENTS, RECORDS = 60_000, 3_000, 60_000, 21_000
SEED = 20260101
HEADER = header_bytes(LAYOUT, STAMP)
SHAPES = tensor_shapes(LAYOUT)
METADATA = json.loads(HEADER[8:])["__metadata__"]
HEADER_REASONS = {
    "not_safetensors", "bad_header", "wrong_owner", "wrong_round", "wrong_release", "bad_name", "extra_tensor",
    "missing_tensor", "wrong_dtype", "wrong_shape", "bad_offsets",
}  # fmt: skip
FILE_REASONS = HEADER_REASONS | {"wrong_size", "not_finite", "negative_magnitude"}
POINTERS = (
    SubmissionPointer(round_id=7, release_prefix="ab" * 8, file_sha256="cd" * 32, repo="alice/adapters"),
    ReleasePointer(number=7, manifest_sha256="ab" * 32, revision="cd" * 20, repo="owner/releases"),
    ReceiptPointer(round_id=7, receipt_sha256="ab" * 32, revision="cd" * 20, repo="validator/receipts"),
)


def run(executions: int, make: Callable[[Random], bytes], check: Callable[[bytes], None], seed: int = SEED) -> None:
    random = Random(seed)
    for number in range(executions):
        data = make(random)
        try:
            check(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, its bytes must be told
            pytest.fail(f"seed {seed}, execution {number}, bytes {data.hex()}: {type(error).__name__}: {error}")


def reason_or(action: Callable[[], Answer]) -> Answer | str:
    """What it returns, or the word it refuses with; anything else it raises passes through."""
    try:
        return action()
    except (RejectedSubmission, BadRecord) as refused:
        fault = "" if str(refused).isprintable() and len(str(refused)) < 1000 else "unprintable "
        return fault + getattr(refused, "reason", "BadRecord")


def mutated_header(random: Random) -> bytes:
    kind = random.random()
    if kind < 0.5:
        text = written(changed_json(json.loads(HEADER[8:]), random), random)
        text += b" " * (-len(text) % 8)
    else:
        text = changed_bytes(HEADER[8:], random)
    length = len(text) if kind < 0.95 else random.choice((0, len(text) - 1, len(text) + 8, 2**32, 2**63))
    return length.to_bytes(8, "little") + text


def test_mutated_headers() -> None:
    seen = set()

    def check(data: bytes) -> None:
        if data == HEADER:
            return
        reason = reason_or(lambda: explain_header(io.BytesIO(data), SHAPES, METADATA, len(HEADER)))
        assert reason in HEADER_REASONS
        seen.add(reason)

    run(HEADERS, mutated_header, check)
    assert seen >= HEADER_REASONS - {"not_safetensors"}


def test_mutated_files(tmp_path: Path) -> None:
    """Whole files; one that is taken has the canonical header, the exact size and finite numbers."""
    good = good_file(tmp_path)
    starts = [case.make(good) for case in CORPUS if case not in LENGTHS] + 40 * [good.data]
    path = tmp_path / "mutated"
    path.touch()
    taken = 0

    def check(data: bytes) -> None:
        nonlocal taken
        with path.open("r+b") as file:  # kept: making a file anew takes longer than all the rest
            file.write(data)
            file.truncate()
        factors = reason_or(lambda: read_adapter(path, LAYOUT, STAMP))
        if isinstance(factors, str):
            assert factors in FILE_REASONS
            return
        taken += 1
        assert data.startswith(HEADER)
        assert len(data) == len(good.data)
        assert all(bool(torch.isfinite(layer.up_OR).all()) for layer in factors.values())

    run(FILES, lambda random: changed_bytes(random.choice(starts), random), check)
    assert taken  # a changed number is for the file's digest to find


def test_mutated_commitments() -> None:
    packed = [pack(pointer) for pointer in POINTERS]
    taken = 0

    def make(random: Random) -> bytes:
        return changed_bytes(random.choice(packed), random)

    def check(data: bytes) -> None:
        nonlocal taken
        pointer = reason_or(lambda: unpack(data))
        if isinstance(pointer, str):
            assert pointer == "bad_commitment"
            return
        taken += 1
        assert pack(pointer) == data

    run(COMMITMENTS, make, check)
    assert taken > COMMITMENTS / 100


def some_records() -> list[Record]:
    target = Target(module="h.0", out_features=6, in_features=2, transposed=True)
    entry = Entry(
        hotkey="5Alice", uid=3, registered_at=7, shard=1, verdict="paid", reason="", detail="", repo="alice/x",
        revision="a" * 40, file_sha256="b" * 64, improvement=0.1,
        improvement_lower=0.05, improvement_upper=0.15, credit=1e-3, lower=1e-4,
        upper=2e-3, norm=0.01, merged=True, share=1.0, weight=1.0, batch_nats=(1.5, 2.25), credit_nats=(0.5, 0.25),
    )  # fmt: skip
    receipt = Receipt(
        protocol=1, round_id=3, validator="5Bob", previous=None, release_sha256="0" * 64, beacon="0x0",
        sequence_ids=(3, 1), batch_tokens=(7, 8), base_batch_nats=(1.0, 2.0), base_loss=2.5, merged_loss=None,
        completeness_error=None, nodes=2, clip=3.5, replicate_spread=1e-7, missing_earlier=(), entries=(entry, entry),
    )  # fmt: skip
    outcome = MergeOutcome(round_id=1, published=False, reason="not_significant", report=None)
    layout = AdapterLayout(rank=4, alpha=8.0, rslora=False, targets=(target,))
    return [receipt, outcome, make_release(layout)]


def test_mutated_records() -> None:
    taken = 0

    def check_as(kind: type[Record]) -> Callable[[bytes], None]:
        def check(data: bytes) -> None:
            nonlocal taken
            record = reason_or(lambda: kind.parse(data))
            if isinstance(record, str):
                assert record == "BadRecord"
                return
            taken += 1
            canonical = json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
            assert data == canonical == record.to_bytes()

        return check

    def make_from(data: bytes) -> Callable[[Random], bytes]:
        def make(random: Random) -> bytes:
            if random.random() < 0.5:
                return changed_bytes(data, random)
            return written(changed_json(json.loads(data), random), random)

        return make

    for record in some_records():
        run(RECORDS // 3, make_from(record.to_bytes()), check_as(type(record)))
    assert taken > RECORDS / 100


def test_there_are_over_a_hundred_thousand_executions() -> None:
    assert HEADERS + FILES + COMMITMENTS + RECORDS >= 100_000
