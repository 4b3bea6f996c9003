"""A merged base on disk: the adapted tensors moved, every other byte as it was, in any architecture."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from averager.merged_base import Merge, mapped_weights, write_merged_base
from averager.release import list_files, next_release
from hivetune.errors import ConfigError
from hivetune.files import sha256_of
from hivetune.merging import Adapter, merge_deltas, moved, prepare_all
from hivetune.model import BaseModel, load_base, save_base
from hivetune.records import AdapterLayout, MergeReport, Release, Target
from tests import merge_process
from tests.conftest import locate, make_layout, make_release, random_factors, weights_of

STEP = 1.25
TOKENS_BT = torch.tensor([[5, 1, 4, 1, 5, 9, 2, 6]])
REPORT = MergeReport(
    round_id=3, beacon="0xab", method="uniform", momentum=0.0, scale=STEP, clip=1.0, contributions=(),
    loss_before=2.0,
    loss_after=1.5, improvement=0.5, lower=0.4, upper=0.6,
)  # fmt: skip


COEFFICIENTS = (0.5, 0.3)
ROOT = Path(__file__).parent.parent


def some_merge(base: BaseModel) -> Merge:
    """Two adapters that move every layer."""
    weights, layout = weights_of(base), make_layout(base)
    factors = {f"key-{seed}": random_factors(weights, seed=seed, size=0.2) for seed in (1, 2)}
    adapters = prepare_all(factors, weights, layout.scale)
    return Merge(adapters=adapters, coefficients=COEFFICIENTS, step=STEP, layout=layout)


def in_memory(base: BaseModel, merge: Merge) -> dict[str, Tensor]:
    """The merged weights as the averager measures them."""
    weights = weights_of(base)
    delta = merge_deltas(weights, merge.adapters, merge.coefficients, merge.layout.scale)
    previous = mapped_weights(merge.previous, merge.layout) if merge.previous else None
    return moved(weights, delta, merge.step, previous, merge.momentum)


def stored(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= safetensors.torch.load_file(path)
    return found


def test_the_adapted_tensors_moved_and_nothing_else(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    """Bit for bit: the release that was measured is the one that is written."""
    merge = some_merge(base)
    transposed = {f"{target.module}.weight": target.transposed for target in merge.layout.targets}
    written = write_merged_base(base_folder, merge, tmp_path / "next")
    assert {path.name for path in written} == {path.name for path in base_folder.iterdir()}
    before, after, measured = stored(base_folder), stored(tmp_path / "next"), in_memory(base, merge)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name in transposed:
            expected = measured[name.removesuffix(".weight")]
            assert torch.equal(after[name], expected.T if transposed[name] else expected), name
            assert not torch.equal(after[name], tensor), name
        else:
            assert torch.equal(after[name], tensor), name
    for path in base_folder.iterdir():
        if path.suffix != ".safetensors":
            assert (tmp_path / "next" / path.name).read_bytes() == path.read_bytes()


def with_momentum(base_folder: Path, base: BaseModel, folder: Path) -> tuple[BaseModel, Merge]:
    """The second release of a chain whose first step was another merge, and the third's merge."""
    first = replace(some_merge(base), adapters=some_merge(base).adapters[:1], coefficients=(0.7,))
    write_merged_base(base_folder, first, folder)
    second = load_base(folder)
    return second, replace(some_merge(second), momentum=0.6, previous=base_folder)


