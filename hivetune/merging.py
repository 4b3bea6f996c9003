"""Merging in delta space: merged = base + lambda * sum_i c_i D_i, fp32, in a fixed order.

Factors are never averaged: a product and a norm are not linear, so the mean of A, B and m is not the mean of deltas.
Shapes: O = out features, I = in features.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hivetune.dora import Factors, Shape, dora_delta, shape_of
from hivetune.errors import RejectedSubmission

MAX_PARTS_RATIO = 10.0  # rounding then stays below 1e-5 of the base weight


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adapter:
    """An admitted submission in memory: factors, and what they do to the base, by module name."""

    hotkey: str
    factors: Mapping[str, Factors]
    shapes: Mapping[str, Shape]
    norm: float  # Frobenius norm of the whole delta


@torch.no_grad()
def prepare(hotkey: str, factors: Mapping[str, Factors], weights: Mapping[str, Tensor], scale: float) -> Adapter:
    """Row gains and norm of a submission against the base's [O, I] weights.

    RejectedSubmission for factors whose product cannot be trusted in fp32: huge ones that cancel look small in one
    order of summation and not in another, so validators would disagree, and overflowing ones have no norm.
    """
    for name, layer in factors.items():
        check_conditioning(name, weights[name], layer, scale)
    shapes = {name: shape_of(weights[name], layer, scale) for name, layer in factors.items()}
    norm = math.sqrt(sum(shape.norm_squared for shape in shapes.values()))
    if not math.isfinite(norm):
        raise RejectedSubmission("not_finite", f"the delta's norm is {norm}")
    return Adapter(hotkey=hotkey, factors=factors, shapes=shapes, norm=norm)


def check_conditioning(name: str, base_OI: Tensor, factors: Factors, scale: float) -> None:
    """RejectedSubmission unless the rank-one parts of s B A are together within a few times the base weight."""
    parts = scale * float((factors.up_OR.norm(dim=0) * factors.down_RI.norm(dim=1)).sum())
    limit = MAX_PARTS_RATIO * float(base_OI.float().norm())
    if not parts <= limit:
        raise RejectedSubmission("ill_conditioned", f"{name}: parts of norm {parts:.3g}, limit {limit:.3g}")


@torch.no_grad()
def weights_norm(weights: Mapping[str, Tensor]) -> float:
    """Frobenius norm of the adapted base weights, the measure for a delta's norm."""
    return math.sqrt(sum(float(weight.double().square().sum()) for weight in weights.values()))


def uniform_coefficients(adapters: Sequence[Adapter]) -> list[float]:
    """Equal parts after clipping every delta to the median norm: c_i = min(1, median / norm_i) / n.

    Without the clip a delta scaled by 3 takes 2.4 times its pay.
    """
    if not adapters:
        return []
    median = statistics.median_low([adapter.norm for adapter in adapters])
    return [min(1.0, median / adapter.norm) / len(adapters) if adapter.norm > 0 else 0.0 for adapter in adapters]


@torch.no_grad()
def merge_layer(base_OI: Tensor, parts: Sequence[tuple[float, Factors]], scale: float) -> Tensor:
    """sum_i c_i D_i of one layer, fp32, accumulated in the order given."""
    merged_OI = torch.zeros(base_OI.shape, dtype=torch.float32)
    for coefficient, factors in parts:
        merged_OI.add_(dora_delta(base_OI, factors, scale), alpha=coefficient)
    return merged_OI


def merge_deltas(
    weights: Mapping[str, Tensor], adapters: Sequence[Adapter], coefficients: Sequence[float], scale: float
) -> dict[str, Tensor]:
    """The merged delta of every adapted layer. Adapters must come in hotkey order: floating-point sums depend on it."""
    if [a.hotkey for a in adapters] != sorted(a.hotkey for a in adapters):
        raise ValueError("adapters must be sorted by hotkey")
    return {
        name: merge_layer(base_OI, [(c, a.factors[name]) for c, a in zip(coefficients, adapters, strict=True)], scale)
        for name, base_OI in weights.items()
    }


@torch.no_grad()
def moved(weights: Mapping[str, Tensor], delta: Mapping[str, Tensor], step: float) -> dict[str, Tensor]:
    """base + step * delta, fp32, as new tensors."""
    return {name: torch.add(base_OI, delta[name], alpha=step) for name, base_OI in weights.items()}
