"""Why a stranger's header is not the expected one: a bounded look that always ends in RejectedSubmission."""

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

from hivetune.errors import RejectedSubmission

_SLACK = 4  # a header over this many times the expected length is not read at all
_STAMP_REASONS = {"hotkey": "wrong_owner", "round": "wrong_round", "release": "wrong_release"}
# A pickle of protocol 2 to 5, and the zip that torch.save writes.
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def explain_header(
    file: BinaryIO, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str], expected_bytes: int
) -> NoReturn:
    """Raise RejectedSubmission with the first reason that this file is not the expected one.

    Reads at most a few times `expected_bytes`, whatever length the file claims.
    """
    file.seek(0)
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if start.startswith(_PICKLE_STARTS) and length > _SLACK * expected_bytes:
        raise RejectedSubmission("not_safetensors", "starts like a pickle or a zip archive")
    if len(start) < 8 or length > _SLACK * expected_bytes:
        raise RejectedSubmission("bad_header", f"header of {length} bytes, want {expected_bytes - 8}")
    header = _parse(file.read(length), length)
    _check_metadata(header.pop("__metadata__", None), metadata)
    _check_names(header, shapes)
    offset = 0
    for name, shape in shapes.items():
        offset = _check_tensor(name, header[name], shape, offset)
    raise RejectedSubmission("bad_header", "not in the canonical form (order, spacing or padding)")


def _parse(text: bytes, length: int) -> dict[str, Any]:
    if len(text) < length:
        raise RejectedSubmission("bad_header", f"the file ends inside its header of {length} bytes")
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise RejectedSubmission("bad_header", f"not JSON: {str(error)[:100]}") from None
    if not isinstance(header, dict):
        raise RejectedSubmission("bad_header", f"a JSON {type(header).__name__}, want an object")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _check_metadata(found: object, wanted: Mapping[str, str]) -> None:
    if not isinstance(found, dict):
        raise RejectedSubmission("bad_header", "no __metadata__")
    for key, reason in _STAMP_REASONS.items():
        if found.get(key) != wanted[key]:
            raise RejectedSubmission(reason, f"the file says {str(found.get(key))[:70]!r}, want {wanted[key]!r}")
    if extra := found.keys() - wanted.keys():
        raise RejectedSubmission("bad_header", f"unknown metadata {sorted(extra)[0][:70]!r}")


def _check_names(header: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in header:
        if any(trick in name for trick in ("/", "\\", "..", "\0")):
            raise RejectedSubmission("bad_name", repr(name[:70]))
    if extra := header.keys() - shapes.keys():
        raise RejectedSubmission("extra_tensor", f"{len(header)} tensors, want {len(shapes)}; {min(extra)[:100]!r}")
    if missing := shapes.keys() - header.keys():
        raise RejectedSubmission("missing_tensor", f"{len(header)} tensors, want {len(shapes)}; {min(missing)!r}")


def _check_tensor(name: str, found: object, shape: tuple[int, ...], offset: int) -> int:
    """The offset at which the next tensor must start."""
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise RejectedSubmission("bad_header", f"{name}: want dtype, shape and data_offsets")
    if found["dtype"] != "F32":
        raise RejectedSubmission("wrong_dtype", f"{name}: {str(found['dtype'])[:20]!r}, want 'F32'")
    if found["shape"] != list(shape):
        raise RejectedSubmission("wrong_shape", f"{name}: {str(found['shape'])[:60]}, want {list(shape)}")
    size = 4
    for extent in shape:
        size *= extent
    if found["data_offsets"] != [offset, offset + size]:
        raise RejectedSubmission(
            "bad_offsets", f"{name}: {str(found['data_offsets'])[:60]}, want {[offset, offset + size]}"
        )
    return offset + size
