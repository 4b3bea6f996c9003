"""Credit adds up to what the merge gains, and is shared as the axioms say; naive references beside the quick code."""

from collections.abc import Sequence
from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from torch import Tensor

from hivetune.credit import aumann_shapley, gauss_legendre
from hivetune.dora import Factors, dora_delta
from hivetune.evaluation import Batch, batch_nats, losses
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel, digest_of
from tests.conftest import admitted, random_factors, untrained_layer, weights_of

SCALE = 2.0


def credit_of(
    base: BaseModel,
    adapters: Sequence[Adapter],
    coefficients: Sequence[float],
    batches: Sequence[Batch],
    nodes: int = 2,
) -> np.ndarray:
    return aumann_shapley(base, weights_of(base), adapters, coefficients, batches, SCALE, nodes=nodes).sum(0)


def gain_of(
    base: BaseModel, adapters: Sequence[Adapter], coefficients: Sequence[float], batches: Sequence[Batch]
) -> float:
    """Nats that the merge of these saves on the text."""
    weights = weights_of(base)
    delta = merge_deltas(weights, adapters, coefficients, SCALE)
    return sum(losses(base, batches, {})) - sum(losses(base, batches, moved(weights, delta, 1.0)))


def naive_credit(
    base: BaseModel, adapters: Sequence[Adapter], coefficients: Sequence[float], batches: Sequence[Batch]
) -> np.ndarray:
    """Dense weight gradients times dense deltas, one adapter and one batch at a time."""
    weights = weights_of(base)
    merged = merge_deltas(weights, adapters, coefficients, SCALE)
    credit_BA = np.zeros((len(batches), len(adapters)))
    for position, part in gauss_legendre(2):
        for row, batch in enumerate(batches):
            point = {name: w.requires_grad_() for name, w in moved(weights, merged, position).items()}
            gradients = torch.autograd.grad(batch_nats(base, batch, point), list(point.values()))
            for column, (adapter, coefficient) in enumerate(zip(adapters, coefficients, strict=True)):
                for name, gradient_OI in zip(point, gradients, strict=True):
                    delta_OI = dora_delta(weights[name], adapter.factors[name], SCALE)
                    credit_BA[row, column] -= part * coefficient * float((gradient_OI * delta_OI).double().sum())
    return credit_BA


def exact_shapley(
    base: BaseModel, adapters: Sequence[Adapter], coefficients: Sequence[float], batches: Sequence[Batch]
) -> list[float]:
    """The mean of marginal gains over all coalitions, each one merged and measured."""
    everyone = range(len(adapters))
    worth = {
        coalition: gain_of(base, [adapters[i] for i in coalition], [coefficients[i] for i in coalition], batches)
        for size in range(len(adapters) + 1)
        for coalition in combinations(everyone, size)
    }
    shares = []
    for one in everyone:
        share = 0.0
        for coalition, value in worth.items():
            if one not in coalition:
                before, after = len(coalition), len(adapters) - len(coalition) - 1
                often = factorial(before) * factorial(after) / factorial(len(adapters))
                share += often * (worth[tuple(sorted((*coalition, one)))] - value)
        shares.append(share)
    return shares


def zero_factors(weights: dict[str, Tensor]) -> dict[str, Factors]:
    return {name: untrained_layer(weight_OI) for name, weight_OI in weights.items()}


def test_credits_add_up_to_what_the_merge_gains(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    coefficients = uniform_coefficients(honest)
    gain = gain_of(llama, honest, coefficients, batches)
    assert gain / sum(batch.predicted for batch in batches) > 0.1
    assert credit_of(llama, honest, coefficients, batches).sum() == pytest.approx(gain, rel=0.02)


def test_credits_add_up_in_every_architecture(base: BaseModel, batches: list[Batch]) -> None:
    """Random deltas, biases, tied weights and Conv1D; batches one by one."""
    weights = weights_of(base)
    adapters = [admitted(base, f"key-{i}", random_factors(weights, seed=i, size=0.05)) for i in range(2)]
    credits_BA = aumann_shapley(base, weights, adapters, [0.5, 0.5], batches, SCALE, nodes=4)
    merged = moved(weights, merge_deltas(weights, adapters, [0.5, 0.5], SCALE), 1.0)
    gained_B = np.array(losses(base, batches, {})) - np.array(losses(base, batches, merged))
    assert np.abs(gained_B).max() > 0.5
    np.testing.assert_allclose(credits_BA.sum(1), gained_B, rtol=0.02, atol=0.02)


def test_credits_are_the_naive_ones_in_every_architecture(base: BaseModel, batches: list[Batch]) -> None:
    adapters = [admitted(base, f"key-{i}", random_factors(weights_of(base), seed=i)) for i in range(3)]
    coefficients = [0.5, 0.3, 0.1]
    found = aumann_shapley(base, weights_of(base), adapters, coefficients, batches[:2], SCALE)
    expected = naive_credit(base, adapters, coefficients, batches[:2])
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))


