"""Files that strangers may send: each refused for its own reason, none read further than its claim deserves."""

import json
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hivetune.adapter import FILE_NAME, Stamp, file_size, header_bytes, read_adapter, tensor_shapes, write_adapter
from hivetune.errors import RejectedSubmission
from hivetune.records import AdapterLayout, Target
from tests.conftest import random_layer

LAYOUT = AdapterLayout(
    rank=2,
    alpha=4.0,
    rslora=False,
    targets=(
        Target(module="layers.0.up", out_features=3, in_features=5, transposed=False),
        Target(module="layers.0.down", out_features=5, in_features=3, transposed=True),
    ),
)
STAMP = Stamp(hotkey="5Owner", round_id=3, release_sha256="ab" * 32)
FIRST = "base_model.model.layers.0.up.lora_A.weight"
LAST = "base_model.model.layers.0.down.lora_magnitude_vector"
Header = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file, for a test to spoil."""
    return write_good(tmp_path / FILE_NAME)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The good file's bytes."""
    return write_good(tmp_path_factory.mktemp("good") / FILE_NAME).read_bytes()


def write_good(path: Path) -> Path:
    factors = {t.module: random_layer(torch.ones(t.out_features, t.in_features), rank=2) for t in LAYOUT.targets}
    write_adapter(path, LAYOUT, STAMP, factors)
    return path


def spoil_header(path: Path, change: Callable[[Header], Header | None], **options: Any) -> None:
    """Rewrite the header, keep the tensors' bytes."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header = change(header) or header
    text = json.dumps(header, **({"separators": (",", ":")} | options)).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def raw_header(path: Path, text: bytes, tail: bytes = b"") -> None:
    path.write_bytes(len(text).to_bytes(8, "little") + text + tail)


def reason(path: Path) -> str:
    with pytest.raises(RejectedSubmission) as caught:
        read_adapter(path, LAYOUT, STAMP)
    assert len(str(caught.value)) < 600
    return caught.value.reason


def put_value(path: Path, value: float, tensor: str) -> None:
    """Overwrite a tensor's first value."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    start = 8 + length + json.loads(data[8 : 8 + length])[tensor]["data_offsets"][0]
    data[start : start + 4] = torch.tensor([value]).numpy().tobytes()
    path.write_bytes(data)


def test_the_good_file_is_taken(path: Path) -> None:
    assert set(read_adapter(path, LAYOUT, STAMP)) == {"layers.0.up", "layers.0.down"}


def test_a_wrong_shape(path: Path) -> None:
    spoil_header(path, lambda header: header[FIRST].update(shape=[5, 2]))
    assert reason(path) == "wrong_shape"


def test_a_wrong_dtype(path: Path) -> None:
    spoil_header(path, lambda header: header[FIRST].update(dtype="F16"))
    assert reason(path) == "wrong_dtype"


def test_an_extra_tensor(path: Path) -> None:
    spoil_header(path, lambda header: header.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}))
    assert reason(path) == "extra_tensor"


def test_a_missing_tensor(path: Path) -> None:
    spoil_header(path, lambda header: header.pop(LAST) and header)
    assert reason(path) == "missing_tensor"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("tensor", [FIRST, LAST])
def test_a_value_that_is_not_finite(path: Path, value: float, tensor: str) -> None:
    put_value(path, value, tensor)
    assert reason(path) == "not_finite"


def test_a_negative_magnitude(path: Path) -> None:
    put_value(path, -1e-30, LAST)
    assert reason(path) == "negative_magnitude"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("hotkey", "5Thief", "wrong_owner"), ("round", "0000000004", "wrong_round"), ("round", "3", "wrong_round"),
        ("release", "cd" * 32, "wrong_release"), ("hotkey", None, "wrong_owner"), ("hotkey", ["5Owner"], "wrong_owner"),
        ("extra", "x", "bad_header"), ("format", "tf", "bad_header"),
    ],
)  # fmt: skip
def test_another_stamp(path: Path, key: str, value: object, expected: str) -> None:
    spoil_header(path, lambda header: header["__metadata__"].update({key: value}))
    assert reason(path) == expected


