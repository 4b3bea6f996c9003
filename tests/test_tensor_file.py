"""Files of tensors as the safetensors library writes them, and files that appear whole or not at all."""

import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from hivetune.files import sized_file, write_at
from hivetune.tensor_file import Kind, plan_file

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}
TENSORS = st.dictionaries(
    st.text("abcz._09é", min_size=1, max_size=6),
    st.tuples(st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 4), max_size=3)),
    max_size=5,
)


@given(TENSORS, st.booleans())
def test_a_planned_file_is_the_one_that_the_library_writes(
    wanted: dict[str, tuple[torch.dtype, list[int]]], described: bool
) -> None:
    tensors = {name: torch.ones(shape).to(dtype) for name, (dtype, shape) in wanted.items()}
    metadata = {"format": "pt"} if described else {}
    kinds = {
        name: Kind(dtype=DTYPES[tensor.dtype], element_bytes=tensor.element_size(), shape=tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
    plan = plan_file(kinds, metadata)
    file = bytearray(plan.size)
    file[: len(plan.header)] = plan.header
    for name, offset in plan.offsets.items():
        file[offset : offset + kinds[name].size] = tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        assert kinds[name].size == 0 or (offset - len(plan.header)) % kinds[name].element_bytes == 0
    assert bytes(file) == safetensors.torch.save(tensors, metadata or None)


def test_metadata_has_one_order() -> None:
    kinds = {"x": Kind(dtype="F32", element_bytes=4, shape=(2,))}
    assert plan_file(kinds, {"b": "1", "a": "2"}) == plan_file(kinds, {"a": "2", "b": "1"})


def test_a_sized_file_is_filled_in_any_order_and_then_appears(tmp_path: Path) -> None:
    path, data = tmp_path / "file", bytes(range(256)) * 40
    with sized_file(path, len(data)) as descriptor:
        threads = [
            threading.Thread(target=write_at, args=(descriptor, memoryview(data)[start : start + 999], start))
            for start in reversed(range(0, len(data), 999))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not path.exists()
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", [None, b"the old one"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(OSError, match="Invalid"), sized_file(path, 1000) as descriptor:
        write_at(descriptor, memoryview(b"new"), -1)
    assert [found.read_bytes() for found in tmp_path.iterdir()] == ([] if before is None else [before])
