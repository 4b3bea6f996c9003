"""What stands on the chain: one binary pointer of at most 128 bytes per hotkey.

A miner's pointer commits to a file before it is public, the subnet owner's points to the current release, a
validator's to its last receipt. Layout, big-endian: `b"HT"`, protocol, kind, then the fields in order, then the
repository id in ASCII to the end.
"""

import re
import struct
from dataclasses import dataclass

from hivetune.errors import RejectedSubmission

PROTOCOL = 1
MAX_BYTES = 128  # Subtensor's largest Raw field in a commitment
PREFIX_BYTES = 8  # of a release digest: enough to tell releases apart, the full digest stands in the file itself
_HEAD = struct.Struct(">2sBB")
_SUBMISSION = struct.Struct(f">I{PREFIX_BYTES}s32s")
_RELEASE = struct.Struct(">I32s20s")
_RECEIPT = struct.Struct(">I32s20s")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionPointer:
    """A miner's promise of one file, made before the file is uploaded."""

    round_id: int
    release_prefix: str  # hex, PREFIX_BYTES of the digest of the release trained on
    file_sha256: str  # hex
    repo: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasePointer:
    """The subnet owner's pointer to the current release."""

    number: int
    manifest_sha256: str  # hex
    revision: str  # 40 hex, immutable commit id
    repo: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptPointer:
    """A validator's pointer to its receipt of a round."""

    round_id: int
    receipt_sha256: str  # hex
    revision: str  # 40 hex, immutable commit id
    repo: str


Pointer = SubmissionPointer | ReleasePointer | ReceiptPointer


def pack(pointer: Pointer) -> bytes:
    """The pointer's bytes; ValueError when they would not fit the chain's field."""
    match pointer:
        case SubmissionPointer():
            kind, body = (
                1,
                _SUBMISSION.pack(
                    pointer.round_id, bytes.fromhex(pointer.release_prefix), bytes.fromhex(pointer.file_sha256)
                ),
            )
        case ReleasePointer():
            kind, body = (
                2,
                _RELEASE.pack(pointer.number, bytes.fromhex(pointer.manifest_sha256), bytes.fromhex(pointer.revision)),
            )
        case ReceiptPointer():
            kind, body = (
                3,
                _RECEIPT.pack(pointer.round_id, bytes.fromhex(pointer.receipt_sha256), bytes.fromhex(pointer.revision)),
            )
    if not is_repo(pointer.repo):
        raise ValueError(f"repository id {pointer.repo!r}: want owner/name of letters, digits, '.', '_', '-'")
    packed = _HEAD.pack(b"HT", PROTOCOL, kind) + body + pointer.repo.encode("ascii")
    if len(packed) > MAX_BYTES:
        raise ValueError(f"repository id {pointer.repo!r}: the commitment takes {len(packed)} bytes, limit {MAX_BYTES}")
    return packed


def unpack(data: bytes) -> Pointer:
    """The pointer in a stranger's bytes; RejectedSubmission("bad_commitment") when they are anything else."""
    if not _HEAD.size <= len(data) <= MAX_BYTES:
        raise RejectedSubmission("bad_commitment", f"{len(data)} bytes, want {_HEAD.size} to {MAX_BYTES}")
    magic, protocol, kind = _HEAD.unpack_from(data)
    body = {1: _SUBMISSION, 2: _RELEASE, 3: _RECEIPT}.get(kind)
    if magic != b"HT" or protocol != PROTOCOL or body is None:
        raise RejectedSubmission("bad_commitment", f"starts with {data[:4].hex()}, want a pointer of protocol 1")
    if len(data) < _HEAD.size + body.size:
        raise RejectedSubmission("bad_commitment", f"{len(data)} bytes end inside the fields of kind {kind}")
    number, first, second = body.unpack_from(data, _HEAD.size)
    repo = data[_HEAD.size + body.size :].decode("ascii", errors="replace")
    if not is_repo(repo):
        raise RejectedSubmission("bad_commitment", f"repository id {repo!r}: want owner/name")
    if kind == 1:
        return SubmissionPointer(round_id=number, release_prefix=first.hex(), file_sha256=second.hex(), repo=repo)
    if kind == 2:
        return ReleasePointer(number=number, manifest_sha256=first.hex(), revision=second.hex(), repo=repo)
    return ReceiptPointer(round_id=number, receipt_sha256=first.hex(), revision=second.hex(), repo=repo)


def is_repo(repo: str) -> bool:
    """Whether this can be a repository's id on a Hub."""
    return _REPO.fullmatch(repo) is not None and ".." not in repo
