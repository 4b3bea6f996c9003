"""The adapter file: PEFT's names in one canonical safetensors form, and the strict reader of strangers' files.

The release fixes names, shapes and dtype, and the stamp fixes the metadata, so the whole header of an acceptable file
is known in advance, byte for byte. The reader accepts that header and no other; it looks into a different one, within
bounds, only to name the reason.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hivetune.adapter_header import explain_header
from hivetune.dora import Factors
from hivetune.errors import RejectedSubmission
from hivetune.records import AdapterLayout
from hivetune.tensor_file import encode_header

FILE_NAME = "adapter_model.safetensors"
CONFIG_NAME = "adapter_config.json"
_PREFIX = "base_model.model."
_BYTES = 4  # of a float32


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """Whose file this is, and for what; it stands in the file, so a copied file names another owner."""

    hotkey: str
    round_id: int
    release_sha256: str


def folder_of(round_id: int) -> str:
    """The folder of a round's submission inside a miner's repository."""
    return f"round-{round_id:06d}"


def tensor_shapes(layout: AdapterLayout) -> dict[str, tuple[int, ...]]:
    """Every tensor of the file with its shape, in file order: PEFT's names for DoRA."""
    shapes: dict[str, tuple[int, ...]] = {}
    for target in layout.targets:
        name = _PREFIX + target.module
        shapes[f"{name}.lora_A.weight"] = (layout.rank, target.in_features)
        shapes[f"{name}.lora_B.weight"] = (target.out_features, layout.rank)
        shapes[f"{name}.lora_magnitude_vector"] = (target.out_features,)
    return shapes


def header_bytes(layout: AdapterLayout, stamp: Stamp) -> bytes:
    """The one acceptable header, length prefix included (safetensors format, padded to 8 bytes with spaces)."""
    header: dict[str, object] = {"__metadata__": _metadata(stamp)}
    start = 0
    for name, shape in tensor_shapes(layout).items():
        end = start + _BYTES * _count(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    return encode_header(header)


def file_size(layout: AdapterLayout, stamp: Stamp) -> int:
    """Exact size in bytes of an acceptable file, known before any download."""
    return len(header_bytes(layout, stamp)) + _BYTES * sum(_count(s) for s in tensor_shapes(layout).values())


def write_adapter(path: Path, layout: AdapterLayout, stamp: Stamp, factors: Mapping[str, Factors]) -> str:
    """Write the canonical file (temporary name, then renamed) and return its SHA-256."""
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    with part.open("wb") as out:
        for piece in _pieces(layout, stamp, factors):
            digest.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
    return digest.hexdigest()


def peft_config(layout: AdapterLayout, base: str) -> bytes:
    """The adapter_config.json that lets anybody load the file with PEFT alone; written by us, never read by us."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": layout.rank,
        "lora_alpha": layout.alpha,
        "use_rslora": layout.rslora,
        "use_dora": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(target.transposed for target in layout.targets),
        "target_modules": sorted(target.module for target in layout.targets),
        "inference_mode": True,
    }
    return json.dumps(config, indent=2).encode()


def read_adapter(path: Path, layout: AdapterLayout, stamp: Stamp) -> dict[str, Factors]:
    """A stranger's file as factors by module name; RejectedSubmission with its own reason for any other file.

    Checked in order: header (bounded, before any tensor is touched), size, finite values, positive magnitudes.
    """
    expected = header_bytes(layout, stamp)
    with path.open("rb") as file:
        if file.read(len(expected)) != expected:
            explain_header(file, tensor_shapes(layout), _metadata(stamp), len(expected))
    size = path.stat().st_size
    if size != file_size(layout, stamp):
        raise RejectedSubmission("wrong_size", f"{size} bytes, want {file_size(layout, stamp)}")
    tensors = _load(path)
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise RejectedSubmission("not_finite", name)
    return {target.module: _factors(tensors, target.module) for target in layout.targets}


def content_digest(path: Path) -> str:
    """SHA-256 of the tensors alone: equal for files that differ only in their stamp."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _pieces(layout: AdapterLayout, stamp: Stamp, factors: Mapping[str, Factors]) -> list[bytes]:
    pieces = [header_bytes(layout, stamp)]
    for target in layout.targets:
        layer = factors[target.module]
        shapes = ((layout.rank, target.in_features), (target.out_features, layout.rank), (target.out_features,))
        for tensor, shape in zip((layer.down_RI, layer.up_OR, layer.magnitude_O), shapes, strict=True):
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{target.module}: tensor of shape {tuple(tensor.shape)}, the release wants {shape}")
            pieces.append(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return pieces


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise RejectedSubmission("bad_header", str(error)[:200]) from None


def _factors(tensors: Mapping[str, Tensor], module: str) -> Factors:
    name = _PREFIX + module
    magnitude_O = tensors[f"{name}.lora_magnitude_vector"]
    if bool((magnitude_O < 0).any()):
        raise RejectedSubmission("negative_magnitude", f"{module}: smallest {float(magnitude_O.min()):.3g}, want >= 0")
    return Factors(
        down_RI=tensors[f"{name}.lora_A.weight"], up_OR=tensors[f"{name}.lora_B.weight"], magnitude_O=magnitude_O
    )


def _metadata(stamp: Stamp) -> dict[str, str]:
    return {
        "format": "pt",
        "hotkey": stamp.hotkey,
        "round": f"{stamp.round_id:010d}",
        "release": stamp.release_sha256,
    }


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count
