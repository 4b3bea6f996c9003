"""DoRA mathematics in weight space, from the factors where the dense delta is not needed.

W' = diag(g) (W0 + s B A) with g = m / ||W0 + s B A|| per output row (Liu et al. 2024, arXiv:2402.09353, section 4.1);
the delta is D = W' - W0 = diag(g - 1) W0 + s diag(g) B A.
Shapes: O = out features, I = in features, R = rank, M = adapters, K = all their ranks together, N = tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factors:
    """One adapted layer's trained tensors, fp32."""

    down_RI: Tensor  # A
    up_OR: Tensor  # B
    magnitude_O: Tensor  # m


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shape:
    """What the factors do to the rows of one base weight, without any dense product."""

    gain_O: Tensor  # g, fp32
    step_O: Tensor  # g - 1, rounded to fp32 after the subtraction: a gain in fp32 knows it only to 6e-8
    norm_squared: float  # ||D||_F^2


def dora_weight(base_OI: Tensor, factors: Factors, scale: float, into_OI: Tensor | None = None) -> Tensor:
    """The adapted weight W', fp32; written into `into_OI` when that is given."""
    direction_OI = torch.addmm(base_OI.float(), factors.up_OR, factors.down_RI, alpha=scale, out=into_OI)
    norm_O1 = direction_OI.norm(dim=1, keepdim=True)
    return direction_OI.mul_(_gain(factors.magnitude_O.unsqueeze(1), norm_O1))


def dora_delta(base_OI: Tensor, factors: Factors, scale: float) -> Tensor:
    """The dense delta W' - W0, fp32."""
    return dora_weight(base_OI, factors, scale) - base_OI.float()


def inner_products(
    outputs_gradient_NO: Tensor,
    inputs_NI: Tensor,
    outputs_NO: Tensor,
    adapters: Sequence[tuple[float, Factors, Shape]],
    position: float,
    scale: float,
) -> list[float]:
    """<G, D_i> of one layer for every adapter i, where G = dL/dW at W = W0 + t sum_j c_j D_j.

    No D_i is formed: with N tokens' inputs x, outputs y = W x (without bias) and dL/dy,
    <G, D_i> = sum ((g_i - 1) a + l_i) over rows, l_i = s g_i rowsum((G A_i^T) * B_i), G A_i^T = dL/dy^T (x A_i^T).
    The rows a = rowsum(G * W0) follow from rowsum(G * W) = sum_N dL/dy * y, which is at hand:
    a = (rowsum(G * W) - t sum_j c_j l_j) / (1 + t sum_j c_j (g_j - 1)). The denominator is positive for t < 1 and
    sum c_j <= 1, because gains are not negative. `adapters` holds (c_i, factors, shape), `position` is t.
    """
    coefficients_M = outputs_NO.new_tensor([coefficient for coefficient, _, _ in adapters])
    gain_OM = torch.stack([shape.gain_O for _, _, shape in adapters], dim=1)
    step_OM = torch.stack([shape.step_O for _, _, shape in adapters], dim=1)
    down_KI = torch.cat([factors.down_RI for _, factors, _ in adapters])
    up_OK = torch.cat([factors.up_OR for _, factors, _ in adapters], dim=1)
    products_OK = _projected(outputs_gradient_NO, inputs_NI, down_KI).mul_(up_OK)
    parts = products_OK.split([factors.up_OR.shape[1] for _, factors, _ in adapters], dim=1)
    low_rank_OM = torch.stack([part_OR.sum(1) for part_OR in parts], dim=1).mul_(scale * gain_OM)
    along_O = (outputs_gradient_NO * outputs_NO).sum(0) - position * (low_rank_OM @ coefficients_M)
    stretch_O = 1 + position * (step_OM @ coefficients_M)
    base_O1 = (along_O / stretch_O).unsqueeze(1)
    found: list[float] = (step_OM * base_O1 + low_rank_OM).sum(0, dtype=torch.float64).tolist()
    return found


def _projected(outputs_gradient_NO: Tensor, inputs_NI: Tensor, down_KI: Tensor) -> Tensor:
    """G A^T [O, K] for G = dL/dy^T x, by way of x A^T or of G itself, whichever takes fewer operations."""
    (tokens, out_features), (ranks, in_features) = outputs_gradient_NO.shape, down_KI.shape
    if tokens * ranks * (in_features + out_features) <= out_features * in_features * (tokens + ranks):
        return outputs_gradient_NO.T @ (inputs_NI @ down_KI.T)
    return (outputs_gradient_NO.T @ inputs_NI) @ down_KI.T


def _gain(magnitude: Tensor, norm: Tensor) -> Tensor:
    """m / norm; a zero row has no direction, so it stays zero instead of becoming NaN."""
    return torch.where(norm > 0, magnitude / norm, torch.zeros_like(norm))
