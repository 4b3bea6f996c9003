"""A merged base on disk: the adapted tensors moved, every other byte as it was, in any architecture."""

from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from averager.release import list_files, next_release, write_merged_base
from hivetune.dora import dora_delta
from hivetune.errors import ConfigError
from hivetune.files import sha256_of
from hivetune.merging import moved
from hivetune.model import BaseModel, load_base, save_base
from hivetune.records import MergeReport, Release
from tests.conftest import locate, make_layout, make_release, random_factors, weights_of

STEP = 1.25
TOKENS_BT = torch.tensor([[5, 1, 4, 1, 5, 9, 2, 6]])
REPORT = MergeReport(
    round_id=3, beacon="0xab", method="uniform", scale=STEP, contributions=(), loss_before=2.0, loss_after=1.5,
    improvement=0.5, lower=0.4, upper=0.6,
)  # fmt: skip


def some_delta(base: BaseModel) -> dict[str, Tensor]:
    weights = weights_of(base)
    return {name: dora_delta(weights[name], layer, 2.0) for name, layer in random_factors(weights).items()}


def stored(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= safetensors.torch.load_file(path)
    return found


def test_the_adapted_tensors_moved_and_nothing_else(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    delta, layout = some_delta(base), make_layout(base)
    transposed = {f"{target.module}.weight": target.transposed for target in layout.targets}
    written = write_merged_base(base_folder, delta, STEP, layout, tmp_path / "next")
    assert {path.name for path in written} == {path.name for path in base_folder.iterdir()}
    before, after = stored(base_folder), stored(tmp_path / "next")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name in transposed:
            step = delta[name.removesuffix(".weight")]
            expected = tensor + STEP * (step.T if transposed[name] else step)
            torch.testing.assert_close(after[name], expected)
        else:
            assert torch.equal(after[name], tensor), name
    for path in base_folder.iterdir():
        if path.suffix != ".safetensors":
            assert (tmp_path / "next" / path.name).read_bytes() == path.read_bytes()


def test_transformers_loads_the_release_that_was_measured(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    delta = some_delta(base)
    write_merged_base(base_folder, delta, STEP, make_layout(base), tmp_path / "next")
    released = load_base(tmp_path / "next")
    measured = base.logits(TOKENS_BT, moved(weights_of(base), delta, STEP))
    torch.testing.assert_close(released.logits(TOKENS_BT, {}), measured, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(measured, base.logits(TOKENS_BT, {}), atol=1e-2)


def test_embeddings_stay_tied_when_they_were(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    for name, tied in (("llama", False), ("llama-tied", True), ("gpt2", True), ("gpt-neox", False)):
        write_merged_base(base_folders[name], some_delta(bases[name]), STEP, make_layout(bases[name]), tmp_path / name)
        model = load_base(tmp_path / name).model
        shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        assert shared == tied, name


def test_equal_merges_have_equal_bytes(base: BaseModel, base_folder: Path, tmp_path: Path) -> None:
    delta, layout = some_delta(base), make_layout(base)
    first = list_files(write_merged_base(base_folder, delta, STEP, layout, tmp_path / "first"))
    second = list_files(write_merged_base(base_folder, delta, STEP, layout, tmp_path / "second"))
    assert first == second


def test_a_half_precision_base_becomes_a_single_precision_master(
    base_folders: dict[str, Path], bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    halved = load_base(base_folders["llama"], dtype=torch.bfloat16)
    save_base(halved, tmp_path / "half")
    half = load_base(tmp_path / "half")
    delta = some_delta(half)
    write_merged_base(tmp_path / "half", delta, STEP, make_layout(half), tmp_path / "next")
    adapted = {f"{name}.weight" for name in delta}
    for name, tensor in stored(tmp_path / "next").items():
        assert tensor.dtype == (torch.float32 if name in adapted else torch.bfloat16), name
    measured = half.logits(TOKENS_BT, moved(weights_of(half), delta, STEP))
    torch.testing.assert_close(load_base(tmp_path / "next").logits(TOKENS_BT, {}), measured, rtol=1e-5, atol=1e-5)


def test_a_base_in_several_files_is_merged_in_each(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    base = load_base(base_folders["gpt2"])
    base.model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")  # type: ignore[operator]
    base.tokenizer.save_pretrained(tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    delta = some_delta(base)
    write_merged_base(tmp_path / "parts", delta, STEP, make_layout(base), tmp_path / "next")
    measured = base.logits(TOKENS_BT, moved(weights_of(base), delta, STEP))
    torch.testing.assert_close(load_base(tmp_path / "next").logits(TOKENS_BT, {}), measured, rtol=1e-5, atol=1e-5)


def test_a_base_that_stores_a_weight_under_another_name_is_refused(
    bases: dict[str, BaseModel], base_folders: dict[str, Path], tmp_path: Path
) -> None:
    delta = some_delta(bases["llama"])
    tensors = stored(base_folders["llama"])
    name = f"{next(iter(delta))}.weight"
    tensors["renamed.weight"] = tensors.pop(name)
    (tmp_path / "odd").mkdir()
    safetensors.torch.save_file(tensors, tmp_path / "odd" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=next(iter(delta))):
        write_merged_base(tmp_path / "odd", delta, STEP, make_layout(bases["llama"]), tmp_path / "next")


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
