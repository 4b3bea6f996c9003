"""Bandwidth and memory of a merge against a plain copy: `python -m benchmarks.merge [--quick] [--json FILE]`.

A random base of the shape of SmolLM2-135M in fp32, and N adapters on all linear layers. All ways take turns, read the
same files and end with what they wrote flushed to disk:

  copy    copies the base's file with `shutil.copyfile` and reads the adapters' files
  merge   the streaming writer, with the gains that admission measured
  files   the same from the files alone: reads the adapters, measures their gains, then merges
  naive   a dense delta of every adapter in turn, the merged model in memory, then `save_file`

Bytes are those read and written: base and adapters in, a whole base out. A way's share is the median over rounds of
the copy's time over its own: its bandwidth in units of the copy's. Files are in the page cache. Memory is the rise of
anonymous memory (all but mapped files) of `files` in a process of its own, in units of the largest tensor.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
import transformers
from torch import Tensor

from averager.merged_base import mapped_weights
from benchmarks.machine import machine
from hivetune.dora import Factors, dora_delta
from hivetune.files import sha256_of
from hivetune.merging import Adapter, uniform_coefficients
from hivetune.model import find_targets
from hivetune.records import AdapterLayout
from tests.merge_process import STEP, adapter_files, layout_in, merge_into, merge_layer, open_adapters, write_merge

# Layers, hidden size, size of the feed-forward layers, vocabulary.
SIZE, QUICK_SIZE = (30, 576, 1536, 49152), (4, 576, 1536, 8192)
RANKS = (16, 8)
COUNTS, QUICK_COUNTS = (2, 8, 32), (2, 8)
WAYS = ("merge", "files", "naive")
THREADS = (1, 2, 3)  # whose files must be equal
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way of merging one number of adapters."""

    rank: int
    adapters: int
    way: str
    seconds: float  # median
    spread: float  # slowest / fastest
    gigabytes_per_s: float
    share: float  # of the copy's bandwidth


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What must hold whatever the time."""

    rank: int
    adapters: int
    rise: float  # of anonymous memory, in largest tensors
    equal_bits: bool  # of the files made on 1, 2 and 3 threads
    error: float  # of the merged delta of the first block's layers, relative to double precision
    naive_error: float


def write_files(folder: Path, size: tuple[int, int, int, int], rank: int, adapters: int) -> None:
    layers, hidden, inner, words = size
    config = transformers.LlamaConfig(
        num_hidden_layers=layers, hidden_size=hidden, intermediate_size=inner, vocab_size=words,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 192, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.randn(tensor.shape, generator=generator).mul_(0.05)
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied
    }
    layout = AdapterLayout(rank=rank, alpha=2.0 * rank, rslora=False, targets=find_targets(model))
    write_merge(folder, tensors, layout, adapters)


def copy(folder: Path, into: Path, count: int) -> None:
    into.mkdir()
    buffer = bytearray(1 << 20)
    for path in adapter_files(folder, count):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    shutil.copyfile(folder / "base" / "model.safetensors", into / "model.safetensors")
    flush(into / "model.safetensors")


def naive(folder: Path, into: Path, adapters: list[Adapter]) -> None:
    into.mkdir()
    scale = layout_in(folder).scale
    tensors = safetensors.torch.load_file(folder / "base" / "model.safetensors")
    for name in adapters[0].factors:
        base_OI = tensors[f"{name}.weight"]
        layers = [adapter.factors[name] for adapter in adapters]
        delta_OI = naive_delta(base_OI, layers, uniform_coefficients(adapters), scale)
        tensors[f"{name}.weight"] = torch.add(base_OI, delta_OI, alpha=STEP)
    safetensors.torch.save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})
    flush(into / "model.safetensors")


def naive_delta(base_OI: Tensor, layers: list[Factors], coefficients: list[float], scale: float) -> Tensor:
    delta_OI = torch.zeros(base_OI.shape)
    for coefficient, factors in zip(coefficients, layers, strict=True):
        delta_OI.add_(dora_delta(base_OI, factors, scale), alpha=coefficient)
    return delta_OI


def flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def measure(folder: Path, count: int, repeats: int, chosen: list[str]) -> list[Row]:
    rank = layout_in(folder).rank
    adapters = open_adapters(folder, count)
    every: dict[str, Callable[[Path], object]] = {
        "copy": lambda into: copy(folder, into, count),
        "merge": lambda into: merge_into(into, folder, adapters),
        "files": lambda into: merge_into(into, folder, open_adapters(folder, count)),
        "naive": lambda into: naive(folder, into, adapters),
    }
    ways = {way: run for way, run in every.items() if way == "copy" or way in chosen}
    times: dict[str, list[float]] = {way: [] for way in ways}
    order = random.Random(0)
    for _ in range(repeats):
        for way in order.sample(list(ways), len(ways)):
            start = time.perf_counter()
            ways[way](folder / "out")
            times[way].append(time.perf_counter() - start)
            shutil.rmtree(folder / "out")
    base_bytes = (folder / "base" / "model.safetensors").stat().st_size
    moved_bytes = 2 * base_bytes + sum(path.stat().st_size for path in adapter_files(folder, count))
    return [
        Row(
            rank=rank,
            adapters=count,
            way=way,
            seconds=statistics.median(found),
            spread=max(found) / min(found),
            gigabytes_per_s=moved_bytes / statistics.median(found) / 1e9,
            share=statistics.median(a / b for a, b in zip(times["copy"], found, strict=True)),
        )
        for way, found in times.items()
    ]


def check(folder: Path, count: int) -> Check:
    layout = layout_in(folder)
    digests, rise = set(), 0
    for threads in THREADS:
        command = [sys.executable, "-m", "tests.merge_process", str(folder), str(threads), str(count)]
        found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
        shutil.rmtree(folder / f"merged-{threads}")
        digests.add(found["sha256"])
        rise = max(rise, found["rise"])
    adapters = open_adapters(folder, count)
    digests.add(sha256_of(merge_into(folder / "out", folder, adapters)))
    shutil.rmtree(folder / "out")
    largest = max(tensor.nbytes for tensor in safetensors.torch.load_file(folder / "base/model.safetensors").values())
    weights = mapped_weights(folder / "base", layout)
    first = [target.module for target in layout.targets if target.module.startswith("model.layers.0.")]
    pairs = [errors(weights[name], [a.factors[name] for a in adapters], adapters, layout.scale) for name in first]
    ours, theirs = zip(*pairs, strict=True)
    return Check(
        rank=layout.rank,
        adapters=count,
        rise=rise / largest,
        equal_bits=len(digests) == 1,
        error=max(ours),
        naive_error=max(theirs),
    )


def errors(base_OI: Tensor, layers: list[Factors], adapters: list[Adapter], scale: float) -> tuple[float, float]:
    """Relative errors of ours and of the naive delta."""
    coefficients = uniform_coefficients(adapters)
    exact_OI = torch.zeros(base_OI.shape, dtype=torch.float64)
    for coefficient, factors in zip(coefficients, layers, strict=True):
        direction_OI = base_OI.double() + scale * factors.up_OR.double() @ factors.down_RI.double()
        gain_O1 = factors.magnitude_O.double().unsqueeze(1) / direction_OI.norm(dim=1, keepdim=True)
        exact_OI += coefficient * (gain_O1 * direction_OI - base_OI.double())
    ours_OI = merge_layer(base_OI, list(zip(coefficients, layers, strict=True)), scale)
    naive_OI = naive_delta(base_OI, layers, coefficients, scale)
    return float((ours_OI - exact_OI).norm() / exact_OI.norm()), float((naive_OI - exact_OI).norm() / exact_OI.norm())


def show(rows: list[Row], checked: Check) -> None:
    print(f"\nrank {checked.rank}, {checked.adapters} adapters")
    print(f"  {'':6} {'seconds':>8} {'spread':>7} {'GB/s':>6} {'of the copy':>12}")
    for row in rows:
        print(f"  {row.way:6} {row.seconds:8.3f} {row.spread:7.2f} {row.gigabytes_per_s:6.2f} {row.share:12.0%}")
    print(
        f"  memory {checked.rise:.2f} largest tensors, equal bits on {THREADS} threads: {checked.equal_bits}, "
        f"error {checked.error:.1e} (naive {checked.naive_error:.1e})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four layers, a small vocabulary, rank 16")
    parser.add_argument("--repeats", type=int, default=7, help="rounds in which every way takes one turn")
    parser.add_argument("--way", action="append", choices=WAYS, help="only this way, beside the copy; may be repeated")
    parser.add_argument("--folder", type=Path, help="where files are written; a folder in memory leaves out the disk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    counts = QUICK_COUNTS if options.quick else COUNTS
    began = machine(torch.get_num_threads(), ("torch", "safetensors"))
    print(f"{began}\nmedians of {options.repeats} rounds")
    rows: list[Row] = []
    checks: list[Check] = []
    for rank in RANKS[:1] if options.quick else RANKS:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            folder = Path(place) / "merge"
            write_files(folder, QUICK_SIZE if options.quick else SIZE, rank, max(counts))
            for count in counts:
                found = measure(folder, count, options.repeats, options.way or list(WAYS))
                checks.append(check(folder, count))
                show(found, checks[-1])
                rows += found
    if options.json:
        figures = {"measured": began, "ways": list(map(asdict, rows)), "checks": list(map(asdict, checks))}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
