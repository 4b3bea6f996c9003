"""Our own adapter file: predicted to the byte, read back bit for bit, and loaded by PEFT alone."""

import hashlib
import json
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hivetune.adapter import (
    CONFIG_NAME,
    FILE_NAME,
    Stamp,
    content_digest,
    file_size,
    header_bytes,
    peft_config,
    read_adapter,
    tensor_shapes,
    write_adapter,
)
from hivetune.dora import Factors, dora_weight
from hivetune.model import BaseModel, load_base
from hivetune.records import AdapterLayout, Target
from tests.conftest import make_layout, random_factors, same_factors, weights_of

STAMP = Stamp(hotkey="5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX", round_id=12, release_sha256="ab" * 32)
TARGETS = st.builds(
    Target,
    module=st.from_regex(r"[A-Za-z_]{1,12}(\.[0-9]{1,2})?(\.[a-z_]{1,8})?", fullmatch=True),
    out_features=st.integers(1, 9),
    in_features=st.integers(1, 9),
    transposed=st.booleans(),
)
LAYOUTS = st.builds(
    AdapterLayout,
    rank=st.integers(1, 5),
    alpha=st.floats(0.5, 64),
    rslora=st.booleans(),
    targets=st.lists(TARGETS, min_size=1, max_size=4, unique_by=lambda t: t.module).map(tuple),
)
STAMPS = st.builds(
    Stamp, hotkey=st.text(max_size=48), round_id=st.integers(0, 2**32 - 1), release_sha256=st.just("cd" * 32)
)


def factors_for(layout: AdapterLayout, seed: int = 0) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)
    return {
        target.module: Factors(
            down_RI=torch.randn(layout.rank, target.in_features, generator=generator),
            up_OR=torch.randn(target.out_features, layout.rank, generator=generator),
            magnitude_O=torch.rand(target.out_features, generator=generator),
        )
        for target in layout.targets
    }


@settings(max_examples=40)
@given(layout=LAYOUTS, stamp=STAMPS, seed=st.integers(0, 99))
def test_every_file_is_predicted_to_the_byte_and_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, layout: AdapterLayout, stamp: Stamp, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / FILE_NAME
    factors = factors_for(layout, seed)
    digest = write_adapter(path, layout, stamp, factors)
    data = path.read_bytes()
    assert len(data) == file_size(layout, stamp)
    assert data.startswith(header_bytes(layout, stamp))
    assert hashlib.sha256(data).hexdigest() == digest
    found = read_adapter(path, layout, stamp)
    assert same_factors(found, factors)
    write_adapter(path, layout, stamp, found)
    assert path.read_bytes() == data


def test_safetensors_itself_reads_the_file(base: BaseModel, tmp_path: Path) -> None:
    layout, factors = make_layout(base), random_factors(weights_of(base))
    write_adapter(tmp_path / FILE_NAME, layout, STAMP, factors)
    with safetensors.safe_open(tmp_path / FILE_NAME, framework="pt") as file:
        assert file.metadata() == {
            "format": "pt", "hotkey": STAMP.hotkey, "round": "0000000012", "release": STAMP.release_sha256
        }  # fmt: skip
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118 - not a dict
    assert shapes == tensor_shapes(layout)
    assert len(header_bytes(layout, STAMP)) % 8 == 0


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_alone_loads_the_file_with_equal_logits(base_folder: Path, tmp_path: Path, rslora: bool) -> None:
    base = load_base(base_folder)
    layout = make_layout(base, rslora=rslora)
    weights = weights_of(base)
    factors = random_factors(weights, size=0.2)
    write_adapter(tmp_path / FILE_NAME, layout, STAMP, factors)
    (tmp_path / CONFIG_NAME).write_bytes(peft_config(layout, "owner/releases"))
    tokens_BT = torch.tensor([[5, 1, 4, 1, 5, 9, 2, 6]])
    ours = base.logits(tokens_BT, {n: dora_weight(w, factors[n], layout.scale) for n, w in weights.items()})
    unadapted = base.logits(tokens_BT, {})
    model = peft.PeftModel.from_pretrained(load_base(base_folder).model, tmp_path)
    with torch.no_grad():
        theirs = model(input_ids=tokens_BT).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(theirs, unadapted, atol=1e-2)


def test_the_config_names_every_layer_and_runs_no_code(base: BaseModel) -> None:
    layout = make_layout(base)
    config = json.loads(peft_config(layout, "owner/releases"))
    assert set(config["target_modules"]) == {target.module for target in layout.targets}
    assert config["use_dora"] is True
    assert config["fan_in_fan_out"] == any(target.transposed for target in layout.targets)
    assert "auto_mapping" not in config


def test_equal_tensors_under_another_name_have_an_equal_content_digest(llama: BaseModel, tmp_path: Path) -> None:
    layout, factors = make_layout(llama), random_factors(weights_of(llama))
    other = Stamp(hotkey="a-thief", round_id=9, release_sha256="0" * 64)
    first = write_adapter(tmp_path / "first", layout, STAMP, factors)
    second = write_adapter(tmp_path / "second", layout, other, factors)
    write_adapter(tmp_path / "third", layout, STAMP, random_factors(weights_of(llama), seed=1))
    assert first != second
    assert content_digest(tmp_path / "first") == content_digest(tmp_path / "second")
    assert content_digest(tmp_path / "first") != content_digest(tmp_path / "third")


def test_factors_of_another_shape_are_our_own_mistake(llama: BaseModel, tmp_path: Path) -> None:
    factors = random_factors(weights_of(llama))
    with pytest.raises(ValueError, match="the release wants"):
        write_adapter(tmp_path / FILE_NAME, make_layout(llama, rank=3), STAMP, factors)
    assert not (tmp_path / FILE_NAME).exists()


def test_values_at_the_edge_of_the_type_survive(tmp_path: Path) -> None:
    layout = AdapterLayout(
        rank=1, alpha=1.0, rslora=False, targets=(Target(module="x", out_features=2, in_features=2, transposed=False),)
    )
    edges = Factors(
        down_RI=torch.tensor([[3.4e38, -3.4e38]]),
        up_OR=torch.tensor([[1e-45], [-0.0]]),
        magnitude_O=torch.tensor([0.0, 3.4e38]),
    )
    write_adapter(tmp_path / FILE_NAME, layout, STAMP, {"x": edges})
    assert same_factors(read_adapter(tmp_path / FILE_NAME, layout, STAMP), {"x": edges})


def anonymous_bytes() -> int:
    """Memory of this process that is no mapped file."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_factors_stay_in_their_file_so_that_many_submissions_fit(tmp_path: Path) -> None:
    targets = tuple(Target(module=f"m{i}", out_features=4096, in_features=512, transposed=False) for i in range(4))
    layout = AdapterLayout(rank=256, alpha=1.0, rslora=False, targets=targets)
    write_adapter(tmp_path / FILE_NAME, layout, STAMP, factors_for(layout))
    before = anonymous_bytes()
    kept = [read_adapter(tmp_path / FILE_NAME, layout, STAMP) for _ in range(4)]
    assert len(kept) * file_size(layout, STAMP) > 70 << 20
    assert anonymous_bytes() - before < 20 << 20
