"""DoRA from the factors against naive dense formulas and against PEFT's own merge.

Shapes: O = out features, I = in features, N = tokens.
"""

from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hivetune.dora import Factors, dora_delta, dora_weight, inner_products
from hivetune.model import BaseModel, load_base
from hivetune.records import AdapterLayout
from miner.engine import PeftEngine
from tests.conftest import make_layout, random_factors, random_layer, shape_of, untrained_layer, weights_of

SIZES = st.floats(0.001, 2.0)
EXTENTS = st.integers(1, 12)


def random_base(out_features: int, in_features: int, seed: int = 1) -> Tensor:
    return torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(seed))


def naive_weight(base_OI: Tensor, factors: Factors, scale: float) -> Tensor:
    """Row by row in double precision, as section 4.1 of the paper writes it."""
    rows = []
    for row, base_I in enumerate(base_OI.double()):
        direction_I = base_I + scale * factors.up_OR[row].double() @ factors.down_RI.double()
        norm = direction_I.square().sum().sqrt()
        rows.append(factors.magnitude_O[row].double() * direction_I / norm if norm > 0 else 0 * direction_I)
    return torch.stack(rows)


@settings(max_examples=60)
@given(EXTENTS, EXTENTS, st.integers(1, 6), SIZES, st.floats(0.1, 4.0), st.integers(0, 99))
def test_the_weight_and_its_norm_are_the_naive_ones(
    out_features: int, in_features: int, rank: int, size: float, scale: float, seed: int
) -> None:
    base_OI = random_base(out_features, in_features)
    factors = random_layer(base_OI, seed=seed, size=size, rank=rank)
    expected_OI = naive_weight(base_OI, factors, scale)
    torch.testing.assert_close(dora_weight(base_OI, factors, scale).double(), expected_OI, rtol=1e-3, atol=1e-4)
    delta_OI = expected_OI - base_OI.double()
    torch.testing.assert_close(dora_delta(base_OI, factors, scale).double(), delta_OI, rtol=1e-3, atol=1e-4)
    shape = shape_of(base_OI, factors, scale)
    assert shape.norm_squared == pytest.approx(float(delta_OI.square().sum()), rel=1e-3, abs=1e-6)
    gain_O = factors.magnitude_O / (base_OI + scale * factors.up_OR @ factors.down_RI).norm(dim=1)
    torch.testing.assert_close(shape.gain_O, gain_O, rtol=1e-3, atol=1e-4)


def test_the_norm_of_a_tiny_delta_does_not_drown_in_rounding() -> None:
    base_OI = random_base(16, 24)
    factors = random_layer(base_OI, size=1e-5)
    expected = float((naive_weight(base_OI, factors, 2.0) - base_OI.double()).square().sum())
    assert shape_of(base_OI, factors, 2.0).norm_squared == pytest.approx(expected, rel=0.02)


def test_an_untrained_adapter_changes_nothing() -> None:
    base_OI = random_base(16, 24)
    factors = untrained_layer(base_OI)
    relative = shape_of(base_OI, factors, 2.0).norm_squared ** 0.5 / float(base_OI.norm())
    assert relative < 1e-6
    torch.testing.assert_close(dora_weight(base_OI, factors, 2.0), base_OI, rtol=1e-6, atol=1e-6)


def test_a_zero_row_stays_zero_and_finite() -> None:
    base_OI = random_base(4, 6)
    base_OI[2] = 0
    factors = random_layer(base_OI)
    factors.up_OR[2] = 0
    factors.magnitude_O[2] = 5.0
    weight_OI = dora_weight(base_OI, factors, 2.0)
    assert torch.equal(weight_OI[2], torch.zeros(6))
    shape = shape_of(base_OI, factors, 2.0)
    assert bool(torch.isfinite(weight_OI).all() and torch.isfinite(shape.gain_O).all())
    expected = float((weight_OI - base_OI).square().sum())
    assert shape.norm_squared == pytest.approx(expected, rel=1e-3)


def test_a_half_precision_base_is_computed_in_single_precision() -> None:
    base_OI = random_base(5, 7).bfloat16()
    factors = random_layer(base_OI)
    assert dora_weight(base_OI, factors, 2.0).dtype == torch.float32
    torch.testing.assert_close(dora_weight(base_OI, factors, 2.0), dora_weight(base_OI.float(), factors, 2.0))
    torch.testing.assert_close(
        shape_of(base_OI, factors, 2.0).norm_squared, shape_of(base_OI.float(), factors, 2.0).norm_squared
    )


