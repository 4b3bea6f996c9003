"""The merged weights as a folder: streamed from the base's mapped files to the new ones, layer by layer.

Beside the mapped files memory holds a few blocks for every thread and the stacked A of a few layers, never a model.
Shapes: O = out features, I = in features, B = rows of a block.
"""

import mmap
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from hivetune.block_pool import run_stages, settled
from hivetune.errors import ConfigError
from hivetune.files import sized_file, write_at
from hivetune.layer_merge import Part, Take, merge_layers
from hivetune.merging import Adapter, check_order, parts_of
from hivetune.records import AdapterLayout, Target
from hivetune.tensor_file import FilePlan, Kind, plan_file

_WEIGHTS = ".safetensors"
_CHUNK_BYTES = 4 << 20  # of a tensor that is copied


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Merge:
    """What is merged into a base, and how."""

    adapters: Sequence[Adapter]  # in hotkey order
    coefficients: Sequence[float]
    step: float  # lambda
    layout: AdapterLayout
    momentum: float = 0.0  # mu
    previous: Path | None = None  # folder of the release before the base, for momentum


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MappedFile:
    """A safetensors file of the base; its tensors are views of the mapped file."""

    tensors: Mapping[str, Tensor]
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str]


def write_merged_base(base_folder: Path, merge: Merge, into: Path, threads: int | None = None) -> list[Path]:
    """The base's folder with every adapted tensor replaced by base + step * merged delta in fp32, plus any momentum.

    Bit for bit what `moved` makes of `merge_deltas`, on any number of threads. fp32, because rounding a release to
    bf16 loses about 8 % of what it gained. Other tensors keep their bytes. A file appears under its name when it is
    whole. ConfigError, before anything is written, for a base that stores an adapted weight under another name.
    """
    check_order(merge.adapters)
    mapped = map_base(base_folder, merge.layout)
    sources = sorted(path for path in base_folder.iterdir() if path.is_file())
    previous = mapped_weights(merge.previous, merge.layout) if merge.previous and merge.momentum else {}
    into.mkdir(parents=True, exist_ok=True)
    for source in sources:
        if source in mapped:
            _write_file(into / source.name, mapped[source], merge, previous, threads)
        else:
            shutil.copyfile(source, into / source.name)
    return [into / source.name for source in sources]


def mapped_weights(base_folder: Path, layout: AdapterLayout) -> dict[str, Tensor]:
    """The adapted weights of a base's folder as [O, I] views of its mapped files, by module name."""
    stored = {name: tensor for file in map_base(base_folder, layout).values() for name, tensor in file.tensors.items()}
    weights = {target.module: stored[_stored_name(target)] for target in layout.targets}
    return {t.module: weights[t.module].T if t.transposed else weights[t.module] for t in layout.targets}


def map_base(base_folder: Path, layout: AdapterLayout) -> dict[Path, MappedFile]:
    """The base's safetensors files; ConfigError when an adapted weight is in none of them."""
    mapped = {path: _map_file(path) for path in sorted(base_folder.glob(f"*{_WEIGHTS}"))}
    stored = {name for file in mapped.values() for name in file.tensors}
    for target in layout.targets:
        if _stored_name(target) not in stored:
            raise ConfigError(f"{base_folder} stores no weight for {target.module} under its own name")
    return mapped


def _map_file(path: Path) -> MappedFile:
    with safetensors.safe_open(path, framework="pt") as file:
        names = list(file.keys())
        return MappedFile(
            tensors={name: file.get_tensor(name) for name in names},
            dtypes={name: file.get_slice(name).get_dtype() for name in names},
            metadata=file.metadata() or {},
        )


def _stored_name(target: Target) -> str:
    return f"{target.module}.weight"


def _write_file(
    path: Path, file: MappedFile, merge: Merge, previous: Mapping[str, Tensor], threads: int | None
) -> None:
    adapted = {_stored_name(target) for target in merge.layout.targets}
    kinds = {
        name: Kind(dtype="F32", element_bytes=4, shape=tuple(tensor.shape))
        if name in adapted
        else Kind(dtype=file.dtypes[name], element_bytes=tensor.element_size(), shape=tuple(tensor.shape))
        for name, tensor in file.tensors.items()
    }
    plan = plan_file(kinds, file.metadata)
    with sized_file(path, plan.size) as descriptor:
        write_at(descriptor, memoryview(plan.header), 0)
        kept = {plan.offsets[name]: tensor for name, tensor in file.tensors.items() if name not in adapted}
        run_stages([[*_copies(descriptor, kept)]], threads)
        merge_layers(_layers(descriptor, plan, file, merge, previous), merge.layout.scale, threads)


def _copies(descriptor: int, kept: Mapping[int, Tensor]) -> Iterator[Callable[[], None]]:
    """Tasks that write tensors as they are, by their offsets in the file."""
    for offset, tensor in kept.items():
        data = tensor.reshape(-1).view(torch.uint8).numpy().data
        for start in range(0, len(data), _CHUNK_BYTES):
            yield partial(write_at, descriptor, data[start : start + _CHUNK_BYTES], offset + start)


def _layers(
    descriptor: int, plan: FilePlan, file: MappedFile, merge: Merge, previous: Mapping[str, Tensor]
) -> Iterator[tuple[Tensor, Sequence[Part], Take]]:
    """The file's adapted layers, each with what writes its blocks."""
    for target in merge.layout.targets:
        name = _stored_name(target)
        if name not in file.tensors:
            continue
        stored, offset = file.tensors[name], plan.offsets[name]
        take = _columns(descriptor, plan.size, offset, stored.shape) if target.transposed else _rows(descriptor, offset)
        base_OI = stored.T if target.transposed else stored
        stepping = _stepping(merge, previous.get(target.module), take)
        yield base_OI, parts_of(target.module, merge.adapters, merge.coefficients), stepping


def _stepping(merge: Merge, previous_OI: Tensor | None, write: Callable[[slice, Tensor], None]) -> Take:
    """Takes a block's merge as `moved` does."""

    def take(rows: slice, base_BI: Tensor, merged_BI: Tensor) -> None:
        if previous_OI is None:
            write(rows, torch.add(base_BI, merged_BI, alpha=merge.step, out=base_BI))
        else:
            moved_BI = torch.add(base_BI, merged_BI, alpha=merge.step, out=merged_BI)
            write(rows, moved_BI.add_(base_BI.sub_(settled(previous_OI[rows])), alpha=merge.momentum))

    return take


def _rows(descriptor: int, offset: int) -> Callable[[slice, Tensor], None]:
    """Writes blocks of a tensor that is stored as [O, I]."""

    def write(rows: slice, block_BI: Tensor) -> None:
        data = block_BI.view(-1).view(torch.uint8).numpy().data
        write_at(descriptor, data, offset + rows.start * block_BI.shape[1] * block_BI.element_size())

    return write


def _columns(descriptor: int, size: int, offset: int, shape: torch.Size) -> Callable[[slice, Tensor], None]:
    """Writes blocks of a tensor that is stored as [I, O]: strided, so through a map of the file."""
    stored_IO = torch.frombuffer(
        mmap.mmap(descriptor, size), dtype=torch.float32, count=shape.numel(), offset=offset
    ).view(shape)

    def write(rows: slice, block_BI: Tensor) -> None:
        stored_IO[:, rows] = block_BI.T

    return write