def test_momentum_repeats_a_part_of_the_last_step(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    """Bit for bit what was measured, and what the formula says in double precision."""
    second, merge = with_momentum(base_folder, base, tmp_path / "second")
    write_merged_base(tmp_path / "second", merge, tmp_path / "third")
    after, measured = mapped_weights(tmp_path / "third", merge.layout), in_memory(second, merge)
    before, now = mapped_weights(base_folder, merge.layout), weights_of(second)
    delta = merge_deltas(now, merge.adapters, merge.coefficients, merge.layout.scale)
    for name, weight_OI in after.items():
        assert torch.equal(weight_OI, measured[name]), name
        last_OI = now[name].double() - before[name].double()
        naive_OI = now[name].double() + STEP * delta[name].double() + 0.6 * last_OI
        torch.testing.assert_close(weight_OI.double(), naive_OI, rtol=0, atol=1e-6)
        assert not torch.equal(weight_OI, moved(now, delta, STEP)[name]), name


@pytest.mark.parametrize("threads", [2, 3])
def test_a_merge_with_momentum_has_equal_bytes_on_any_number_of_threads(
    base: BaseModel, base_folder: Path, tmp_path: Path, threads: int
) -> None:
    _, merge = with_momentum(base_folder, base, tmp_path / "second")
    one = list_files(write_merged_base(tmp_path / "second", merge, tmp_path / "one", 1))
    assert one == list_files(write_merged_base(tmp_path / "second", merge, tmp_path / "many", threads))


def test_the_file_is_the_one_that_the_safetensors_library_writes(
    base: BaseModel, base_folder: Path, tmp_path: Path
) -> None:
    write_merged_base(base_folder, some_merge(base), tmp_path / "next")
    tensors = {name: tensor.clone() for name, tensor in stored(tmp_path / "next").items()}
    safetensors.torch.save_file(tensors, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "theirs.safetensors").read_bytes() == (tmp_path / "next" / "model.safetensors").read_bytes()


def test_transformers_loads_the_release_that_was_measured(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    merge = some_merge(base)
    write_merged_base(base_folder, merge, tmp_path / "next")
    released = load_base(tmp_path / "next")
    measured = base.logits(TOKENS_BT, in_memory(base, merge))
    torch.testing.assert_close(released.logits(TOKENS_BT, {}), measured, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(measured, base.logits(TOKENS_BT, {}), atol=1e-2)


def test_embeddings_stay_tied_when_they_were(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    for name, tied in (("llama", False), ("llama-tied", True), ("gpt2", True), ("gpt-neox", False)):
        write_merged_base(base_folders[name], some_merge(bases[name]), tmp_path / name)
        model = load_base(tmp_path / name).model
        shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        assert shared == tied, name


@pytest.mark.parametrize("threads", [2, 3])
def test_equal_merges_have_equal_bytes_on_any_number_of_threads(
    base: BaseModel, base_folder: Path, tmp_path: Path, threads: int
) -> None:
    merge = some_merge(base)
    first = list_files(write_merged_base(base_folder, merge, tmp_path / "first", 1))
    second = list_files(write_merged_base(base_folder, merge, tmp_path / "second", threads))
    assert first == second


def test_a_half_precision_base_becomes_a_single_precision_master(
    base_folders: dict[str, Path], bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    halved = load_base(base_folders["llama"], dtype=torch.bfloat16)
    save_base(halved, tmp_path / "half")
    half = load_base(tmp_path / "half")
    merge = some_merge(half)
    write_merged_base(tmp_path / "half", merge, tmp_path / "next")
    measured = in_memory(half, merge)
    for name, tensor in stored(tmp_path / "next").items():
        module = name.removesuffix(".weight")
        assert tensor.dtype == (torch.float32 if module in measured else torch.bfloat16), name
        assert module not in measured or torch.equal(tensor, measured[module]), name
    logits = half.logits(TOKENS_BT, measured)
    torch.testing.assert_close(load_base(tmp_path / "next").logits(TOKENS_BT, {}), logits, rtol=1e-5, atol=1e-5)


def test_a_base_in_several_files_is_merged_in_each(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = load_base(base_folders["gpt2"])
    base.model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")  # type: ignore[operator]
    base.tokenizer.save_pretrained(tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    merge = some_merge(base)
    write_merged_base(tmp_path / "parts", merge, tmp_path / "next")
    measured = base.logits(TOKENS_BT, in_memory(base, merge))
    torch.testing.assert_close(load_base(tmp_path / "next").logits(TOKENS_BT, {}), measured, rtol=1e-5, atol=1e-5)


def test_a_base_that_stores_a_weight_under_another_name_is_refused(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    merge = some_merge(bases["llama"])
    module = merge.layout.targets[0].module
    tensors = stored(base_folders["llama"])
    tensors["renamed.weight"] = tensors.pop(f"{module}.weight")
    (tmp_path / "odd").mkdir()
    safetensors.torch.save_file(tensors, tmp_path / "odd" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=module):
        write_merged_base(tmp_path / "odd", merge, tmp_path / "next")
    with pytest.raises(ConfigError, match=module):
        mapped_weights(tmp_path / "odd", merge.layout)
    assert not (tmp_path / "next").exists()


def test_a_merge_that_fails_half_way_leaves_no_file(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    merge = some_merge(bases["llama"])
    last = merge.layout.targets[-1].module
    good = merge.adapters[0]
    cut = {name: layer for name, layer in good.factors.items() if name != last}
    torn = Adapter(hotkey=good.hotkey, factors=cut, shapes=good.shapes, norm=good.norm)
    with pytest.raises(KeyError, match=last):
        write_merged_base(base_folders["llama"], replace(merge, adapters=[torn, merge.adapters[1]]), tmp_path / "next")
    assert not list((tmp_path / "next").glob("*.safetensors*"))


def test_adapters_out_of_order_are_not_written(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    merge = some_merge(bases["llama"])
    with pytest.raises(ValueError, match="sorted by hotkey"):
        write_merged_base(base_folders["llama"], replace(merge, adapters=merge.adapters[::-1]), tmp_path / "next")


def large_layout() -> AdapterLayout:
    shapes = ((1024, 512), (512, 1024))
    targets = tuple(
        Target(module=f"layer{index:02}.{out}", out_features=out, in_features=into, transposed=False)
        for index in range(12)
        for out, into in shapes
    )
    return AdapterLayout(rank=8, alpha=16.0, rslora=False, targets=targets)


def test_other_processes_make_the_same_bytes_in_little_memory(tmp_path: Path) -> None:
    """A base of 84 MB; beside the mapped files at most four times its largest tensor, threads and all."""
    layout, largest = large_layout(), torch.zeros(16384, 512)
    tensors = {"embedding.weight": largest}
    for index, target in enumerate(layout.targets):
        generator = torch.Generator().manual_seed(index)
        shape = (target.out_features, target.in_features)
        tensors[f"{target.module}.weight"] = torch.randn(shape, generator=generator).mul_(0.05)
    merge_process.write_merge(tmp_path, tensors, layout, adapters=3)
    here = merge_process.merge_into(tmp_path / "here", tmp_path, merge_process.open_adapters(tmp_path))
    for kernel_threads, threads in (("1", "3"), ("2", "2")):
        done = subprocess.run(
            [sys.executable, "-m", "tests.merge_process", str(tmp_path), threads],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": kernel_threads}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
        assert found["sha256"] == sha256_of(here)
        assert found["rise"] <= 4 * largest.nbytes, f"{found['rise'] / largest.nbytes:.2f} largest tensors"


def test_listed_files_are_named_sized_and_digested(base_folder: Path) -> None:
    entries = list_files(sorted(base_folder.iterdir(), reverse=True))
    assert [entry.path for entry in entries] == sorted(path.name for path in base_folder.iterdir())
    for entry in entries:
        path = base_folder / entry.path
        assert (entry.size, entry.sha256) == (path.stat().st_size, sha256_of(path))


def test_the_next_release_names_its_parent_and_keeps_the_rest(base: BaseModel, base_folder: Path) -> None:
    parent = locate(make_release(make_layout(base)))
    files = list_files([path for path in base_folder.iterdir() if path.is_file()])
    child = next_release(parent, files, REPORT)
    assert child.number == 1
    assert child.parent is not None
    assert (child.parent.manifest_sha256, child.parent.repo, child.parent.revision) == (
        parent.sha256, parent.repo, parent.revision,
    )  # fmt: skip
    assert (child.files, child.merge) == (files, REPORT)
    for kept in ("layout", "data", "rounds", "scoring"):
        assert getattr(child, kept) == getattr(parent.release, kept)
    assert Release.parse(child.to_bytes()) == child