def test_no_stamp_at_all(path: Path) -> None:
    spoil_header(path, lambda header: header.pop("__metadata__") and header)
    assert reason(path) == "bad_header"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "a\0b", ".."])
def test_path_tricks_in_a_name(path: Path, name: str) -> None:
    spoil_header(path, lambda header: header.update({name: header[FIRST]}))
    assert reason(path) == "bad_name"


def test_a_name_that_stands_twice(path: Path) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    double = data[8 : 8 + length].rstrip()[:-1] + f',"{FIRST}":{{}}}}'.encode()
    raw_header(path, double, data[8 + length :])
    assert reason(path) == "bad_header"


@pytest.mark.parametrize("offsets", [[0, 0], [4, 44], [0, 80], [-40, 0], [0, 2**70], [0.5, 40], "0:40", [0], None])
def test_offsets_that_overlap_or_leave_the_file(path: Path, offsets: object) -> None:
    spoil_header(path, lambda header: header[FIRST].update(data_offsets=offsets))
    assert reason(path) == "bad_offsets"


def test_two_tensors_over_the_same_bytes(path: Path) -> None:
    def overlap(header: Header) -> None:
        names = [name for name in header if name.endswith("lora_A.weight")]
        header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]

    spoil_header(path, overlap)
    assert reason(path) == "bad_offsets"


@pytest.mark.parametrize("entry", [None, [], "x", 5, {}, {"dtype": "F32"}, {"dtype": "F32", "shape": [], "x": 1}])
def test_an_entry_that_describes_no_tensor(path: Path, entry: object) -> None:
    spoil_header(path, lambda header: header.update({FIRST: entry}))
    assert reason(path) == "bad_header"


@pytest.mark.parametrize("options", [{"sort_keys": True}, {"separators": (", ", ": ")}, {"separators": (",", " :")}])
def test_a_form_that_is_not_canonical(path: Path, options: dict[str, Any]) -> None:
    spoil_header(path, lambda header: header, **options)
    assert reason(path) == "bad_header"