def test_credits_agree_with_exact_shapley(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    coefficients = uniform_coefficients(honest)
    found = credit_of(llama, honest, coefficients, batches)
    np.testing.assert_allclose(found, exact_shapley(llama, honest, coefficients, batches), rtol=0.04)


def test_two_nodes_are_enough(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    coefficients = uniform_coefficients(honest)
    two, eight = (credit_of(llama, honest, coefficients, batches, nodes) for nodes in (2, 8))
    np.testing.assert_allclose(two, eight, rtol=0.01)


def test_one_node_at_the_base_would_overpay(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    """The gradient at the base alone is what a first-order score would pay by."""
    coefficients = uniform_coefficients(honest)
    tiny = [1e-3 * c for c in coefficients]
    first_order = 1e3 * credit_of(llama, honest, tiny, batches).sum()
    assert first_order > 1.1 * gain_of(llama, honest, coefficients, batches)


def test_a_delta_of_nothing_earns_nothing(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    idle = admitted(llama, "idle", zero_factors(weights_of(llama)))
    found = credit_of(llama, [*honest, idle], [0.25] * 4, batches)
    assert abs(found[3]) < 1e-4 * abs(found).max()
    np.testing.assert_allclose(found[:3], credit_of(llama, honest, [0.25] * 3, batches), rtol=1e-3)


def test_a_coefficient_of_zero_earns_nothing(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    found = credit_of(llama, honest, [0.3, 0.0, 0.3], batches)
    assert found[1] == 0.0
    assert found[0] > 0


def test_credit_is_linear_in_the_coefficient(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    """Along one path: two copies that share a part in the ratio one to three share its credit in that ratio."""
    twin = Adapter(hotkey="twin", factors=honest[0].factors, shapes=honest[0].shapes, norm=honest[0].norm)
    found = credit_of(llama, [*honest, twin], [0.1, 0.3, 0.3, 0.3], batches)
    assert found[3] == pytest.approx(3 * found[0], rel=1e-3)


def test_splitting_into_two_halves_changes_nothing(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch]
) -> None:
    twin = Adapter(hotkey="twin", factors=honest[2].factors, shapes=honest[2].shapes, norm=honest[2].norm)
    whole = credit_of(llama, honest, [0.3, 0.3, 0.4], batches)
    halves = credit_of(llama, [*honest, twin], [0.3, 0.3, 0.2, 0.2], batches)
    assert halves[2] + halves[3] == pytest.approx(whole[2], rel=1e-3)
    np.testing.assert_allclose(halves[:2], whole[:2], rtol=1e-3)


def test_batches_are_credited_one_by_one(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    coefficients = uniform_coefficients(honest)
    together = aumann_shapley(llama, weights_of(llama), honest, coefficients, batches, SCALE)
    alone = [aumann_shapley(llama, weights_of(llama), honest, coefficients, [batch], SCALE)[0] for batch in batches[:2]]
    np.testing.assert_allclose(together[:2], alone, rtol=1e-5)


def test_crediting_leaves_the_model_as_it_was(base: BaseModel, batches: list[Batch]) -> None:
    weights = weights_of(base)
    before, logits = digest_of(weights), base.logits(batches[0].tokens_BT, {})
    adapter = admitted(base, "key", random_factors(weights))
    aumann_shapley(base, weights, [adapter], [1.0], batches[:1], SCALE)
    assert digest_of(weights) == before
    assert torch.equal(base.logits(batches[0].tokens_BT, {}), logits)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert not any(module._forward_hooks for module in base.model.modules())
    assert not logits.requires_grad


def test_zero_rows_and_zero_magnitudes_stay_finite(llama: BaseModel, batches: list[Batch]) -> None:
    factors = random_factors(weights_of(llama))
    for layer in factors.values():
        layer.magnitude_O[::2] = 0
    adapters = [admitted(llama, "key", factors)]
    found = aumann_shapley(llama, weights_of(llama), adapters, [1.0], batches[:2], SCALE)
    np.testing.assert_allclose(found, naive_credit(llama, adapters, [1.0], batches[:2]), rtol=1e-2, atol=0.05)


def test_the_rule_integrates_polynomials_exactly() -> None:
    for nodes in (1, 2, 4, 8):
        for degree in range(2 * nodes):
            total = sum(weight * position**degree for position, weight in gauss_legendre(nodes))
            assert total == pytest.approx(1 / (degree + 1))