@settings(max_examples=40)
@given(st.integers(1, 4), st.floats(0.0, 0.97), SIZES, st.integers(0, 99))
def test_low_rank_inner_products_are_the_dense_ones(count: int, position: float, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    base_OI = random_base(6, 9)
    layers = [random_layer(base_OI, seed=seed + index, size=size, rank=1 + index) for index in range(count)]
    coefficients = [1.0 / (count + index) for index in range(count)]
    deltas = [dora_delta(base_OI, factors, 2.0) for factors in layers]
    point_OI = base_OI + position * sum(c * delta for c, delta in zip(coefficients, deltas, strict=True))
    inputs_NI = torch.randn(11, 9, generator=generator)
    gradient_NO = torch.randn(11, 6, generator=generator)
    weight_gradient_OI = gradient_NO.T @ inputs_NI
    found = inner_products(
        gradient_NO,
        inputs_NI,
        inputs_NI @ point_OI.T,
        [(c, f, shape_of(base_OI, f, 2.0)) for c, f in zip(coefficients, layers, strict=True)],
        position,
        2.0,
    )
    expected = [float((weight_gradient_OI * delta).sum()) for delta in deltas]
    tolerance = 1e-4 * max(float(weight_gradient_OI.norm() * delta.norm()) for delta in deltas)
    assert found == pytest.approx(expected, rel=1e-3, abs=max(tolerance, 1e-5))


def peft_model(base: BaseModel, layout: AdapterLayout) -> peft.PeftModel:
    config = peft.LoraConfig(
        r=layout.rank, lora_alpha=layout.alpha, use_rslora=layout.rslora, use_dora=True,
        fan_in_fan_out=any(target.transposed for target in layout.targets),
        target_modules=[target.module for target in layout.targets],
    )  # fmt: skip
    return peft.get_peft_model(base.model, config)


@pytest.mark.parametrize("rslora", [False, True])
def test_the_merged_weights_are_those_of_peft(base_folder: Path, rslora: bool) -> None:
    base = load_base(base_folder)
    layout = make_layout(base, rslora=rslora)
    weights = {name: weight_OI.clone() for name, weight_OI in weights_of(base).items()}
    factors = random_factors(weights, size=0.2)
    model = peft_model(load_base(base_folder), layout)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, layer in factors.items():
            stem = f"base_model.model.{name}"
            parameters[f"{stem}.lora_A.default.weight"].copy_(layer.down_RI)
            parameters[f"{stem}.lora_B.default.weight"].copy_(layer.up_OR)
            parameters[f"{stem}.lora_magnitude_vector.default.weight"].copy_(layer.magnitude_O)
    merged = model.merge_and_unload()
    for target in layout.targets:
        peft_OI = merged.get_submodule(target.module).weight.detach()
        peft_OI = peft_OI.T if target.transposed else peft_OI
        ours_OI = dora_weight(weights[target.module], factors[target.module], layout.scale)
        torch.testing.assert_close(ours_OI, peft_OI, rtol=1e-5, atol=1e-5)


def test_what_peft_starts_from_is_untrained(base_folder: Path) -> None:
    base = load_base(base_folder)
    weights = {name: weight_OI.clone() for name, weight_OI in weights_of(base).items()}
    factors = PeftEngine(load_base(base_folder), make_layout(base), seed=0, device="cpu").factors()
    for name, base_OI in weights.items():
        relative = shape_of(base_OI, factors[name], 2.0).norm_squared ** 0.5 / float(base_OI.norm())
        assert relative < 1e-6, name


# What a stranger may write and still pass every check of form: finite numbers, magnitudes of zero or more.
EXTREMES: dict[str, Callable[[Factors], Factors]] = {
    "huge magnitude": lambda f: Factors(down_RI=f.down_RI, up_OR=f.up_OR, magnitude_O=f.magnitude_O * 1e37),
    "zero magnitude": lambda f: Factors(down_RI=f.down_RI, up_OR=f.up_OR, magnitude_O=f.magnitude_O * 0),
    "tiny product": lambda f: Factors(down_RI=f.down_RI * 1e-30, up_OR=f.up_OR * 1e-30, magnitude_O=f.magnitude_O),
}


@pytest.mark.parametrize("kind", EXTREMES)
def test_extreme_factors_have_an_honest_norm(kind: str) -> None:
    base_OI = random_base(6, 8)
    factors = EXTREMES[kind](random_layer(base_OI))
    expected = float(dora_delta(base_OI, factors, 2.0).double().norm())
    assert shape_of(base_OI, factors, 2.0).norm_squared ** 0.5 == pytest.approx(expected, rel=1e-3)
