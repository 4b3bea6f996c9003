"""The safetensors format as we write it: a header known before any tensor is, then the tensors without gaps."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Type and shape of one tensor."""

    dtype: str  # as the format names it: "F32", "BF16"
    element_bytes: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.element_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePlan:
    """A file before its tensors are there."""

    header: bytes
    offsets: Mapping[str, int]  # of every tensor's first byte in the file, in file order
    size: int  # of the file in bytes


def plan_file(kinds: Mapping[str, Kind], metadata: Mapping[str, str]) -> FilePlan:
    """Wide types first, then by name, as the safetensors library orders them: every tensor is aligned to its type."""
    entries: dict[str, object] = {}
    if metadata:
        entries["__metadata__"] = dict(sorted(metadata.items()))
    starts, end = {}, 0
    for name in sorted(kinds, key=lambda name: (-kinds[name].element_bytes, name)):
        starts[name], end = end, end + kinds[name].size
        entries[name] = {
            "dtype": kinds[name].dtype, "shape": list(kinds[name].shape), "data_offsets": [starts[name], end]
        }  # fmt: skip
    header = encode_header(entries)
    offsets = {name: len(header) + start for name, start in starts.items()}
    return FilePlan(header=header, offsets=offsets, size=len(header) + end)


def encode_header(entries: Mapping[str, object]) -> bytes:
    """A header with its length before it, padded to 8 bytes with spaces."""
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
