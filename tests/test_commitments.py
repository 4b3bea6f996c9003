"""The 128 bytes on the chain: round trips, tricks in repository ids, and any stranger's bytes."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hivetune.commitments import (
    MAX_BYTES,
    PREFIX_BYTES,
    PROTOCOL,
    Pointer,
    ReceiptPointer,
    ReleasePointer,
    SubmissionPointer,
    pack,
    unpack,
)
from hivetune.errors import RejectedSubmission

ROUND_IDS = st.integers(0, 2**32 - 1)
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
REVISIONS = st.binary(min_size=20, max_size=20).map(bytes.hex)
REPOS = st.from_regex(r"[A-Za-z0-9_-]{1,30}/[A-Za-z0-9_.-]{1,30}", fullmatch=True).filter(lambda r: ".." not in r)
POINTERS: st.SearchStrategy[Pointer] = st.one_of(
    st.builds(
        SubmissionPointer,
        round_id=ROUND_IDS,
        release_prefix=st.binary(min_size=PREFIX_BYTES, max_size=PREFIX_BYTES).map(bytes.hex),
        file_sha256=SHA256,
        repo=REPOS,
    ),
    st.builds(ReleasePointer, number=ROUND_IDS, manifest_sha256=SHA256, revision=REVISIONS, repo=REPOS),
    st.builds(ReceiptPointer, round_id=ROUND_IDS, receipt_sha256=SHA256, revision=REVISIONS, repo=REPOS),
)
SUBMISSION = SubmissionPointer(round_id=7, release_prefix="ab" * 8, file_sha256="cd" * 32, repo="alice/adapters")


def unpack_or_reason(data: bytes) -> Pointer | str:
    try:
        return unpack(data)
    except RejectedSubmission as rejected:
        return rejected.reason


@settings(max_examples=300)
@given(POINTERS)
def test_every_pointer_survives_the_chain(pointer: Pointer) -> None:
    packed = pack(pointer)
    assert len(packed) <= MAX_BYTES
    assert unpack(packed) == pointer


def test_the_layout_is_the_documented_one() -> None:
    expected = b"HT" + bytes([PROTOCOL, 1]) + struct.pack(">I", 7) + b"\xab" * 8 + b"\xcd" * 32 + b"alice/adapters"
    assert pack(SUBMISSION) == expected


@settings(max_examples=2000)
@example(b"")
@example(b"HT")
@example(b"HT\x01\x01")
@given(st.binary(max_size=200) | st.binary(max_size=196).map(lambda rest: b"HT\x01" + rest))
def test_any_bytes_give_a_pointer_or_a_rejection(data: bytes) -> None:
    pointer = unpack_or_reason(data)
    assert pointer == "bad_commitment" or (not isinstance(pointer, str) and pack(pointer) == data)


@settings(max_examples=400)
@given(POINTERS, st.data())
def test_a_changed_byte_never_gives_the_same_pointer(pointer: Pointer, data: st.DataObject) -> None:
    packed = bytearray(pack(pointer))
    where = data.draw(st.integers(0, len(packed) - 1))
    packed[where] ^= data.draw(st.integers(1, 255))
    found = unpack_or_reason(bytes(packed))
    assert found != pointer
    assert found == "bad_commitment" or not isinstance(found, str)


@pytest.mark.parametrize(
    "repo",
    ["", "/", "alice", "alice/", "/adapters", "a/b/c", "../etc", "alice/..", "a/b..c", "alice/ad apters", "alice/x\n",
     "alice/x\0", "älice/x", "alice/x?revision=main", "alice/x#y", "alice\\x/y", "http://evil/x", "a" * 97 + "/x"],
)  # fmt: skip
def test_tricks_in_a_repository_id_are_refused_both_ways(repo: str) -> None:
    with pytest.raises(ValueError, match="repository id"):
        pack(SubmissionPointer(round_id=7, release_prefix="ab" * 8, file_sha256="cd" * 32, repo=repo))
    with pytest.raises(RejectedSubmission) as caught:
        unpack(pack(SUBMISSION).removesuffix(b"alice/adapters") + repo.encode())
    assert caught.value.reason == "bad_commitment"


def test_the_longest_repository_id_fits_exactly() -> None:
    room = MAX_BYTES - len(pack(SUBMISSION)) + len("alice/adapters")
    longest = "a/" + "b" * (room - 2)
    pointer = SubmissionPointer(round_id=7, release_prefix="ab" * 8, file_sha256="cd" * 32, repo=longest)
    assert len(pack(pointer)) == MAX_BYTES == 128
    assert unpack(pack(pointer)) == pointer
    too_long = SubmissionPointer(round_id=7, release_prefix="ab" * 8, file_sha256="cd" * 32, repo=longest + "b")
    with pytest.raises(ValueError, match="limit 128"):
        pack(too_long)
    with pytest.raises(RejectedSubmission, match="129 bytes"):
        unpack(pack(pointer) + b"b")


@pytest.mark.parametrize("start", [b"TH\x01\x01", b"HT\x00\x01", b"HT\x02\x01", b"HT\x01\x00", b"HT\x01\x04"])
def test_another_magic_protocol_or_kind_is_refused(start: bytes) -> None:
    with pytest.raises(RejectedSubmission, match="want a pointer"):
        unpack(start + pack(SUBMISSION)[4:])
