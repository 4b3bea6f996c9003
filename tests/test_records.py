"""Records: one byte form each, a stable digest, and a parser that takes nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hivetune.records import (
    AdapterLayout,
    BadRecord,
    Contribution,
    Entry,
    FileEntry,
    MergeOutcome,
    MergeReport,
    Receipt,
    Record,
    Release,
    Target,
)
from tests.conftest import make_plan, make_scoring
from tests.conftest import make_release as release_of

TARGET = Target(module="h.0.attn", out_features=6, in_features=2, transposed=True)
LAYOUT = AdapterLayout(rank=4, alpha=8.0, rslora=False, targets=(TARGET,))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS, POSITIVE = st.integers(0, 10**9), st.integers(1, 10**9)
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
REVISIONS = st.binary(min_size=20, max_size=20).map(bytes.hex)
REPOS = st.from_regex(r"[A-Za-z0-9_-]{1,10}/[A-Za-z0-9_-]{1,10}", fullmatch=True)
CONTRIBUTIONS = st.builds(
    Contribution, hotkey=st.text(max_size=48), repo=REPOS, revision=REVISIONS, file_sha256=SHA256, coefficient=FINITE
)
REPORTS = st.builds(
    MergeReport, round_id=COUNTS, beacon=st.text(max_size=66), method=st.sampled_from(["uniform", "momentum"]),
    scale=FINITE, momentum=FINITE, clip=FINITE,
    contributions=st.lists(CONTRIBUTIONS, max_size=2).map(tuple), loss_before=FINITE, loss_after=FINITE,
    improvement=FINITE, lower=FINITE, upper=FINITE,
)  # fmt: skip
ENTRIES = st.builds(
    Entry, hotkey=st.text(max_size=48), uid=COUNTS, registered_at=COUNTS, shard=COUNTS,
    verdict=st.sampled_from(["paid", "unpaid", "rejected"]), reason=st.text(max_size=20),
    detail=st.text(max_size=40), repo=st.text(max_size=20), revision=st.text(max_size=40),
    file_sha256=st.text(max_size=64), improvement=st.none() | FINITE, improvement_lower=st.none() | FINITE,
    improvement_upper=st.none() | FINITE, credit=st.none() | FINITE, lower=st.none() | FINITE,
    upper=st.none() | FINITE, norm=st.none() | FINITE, merged=st.booleans(),
    share=st.floats(0, 1), weight=st.floats(0, 1), batch_nats=st.lists(FINITE, max_size=3).map(tuple),
    credit_nats=st.lists(FINITE, max_size=3).map(tuple),
)  # fmt: skip
RECEIPTS = st.builds(
    Receipt, protocol=st.just(1), round_id=COUNTS, validator=st.text(max_size=48), previous=st.none() | SHA256,
    release_sha256=SHA256, beacon=st.text(max_size=66), sequence_ids=st.lists(COUNTS, max_size=3).map(tuple),
    batch_tokens=st.lists(POSITIVE, max_size=3).map(tuple), base_batch_nats=st.lists(FINITE, max_size=3).map(tuple),
    base_loss=FINITE, merged_loss=st.none() | FINITE, completeness_error=st.none() | FINITE,
    nodes=COUNTS, clip=st.floats(0, 1e9), replicate_spread=FINITE,
    missing_earlier=st.lists(SHA256, max_size=2).map(tuple), entries=st.lists(ENTRIES, max_size=2).map(tuple),
)  # fmt: skip
OUTCOMES = st.builds(
    MergeOutcome, round_id=COUNTS, published=st.booleans(), reason=st.text(max_size=20), report=st.none() | REPORTS
)


def make_release() -> Release:
    return release_of(LAYOUT)


def changed(record: Record, path: str, value: Any) -> bytes:
    """The record's bytes with one field replaced; the path's parts are names and indices."""
    fields = json.loads(record.to_bytes())
    *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = fields
    for part in parts:
        inner = inner[part]
    inner[last] = value
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@settings(max_examples=60)
@given(st.one_of(REPORTS, RECEIPTS, OUTCOMES))
def test_records_survive_their_bytes(record: Record) -> None:
    assert type(record).parse(record.to_bytes()) == record


@settings(max_examples=60)
@given(st.one_of(RECEIPTS, OUTCOMES))
def test_bytes_are_canonical(record: Record) -> None:
    data = record.to_bytes()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


@settings(max_examples=60)
@given(st.one_of(RECEIPTS, OUTCOMES))
def test_no_other_form_is_taken(record: Record) -> None:
    """Two forms of one record would have two digests, and a name that stands twice two meanings."""
    data = record.to_bytes()
    fields = json.loads(data)
    shuffled = json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode()
    twice = data[:-1] + b',"round_id":0}'
    for other in (shuffled, twice, data + b" ", json.dumps(fields, sort_keys=True).encode()):
        with pytest.raises(BadRecord, match="canonical"):
            type(record).parse(other)


def test_a_release_survives_its_bytes_and_its_digest_is_known() -> None:
    release = make_release()
    assert Release.parse(release.to_bytes()) == release
    entry = FileEntry(path="a.txt", size=1, sha256="0" * 64)
    assert entry.to_bytes() == b'{"path":"a.txt","sha256":"' + b"0" * 64 + b'","size":1}'
    assert entry.digest() == "9ea4403bc8de2410b59d1fa6fdcdc6fb1a1049ccdf2b7567c8c7cb8d3b77f596"


def test_a_million_bad_items_give_one_error() -> None:
    """Each error would keep a kilobyte: a receipt within the limits of a download would stop whoever reads it."""
    release = make_release()
    for path, items in (("files", [{}]), ("layout.targets", [0]), ("layout.targets", [{}])):
        with pytest.raises(BadRecord) as caught:
            Release.parse(changed(release, path, items * 100_000))
        assert isinstance(caught.value.__context__, ValidationError)
        assert caught.value.__context__.error_count() <= 8
    with pytest.raises(BadRecord, match="unknown") as caught:
        Release.parse(changed(release, "\x1b[2J", 0))
    assert str(caught.value).isprintable()


def test_an_unknown_field_is_refused_at_every_depth() -> None:
    release = make_release()
    for path in ("extra", "rounds.extra", "data.train.extra", "layout.targets.0.extra"):
        with pytest.raises(BadRecord, match="unknown or repeated fields"):
            Release.parse(changed(release, path, 1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("protocol", 2), ("protocol", "1"), ("number", "0"), ("number", 0.5), ("number", -1), ("number", True),
        ("code_version", 1), ("rounds.deadline", "8"), ("rounds.deadline", 0), ("layout.rank", 0),
        ("layout.alpha", "8"), ("layout.alpha", 0), ("layout.rslora", 0), ("layout.targets", []),
        ("layout.targets.0.module", "a/b"), ("data.revision", "main"), ("data.revision", "D" * 40),
        ("data.repo", "corpus"), ("data.train.sha256", "0" * 63), ("data.sequence_length", 1),
        ("scoring.confidence", 1.0), ("scoring.max_norm_ratio", 1), ("files", None), ("merge", {}),
    ],
)  # fmt: skip
def test_wrong_types_and_values_are_refused(path: str, value: object) -> None:
    with pytest.raises(BadRecord, match="Release: "):
        Release.parse(changed(make_release(), path, value))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    data = make_release().to_bytes().replace(b'"alpha":8.0', b'"alpha":' + text.encode())
    with pytest.raises(BadRecord):
        Release.parse(data)
    with pytest.raises(ValidationError):
        make_scoring(max_relative_norm=float(text))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 5000, b'{"protocol":1}'])
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(BadRecord):
        Release.parse(data)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../x", "a/..", "./x", "a//x", "a/", ".hidden", "a/.hidden", "a\\x", "C:x", "x\n",
     "x\0", "a b", "ä", "x" * 201],
)  # fmt: skip
def test_file_names_that_could_leave_their_folder_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        FileEntry(path=path, size=1, sha256="0" * 64)


@pytest.mark.parametrize("path", ["config.json", "data/train-00000-of-00001.parquet", "a/b/c", "model..safetensors"])
def test_plain_file_names_are_taken(path: str) -> None:
    assert FileEntry(path=path, size=1, sha256="0" * 64).path == path


@pytest.mark.parametrize("repo", ["../..", "a/..", "../b"])
def test_a_record_takes_no_repository_that_a_commitment_refuses(repo: str) -> None:
    with pytest.raises(BadRecord):
        Release.parse(changed(make_release(), "data.repo", repo))


def test_records_are_frozen() -> None:
    plan = make_plan()
    with pytest.raises(ValidationError, match="frozen"):
        plan.deadline = 9  # type: ignore[misc]
    assert hash(plan) == hash(make_plan())
