"""Merging in delta space: merged = base + lambda * sum_i c_i D_i, fp32, the same bits on any number of threads.

With momentum the merge also repeats a part of the last step, from the release before to the base.

Factors are never averaged: a product and a norm are not linear, so the mean of A, B and m is not the mean of deltas.
Shapes: O = out features, I = in features.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hivetune.dora import Factors, Shape
from hivetune.errors import RejectedSubmission
from hivetune.layer_merge import Part, Take, merge_layers
from hivetune.row_gains import measure_layers

MAX_PARTS_RATIO = 10.0  # rounding then stays below 1e-5 of the base weight


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adapter:
    """An admitted submission in memory: factors, and what they do to the base, by module name."""

    hotkey: str
    factors: Mapping[str, Factors]
    shapes: Mapping[str, Shape]
    norm: float  # Frobenius norm of the whole delta


def prepare(hotkey: str, factors: Mapping[str, Factors], weights: Mapping[str, Tensor], scale: float) -> Adapter:
    """Row gains and norm of a submission against the base's [O, I] weights.

    RejectedSubmission for factors whose product cannot be trusted in fp32: huge ones that cancel look small in one
    order of summation and not in another, so validators would disagree, and overflowing ones have no norm.
    """
    (adapter,) = prepare_all({hotkey: factors}, weights, scale)
    return adapter


@torch.no_grad()
def prepare_all(
    factors: Mapping[str, Mapping[str, Factors]],
    weights: Mapping[str, Tensor],
    scale: float,
    threads: int | None = None,
) -> list[Adapter]:
    """`prepare` for the submissions of many hotkeys, bit for bit, in one pass over the base."""
    measured = measure_layers(
        {name: (base_OI, [layers[name] for layers in factors.values()]) for name, base_OI in weights.items()},
        scale,
        threads,
    )
    adapters = []
    for index, (hotkey, layers) in enumerate(factors.items()):
        for name, layer in layers.items():
            check_conditioning(name, measured[name].base_squared ** 0.5, layer, scale)
        shapes = {name: layer.shapes[index] for name, layer in measured.items()}
        norm = math.sqrt(sum(shape.norm_squared for shape in shapes.values()))
        if not math.isfinite(norm):
            raise RejectedSubmission("not_finite", f"the delta's norm is {norm}")
        adapters.append(Adapter(hotkey=hotkey, factors=layers, shapes=shapes, norm=norm))
    return adapters


def check_conditioning(name: str, base_norm: float, factors: Factors, scale: float) -> None:
    """RejectedSubmission unless the rank-one parts of s B A are together within a few times the base weight."""
    parts = scale * float((factors.up_OR.norm(dim=0) * factors.down_RI.norm(dim=1)).sum())
    limit = MAX_PARTS_RATIO * base_norm
    if not parts <= limit:
        raise RejectedSubmission("ill_conditioned", f"{name}: parts of norm {parts:.3g}, limit {limit:.3g}")


@torch.no_grad()
def weights_norm(weights: Mapping[str, Tensor]) -> float:
    """Frobenius norm of the adapted base weights, the measure for a delta's norm."""
    return math.sqrt(sum(float(weight.double().square().sum()) for weight in weights.values()))


def uniform_coefficients(adapters: Sequence[Adapter], clip: float | None = None) -> list[float]:
    """Equal parts after clipping every delta to a norm, by default their lower median: c_i = min(1, clip / norm_i) / n.

    Without the clip a delta scaled by 3 takes 2.4 times its pay. What it is clipped to: `hivetune.clipping`.
    """
    if not adapters:
        return []
    limit = statistics.median_low([adapter.norm for adapter in adapters]) if clip is None else clip
    return [min(1.0, limit / adapter.norm) / len(adapters) if adapter.norm > 0 else 0.0 for adapter in adapters]


def merge_deltas(
    weights: Mapping[str, Tensor],
    adapters: Sequence[Adapter],
    coefficients: Sequence[float],
    scale: float,
    threads: int | None = None,
) -> dict[str, Tensor]:
    """The merged delta of every adapted layer, from gains as the adapters hold them."""
    check_order(adapters)
    merged = {name: torch.empty(base_OI.shape, dtype=torch.float32) for name, base_OI in weights.items()}
    layers = (
        (base_OI, parts_of(name, adapters, coefficients), keep_rows(merged[name])) for name, base_OI in weights.items()
    )
    merge_layers(layers, scale, threads)
    return merged


def check_order(adapters: Sequence[Adapter]) -> None:
    """ValueError unless adapters come in hotkey order: floating-point sums depend on it."""
    if [a.hotkey for a in adapters] != sorted(a.hotkey for a in adapters):
        raise ValueError("adapters must be sorted by hotkey")


def parts_of(name: str, adapters: Sequence[Adapter], coefficients: Sequence[float]) -> list[Part]:
    """What every adapter brings to one layer."""
    return [(c, a.factors[name], a.shapes[name]) for c, a in zip(coefficients, adapters, strict=True)]


def keep_rows(merged_OI: Tensor) -> Take:
    """Takes blocks into a whole tensor."""

    def take(rows: slice, _base_BI: Tensor, merged_BI: Tensor) -> None:
        merged_OI[rows] = merged_BI

    return take


@torch.no_grad()
def moved(
    weights: Mapping[str, Tensor],
    delta: Mapping[str, Tensor],
    step: float,
    previous: Mapping[str, Tensor] | None = None,
    momentum: float = 0.0,
) -> dict[str, Tensor]:
    """base + step * delta + momentum * (base - previous), fp32, as new tensors."""
    found = {name: torch.add(base_OI, delta[name], alpha=step) for name, base_OI in weights.items()}
    if previous is not None and momentum:
        for name, moved_OI in found.items():
            moved_OI.add_(weights[name] - previous[name], alpha=momentum)
    return found
