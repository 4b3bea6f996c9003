"""Merging is the weighted mean of dense deltas, in one order, clipped to the median."""

from statistics import median_low

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hivetune.dora import Factors, dora_delta, dora_weight
from hivetune.merging import (
    Adapter,
    merge_deltas,
    merge_layer,
    moved,
    prepare,
    uniform_coefficients,
    weights_norm,
)
from hivetune.model import BaseModel, digest_of
from tests.conftest import random_factors, random_layer, weights_of

SCALE = 2.0
NORMS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9)


def toy_weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"wide": torch.randn(4, 9, generator=generator), "tall": torch.randn(7, 3, generator=generator)}


def toy_adapters(weights: dict[str, Tensor], count: int, *, size: float = 0.2) -> list[Adapter]:
    return [
        prepare(f"key-{index}", random_factors(weights, seed=index, size=size), weights, SCALE)
        for index in range(count)
    ]


def of_norm(hotkey: str, norm: float) -> Adapter:
    return Adapter(hotkey=hotkey, factors={}, shapes={}, norm=norm)


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.integers(0, 99))
def test_a_merge_is_the_weighted_sum_of_dense_deltas(coefficients: list[float], seed: int) -> None:
    weights = toy_weights(seed)
    adapters = toy_adapters(weights, len(coefficients))
    merged = merge_deltas(weights, adapters, coefficients, SCALE)
    assert merged.keys() == weights.keys()
    for name, base_OI in weights.items():
        naive = sum(
            c * (dora_weight(base_OI, a.factors[name], SCALE).double() - base_OI.double())
            for c, a in zip(coefficients, adapters, strict=True)
        )
        torch.testing.assert_close(merged[name].double(), naive, rtol=1e-4, atol=1e-5)


def test_the_mean_of_factors_is_another_merge() -> None:
    """Why A, B and m are never averaged."""
    base_OI = toy_weights()["wide"]
    first, second = random_layer(base_OI, seed=1, size=0.5), random_layer(base_OI, seed=2, size=0.5)
    mean = Factors(
        down_RI=(first.down_RI + second.down_RI) / 2,
        up_OR=(first.up_OR + second.up_OR) / 2,
        magnitude_O=(first.magnitude_O + second.magnitude_O) / 2,
    )
    merged = merge_layer(base_OI, [(0.5, first), (0.5, second)], SCALE)
    difference = (dora_delta(base_OI, mean, SCALE) - merged).norm() / merged.norm()
    assert float(difference) > 0.2


def test_one_adapter_alone_is_its_own_weight() -> None:
    weights = toy_weights()
    (adapter,) = toy_adapters(weights, 1)
    merged = moved(weights, merge_deltas(weights, [adapter], [1.0], SCALE), 1.0)
    for name, base_OI in weights.items():
        torch.testing.assert_close(merged[name], dora_weight(base_OI, adapter.factors[name], SCALE))


def test_adapters_out_of_order_are_refused() -> None:
    weights = toy_weights()
    adapters = toy_adapters(weights, 3)
    with pytest.raises(ValueError, match="sorted by hotkey"):
        merge_deltas(weights, adapters[::-1], [1.0] * 3, SCALE)
    with pytest.raises(ValueError, match="zip"):
        merge_deltas(weights, adapters, [1.0] * 2, SCALE)


def test_the_same_inputs_give_the_same_bits(base: BaseModel) -> None:
    weights = weights_of(base)
    adapters = [prepare(f"key-{i}", random_factors(weights, seed=i), weights, SCALE) for i in range(3)]
    first, second = (merge_deltas(weights, adapters, uniform_coefficients(adapters), SCALE) for _ in range(2))
    assert digest_of(first) == digest_of(second)
    assert all(delta.dtype == torch.float32 for delta in first.values())
    assert all(delta.shape == weights[name].shape for name, delta in first.items())


def test_merging_leaves_the_base_alone(base: BaseModel) -> None:
    weights = weights_of(base)
    before = digest_of(weights)
    adapter = prepare("key", random_factors(weights), weights, SCALE)
    moved(weights, merge_deltas(weights, [adapter], [1.0], SCALE), 1.0)
    assert digest_of(weights) == before


@given(NORMS)
def test_coefficients_are_equal_parts_clipped_to_the_median(norms: list[float]) -> None:
    coefficients = uniform_coefficients([of_norm(str(index), norm) for index, norm in enumerate(norms)])
    median = median_low(norms)
    for norm, coefficient in zip(norms, coefficients, strict=True):
        assert coefficient == pytest.approx(min(1, median / norm) / len(norms))
        assert coefficient * norm <= median / len(norms) * (1 + 1e-9)
    assert sum(coefficients) <= 1 + 1e-9


@given(NORMS, st.floats(1.0, 100.0))
def test_whoever_is_above_the_median_gains_nothing_by_scaling_up(norms: list[float], factor: float) -> None:
    loudest = max(range(len(norms)), key=lambda index: norms[index])
    louder = [norm * factor if index == loudest else norm for index, norm in enumerate(norms)]
    before, after = (
        [c * n for c, n in zip(uniform_coefficients([of_norm("x", n) for n in ns]), ns, strict=True)]
        for ns in (norms, louder)
    )
    if len(norms) > 1:
        assert after == pytest.approx(before)


def test_an_adapter_without_a_delta_takes_no_part() -> None:
    assert uniform_coefficients([of_norm("a", 0.0), of_norm("b", 1.0)])[0] == 0.0
    assert uniform_coefficients([]) == []


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_moving_is_linear_in_the_step(first: float, second: float) -> None:
    weights, delta = toy_weights(), toy_weights(seed=1)
    there = moved(moved(weights, delta, first), delta, second)
    once = moved(weights, delta, first + second)
    for name in weights:
        torch.testing.assert_close(there[name], once[name], rtol=1e-4, atol=1e-5)


def test_norms_are_those_of_all_layers_together(base: BaseModel) -> None:
    weights = weights_of(base)
    factors = random_factors(weights)
    deltas = [dora_delta(weight_OI, factors[name], SCALE) for name, weight_OI in weights.items()]
    dense = torch.cat([delta.flatten() for delta in deltas]).double().norm()
    assert prepare("key", factors, weights, SCALE).norm == pytest.approx(float(dense), rel=1e-4)
    flat = torch.cat([weight_OI.flatten() for weight_OI in weights.values()]).double().norm()
    assert weights_norm(weights) == pytest.approx(float(flat), rel=1e-6)