def test_another_order_of_the_same_tensors(path: Path) -> None:
    spoil_header(path, lambda header: dict(reversed(header.items())))
    assert reason(path) == "bad_header"


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**32, 100_000_000, 10**4])
def test_a_header_that_claims_to_be_huge_is_not_read(path: Path, length: int) -> None:
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    assert reason(path) == "bad_header"


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -1, -4])
def test_a_truncated_file(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    assert reason(path) == ("wrong_size" if keep < 0 else "bad_header")


@pytest.mark.parametrize("tail", [b"\0", b"PK\x05\x06", b"x" * 100_000])
def test_trailing_garbage(path: Path, tail: bytes) -> None:
    path.write_bytes(path.read_bytes() + tail)
    assert reason(path) == "wrong_size"


@pytest.mark.parametrize("text", [b"", b" " * 64, b"null", b"[]", b"5", b"{}", b"{", b"\xff" * 64, b'"' * 64, b"NaN"])
def test_a_header_that_is_no_object(path: Path, text: bytes) -> None:
    raw_header(path, text, b"\0" * 200)
    assert reason(path) == "bad_header"


def test_numbers_too_long_to_convert(path: Path) -> None:
    limit = 4 * len(header_bytes(LAYOUT, STAMP))
    raw_header(path, b'{"a":' + b"9" * (limit - 10) + b"}")
    assert reason(path) == "bad_header"


def test_nesting_of_every_depth(path: Path) -> None:
    """Around the interpreter's limit, reading it may work while printing it does not."""
    limit = 4 * len(header_bytes(LAYOUT, STAMP))
    stamp = json.dumps({"hotkey": STAMP.hotkey, "round": "0000000003", "release": STAMP.release_sha256})
    names = ",".join(f'"{name}":{{}}' for name in tensor_shapes(LAYOUT) if name != FIRST)
    shapes = '{"__metadata__":%s,"%s":{"dtype":"F32","data_offsets":[0,40],"shape":%s},%s}'
    for depth in [1, 5, 50, *range(850, 1000, 2), (limit - 4) // 2]:
        deep = "[" * depth + "]" * depth
        for text in (
            deep,
            '{"a":' * (depth // 3) + "1" + "}" * (depth // 3),
            '{"__metadata__":{"hotkey":' + deep + "}}",
            shapes % (stamp, FIRST, deep, names),
        ):
            raw_header(path, text.encode()[:limit])
            assert reason(path) in ("bad_header", "wrong_owner", "wrong_shape")


def test_six_hundred_thousand_empty_tensors_cost_nothing(path: Path) -> None:
    entry = b'"%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    with path.open("wb") as file:
        text = b"{" + b",".join(entry % index for index in range(600_000)) + b"}"
        file.write(len(text).to_bytes(8, "little") + text)
    del text
    tracemalloc.start()
    assert reason(path) == "bad_header"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_as_many_empty_tensors_as_fit_are_named_as_extra(path: Path) -> None:
    def fill(header: Header) -> None:
        for index in range(25):
            header[f"empty{index}"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}

    spoil_header(path, fill)
    assert reason(path) == "extra_tensor"


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._canary,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_executed(path: Path, tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "executed"
    path.write_bytes(pickle.dumps({"weights": Canary(canary)}, protocol=protocol))
    assert reason(path) == ("not_safetensors" if protocol >= 2 else "bad_header")
    assert not canary.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_never_executed(path: Path, tmp_path: Path, zipped: bool) -> None:
    canary = tmp_path / "executed"
    contents = {"weights": torch.zeros(3), "canary": Canary(canary)}
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    assert reason(path) == "not_safetensors"
    assert not canary.exists()


def test_a_pickle_inside_a_header_of_the_right_length_is_never_executed(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    size = len(header_bytes(LAYOUT, STAMP)) - 8
    raw_header(path, pickle.dumps(Canary(canary)).ljust(size, b" "))
    assert reason(path) == "bad_header"
    assert not canary.exists()


HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def check_never_raises(folder: Path, data: bytes) -> None:
    """Every file but the canonical one ends in RejectedSubmission."""
    path = folder / "fuzz"
    path.write_bytes(data)
    with pytest.raises(RejectedSubmission):
        read_adapter(path, LAYOUT, STAMP)


@settings(max_examples=200)
@given(text=st.binary(max_size=120), tail=st.binary(max_size=16))
@example(text=b"{}", tail=b"")
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, text: bytes, tail: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    check_never_raises(folder, text)
    check_never_raises(folder, len(text).to_bytes(8, "little") + text + tail)


@settings(max_examples=200)
@given(value=HEADERS, where=st.sampled_from(["all", "metadata", "stamp", "entry", "dtype", "shape", "data_offsets"]))
def test_any_json_in_any_place_is_refused(
    tmp_path_factory: pytest.TempPathFactory, good: bytes, value: Any, where: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzz"
    path.write_bytes(good)

    def change(header: Header) -> Any:
        match where:
            case "all":
                return value
            case "metadata":
                header["__metadata__"] = value
            case "stamp":
                header["__metadata__"]["hotkey"] = value
            case "entry":
                header[FIRST] = value
            case _:
                header[FIRST][where] = value
        return header

    spoil_header(path, change)
    if path.read_bytes() != good:
        check_never_raises(folder, path.read_bytes())


@settings(max_examples=400)
@given(st.data())
def test_a_flipped_byte_is_refused_or_only_moves_a_number(
    tmp_path_factory: pytest.TempPathFactory, good: bytes, data: st.DataObject
) -> None:
    """A flip in the header never passes; one in the tensors may, and is then caught by the file's digest."""
    path = tmp_path_factory.getbasetemp() / "fuzz"
    content = bytearray(good)
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        factors = read_adapter(path, LAYOUT, STAMP)
    except RejectedSubmission:
        return
    assert where >= len(header_bytes(LAYOUT, STAMP))
    assert all(bool(torch.isfinite(layer.up_OR).all()) for layer in factors.values())


def test_the_expected_size_is_known_before_any_download() -> None:
    tensors = 4 * sum(torch.Size(shape).numel() for shape in tensor_shapes(LAYOUT).values())
    assert file_size(LAYOUT, STAMP) == len(header_bytes(LAYOUT, STAMP)) + tensors
