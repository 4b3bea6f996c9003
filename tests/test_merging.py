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
    moved,
    prepare,
    prepare_all,
    uniform_coefficients,
    weights_norm,
)
from hivetune.model import BaseModel, digest_of
from tests.conftest import random_factors, random_layer, shape_of, weights_of
from tests.merge_process import merge_layer

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


def dense_delta(base_OI: Tensor, factors: Factors, scale: float) -> Tensor:
    """W' - W0 in double precision, as the paper writes it."""
    base_OI = base_OI.double()
    direction_OI = base_OI + scale * factors.up_OR.double() @ factors.down_RI.double()
    return factors.magnitude_O.double().unsqueeze(1) * direction_OI / direction_OI.norm(dim=1, keepdim=True) - base_OI


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(1, 6)), min_size=1, max_size=6),
    st.sampled_from([1e-6, 1e-4, 1e-2, 0.1, 0.5]),
    st.integers(0, 99),
)
def test_the_factored_form_agrees_with_dense_double_precision(
    shape: tuple[int, int], parts: list[tuple[float, int]], size: float, seed: int
) -> None:
    """To 1e-5 of the deltas, however small they are."""
    base_OI = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    layers = [random_layer(base_OI, seed=seed + i, size=size, rank=rank) for i, (_, rank) in enumerate(parts)]
    merged_OI = merge_layer(base_OI, [(c, layer) for (c, _), layer in zip(parts, layers, strict=True)], SCALE)
    deltas = [c * dense_delta(base_OI, layer, SCALE) for (c, _), layer in zip(parts, layers, strict=True)]
    error = float((merged_OI.double() - sum(deltas)).norm())
    assert error <= 1e-5 * sum(float(delta.norm()) for delta in deltas)


def large_weights() -> dict[str, Tensor]:
    """Several blocks of rows, and one that is smaller than the others."""
    generator = torch.Generator().manual_seed(0)
    return {"square": torch.randn(900, 700, generator=generator), "thin": torch.randn(33, 257, generator=generator)}


def test_neither_threads_nor_company_change_a_bit() -> None:
    weights = large_weights()
    factors = {f"key-{seed}": random_factors(weights, seed=seed) for seed in range(3)}
    alone = [prepare(hotkey, layers, weights, SCALE) for hotkey, layers in factors.items()]
    coefficients = uniform_coefficients(alone)
    expected = digest_of(merge_deltas(weights, alone, coefficients, SCALE, 1))
    for threads in (1, 2, 3):
        together = prepare_all(factors, weights, SCALE, threads)
        assert [adapter.norm for adapter in together] == [adapter.norm for adapter in alone]
        assert digest_of(merge_deltas(weights, together, coefficients, SCALE, threads)) == expected
        layers = {
            name: merge_layer(
                base_OI, [(c, a.factors[name]) for c, a in zip(coefficients, alone, strict=True)], SCALE, threads
            )
            for name, base_OI in weights.items()
        }
        assert digest_of(layers) == expected


def test_where_a_tensor_lies_changes_no_bit() -> None:
    """Transposed as in GPT-2, or off alignment as in a mapped file."""
    weights = large_weights()
    factors = random_factors(weights)
    expected = digest_of(merge_deltas(weights, [prepare("key", factors, weights, SCALE)], [1.0], SCALE))
    for place in (lambda x: x.T.contiguous().T, off_alignment):
        moved_weights = {name: place(base_OI) for name, base_OI in weights.items()}
        layers = {
            name: Factors(down_RI=place(f.down_RI), up_OR=place(f.up_OR), magnitude_O=f.magnitude_O)
            for name, f in factors.items()
        }
        adapter = prepare("key", layers, moved_weights, SCALE)
        assert digest_of(merge_deltas(moved_weights, [adapter], [1.0], SCALE)) == expected


def off_alignment(tensor: Tensor) -> Tensor:
    place = torch.empty(tensor.numel() + 3)[3:].view(tensor.shape)
    return place.copy_(tensor)


def test_gains_and_norms_are_those_of_one_layer_at_a_time() -> None:
    weights = large_weights()
    factors = random_factors(weights)
    adapter = prepare("key", factors, weights, SCALE)
    for name, base_OI in weights.items():
        shape = shape_of(base_OI, factors[name], SCALE)
        torch.testing.assert_close(adapter.shapes[name].gain_O, shape.gain_O, rtol=1e-6, atol=0)
        torch.testing.assert_close(adapter.shapes[name].step_O, shape.gain_O - 1, rtol=0, atol=3e-7)
        assert adapter.shapes[name].norm_squared == pytest.approx(shape.norm_squared, rel=1e-5)


def test_a_zero_row_stays_zero() -> None:
    base_OI = toy_weights()["wide"]
    base_OI[2] = 0
    layer = random_layer(base_OI)
    layer.up_OR[2], layer.magnitude_O[2] = 0, 5.0
    merged_OI = merge_layer(base_OI, [(1.0, layer), (0.5, layer)], SCALE)
    assert torch.equal(merged_OI[2], torch.zeros(9))
    assert bool(torch.isfinite(merged_OI).all())


def test_nothing_merged_is_nothing_moved() -> None:
    weights = toy_weights()
    assert all(not delta_OI.any() for delta_OI in merge_deltas(weights, [], [], SCALE).values())
    assert not merge_layer(weights["wide"], [], SCALE).any()


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
