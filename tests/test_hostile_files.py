"""Files that strangers may send: each refused for its own reason, none read further than its claim deserves."""

import json
import math
import tracemalloc
from pathlib import Path

import pytest

from hivetune.adapter import file_size, header_bytes, read_adapter, tensor_shapes
from hivetune.errors import RejectedSubmission
from tests.hostile_corpus import CORPUS
from tests.hostile_files import CANARY, LAYOUT, LONGEST, STAMP, Good, Hostile, framed, good_file

MOST_BYTES = 1 << 20  # in Python's memory, for any of them; the expected header has 0.8 KiB


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return good_file(tmp_path_factory.mktemp("good"))


def refused(path: Path) -> RejectedSubmission:
    with pytest.raises(RejectedSubmission) as caught:
        read_adapter(path, LAYOUT, STAMP)
    return caught.value


def test_the_good_file_is_taken(good: Good, tmp_path: Path) -> None:
    path = tmp_path / "good"
    path.write_bytes(good.data)
    assert set(read_adapter(path, LAYOUT, STAMP)) == {"layers.0.up", "layers.0.down"}
    assert len(good.data) == file_size(LAYOUT, STAMP)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: ascii(case.name))
def test_a_hostile_file_is_refused_for_its_reason(
    case: Hostile, good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile"
    path.write_bytes(case.make(good))
    tracemalloc.start()
    found = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.reason == case.reason
    assert found.detail.isprintable()
    assert len(str(found)) < 400
    assert peak < MOST_BYTES
    assert not CANARY.exists()


def test_the_corpus_is_large_and_names_every_reason_that_a_file_can_have() -> None:
    assert len(CORPUS) == len({case.name for case in CORPUS}) > 100
    assert {case.reason for case in CORPUS} == {
        "not_safetensors", "bad_header", "wrong_owner", "wrong_round", "wrong_release", "bad_name", "extra_tensor",
        "missing_tensor", "wrong_dtype", "wrong_shape", "bad_offsets", "wrong_size", "not_finite", "negative_magnitude",
    }  # fmt: skip


def test_a_terabyte_is_not_read(good: Good, tmp_path: Path) -> None:
    """A sparse file: reading it would take hours."""
    path = tmp_path / "sparse"
    for data in (good.data, framed(b"", length=2**40), framed(b" " * 8, length=LONGEST * good.header_size)):
        path.write_bytes(data)
        with path.open("r+b") as file:
            file.truncate(1 << 40)
        assert refused(path).reason in ("wrong_size", "bad_header")


def test_nesting_of_every_depth(good: Good, tmp_path: Path) -> None:
    """Around the interpreter's limit, reading it may work while printing it does not."""
    path = tmp_path / "deep"
    limit = LONGEST * good.header_size
    stamp = json.dumps({"hotkey": STAMP.hotkey, "round": "0000000003", "release": STAMP.release_sha256})
    first, *others = tensor_shapes(LAYOUT)
    names = ",".join(f'"{name}":{{}}' for name in others)
    shapes = '{"__metadata__":%s,"%s":{"dtype":"F32","data_offsets":[0,40],"shape":%s},%s}'
    for depth in [1, 5, 50, *range(850, 1000, 6), (limit - 4) // 2]:
        deep = "[" * depth + "]" * depth
        for text in ('{"__metadata__":{"hotkey":' + deep + "}}", shapes % (stamp, first, deep, names)):
            path.write_bytes(framed(text.encode()[:limit]))
            assert refused(path).reason in ("bad_header", "wrong_owner", "wrong_shape")


def test_the_expected_size_is_known_before_any_download() -> None:
    tensors = 4 * sum(math.prod(shape) for shape in tensor_shapes(LAYOUT).values())
    assert file_size(LAYOUT, STAMP) == len(header_bytes(LAYOUT, STAMP)) + tensors
