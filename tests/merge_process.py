"""A merge from files to files in a process of its own: `python -m tests.merge_process FOLDER THREADS`.

FOLDER holds what `write_merge` puts there. Prints as JSON the digest of the merged weights, and how far anonymous
memory, which is all but mapped files, rose above its start.
"""

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from averager.merged_base import Merge, mapped_weights, write_merged_base
from hivetune.adapter import Stamp, read_adapter, write_adapter
from hivetune.dora import Factors
from hivetune.files import sha256_of
from hivetune.layer_merge import merge_layers
from hivetune.merging import Adapter, keep_rows, prepare_all, uniform_coefficients
from hivetune.records import AdapterLayout
from hivetune.row_gains import measure_layers

STEP = 1.25
_STATUS = Path("/proc/self/status")


def write_merge(folder: Path, tensors: Mapping[str, Tensor], layout: AdapterLayout, adapters: int) -> None:
    """A base of these tensors, adapters that move it by about a percent, and their layout."""
    (folder / "base").mkdir(parents=True)
    safetensors.torch.save_file(dict(tensors), folder / "base" / "model.safetensors", metadata={"format": "pt"})
    (folder / "layout.json").write_bytes(layout.to_bytes())
    weights = mapped_weights(folder / "base", layout)
    for index in range(adapters):
        stamp = stamp_of(f"key-{index:03}")
        generator = torch.Generator().manual_seed(index)
        factors = {name: _factors(weight_OI, layout, generator) for name, weight_OI in weights.items()}
        write_adapter(folder / f"{stamp.hotkey}.safetensors", layout, stamp, factors)


def _factors(base_OI: Tensor, layout: AdapterLayout, generator: torch.Generator) -> Factors:
    out_features, in_features = base_OI.shape
    norm_O = base_OI.float().norm(dim=1)
    up_OR = torch.randn(out_features, layout.rank, generator=generator) * norm_O.unsqueeze(1)
    return Factors(
        down_RI=torch.randn(layout.rank, in_features, generator=generator) / in_features**0.5,
        up_OR=0.01 * up_OR / layout.rank**0.5 / layout.scale,
        magnitude_O=norm_O * (1 + 0.003 * torch.randn(out_features, generator=generator)),
    )


def stamp_of(hotkey: str) -> Stamp:
    return Stamp(hotkey=hotkey, round_id=1, release_sha256="a" * 64)


def layout_in(folder: Path) -> AdapterLayout:
    return AdapterLayout.parse((folder / "layout.json").read_bytes())


def adapter_files(folder: Path, count: int | None = None) -> list[Path]:
    return sorted(folder.glob("key-*.safetensors"))[:count]


def open_adapters(folder: Path, count: int | None = None, threads: int | None = None) -> list[Adapter]:
    """The adapters' files, mapped, read as a stranger's are and measured against the base."""
    layout = layout_in(folder)
    factors = {p.stem: read_adapter(p, layout, stamp_of(p.stem)) for p in adapter_files(folder, count)}
    return prepare_all(factors, mapped_weights(folder / "base", layout), layout.scale, threads)


def merge_into(into: Path, folder: Path, adapters: list[Adapter], threads: int | None = None) -> Path:
    coefficients = uniform_coefficients(adapters)
    merge = Merge(adapters=adapters, coefficients=coefficients, step=STEP, layout=layout_in(folder))
    write_merged_base(folder / "base", merge, into, threads)
    return into / "model.safetensors"


def merge_layer(
    base_OI: Tensor, parts: Sequence[tuple[float, Factors]], scale: float, threads: int | None = None
) -> Tensor:
    """sum_i c_i D_i of one layer, fp32, summed in the order given."""
    measured = measure_layers({"": (base_OI, [factors for _, factors in parts])}, scale, threads)[""]
    shaped = [(c, factors, shape) for (c, factors), shape in zip(parts, measured.shapes, strict=True)]
    merged_OI = torch.empty(base_OI.shape, dtype=torch.float32)
    merge_layers([(base_OI, shaped, keep_rows(merged_OI))], scale, threads)
    return merged_OI


@contextmanager
def anonymous_memory() -> Iterator[list[int]]:
    """Bytes of anonymous memory, at the start and then about every millisecond."""
    found, done = [_anonymous_bytes()], threading.Event()

    def sample() -> None:
        while not done.wait(0.001):
            found.append(_anonymous_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _anonymous_bytes() -> int:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


def main(folder: Path, threads: int, count: int | None) -> None:
    with anonymous_memory() as bytes_used:
        written = merge_into(folder / f"merged-{threads}", folder, open_adapters(folder, count, threads), threads)
    rise = max(bytes_used) - bytes_used[0]
    sys.stdout.write(json.dumps({"sha256": sha256_of(written), "rise": rise}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
