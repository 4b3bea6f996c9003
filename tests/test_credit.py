"""Credit adds up to what the merge gains, and is shared as the axioms say; naive references beside the quick code."""

import numpy as np
import pytest
import torch
from torch import Tensor

from hivetune.credit import aumann_shapley, gauss_legendre
from hivetune.dora import Factors
from hivetune.evaluation import Batch, losses
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel, digest_of
from tests.conftest import admitted, random_factors, untrained_layer, weights_of
from tests.plain_credit import SCALE, credit_of, exact_shapley, gain_of, naive_credit, worth_of


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
    worth = worth_of(llama, weights_of(llama), honest, coefficients, batches)
    np.testing.assert_allclose(found, exact_shapley(len(honest), worth), rtol=0.04)


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
