"""Exact inner products of whole deltas, from factors and row gains; no delta is formed.

D = diag(t) W0 + s diag(g) B A with t = g - 1. Per layer <D_i, D_j> is the sum over rows of
t_i t_j |w|^2 + t_i g_j c_j + t_j g_i c_i with c = s <w, BA> = s rowsum((W0 A^T) * B), and of
s^2 <A_i A_j^T, (g_i B_i)^T (g_j B_j)>. All in double precision: factors whose parts cancel (`B R, R^-1 A` for a bad R)
have an honest product there. Layer by layer, so that nothing as large as an adapter is held.
Shapes: O = out features, I = in features, R = rank, B = rows of a block.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hivetune.block_pool import row_blocks, single_threaded_kernels
from hivetune.dora import Factors, Shape
from hivetune.merging import Adapter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """An adapter and what its products need of the base."""

    adapter: Adapter
    cross_O: Mapping[str, Tensor]  # s <w, BA> per row of every layer, double
    squared: float  # <D, D>


class DeltaProducts:
    """Inner products of adapters on one base; the same bits on any number of threads."""

    def __init__(self, weights: Mapping[str, Tensor], scale: float) -> None:
        self._weights = weights
        self._scale = scale
        with single_threaded_kernels():
            self._squared_O = {name: _row_squares(base_OI) for name, base_OI in weights.items()}

    @torch.no_grad()
    def measure(self, adapter: Adapter) -> Measured:
        """One pass over the base, for all products of this adapter."""
        with single_threaded_kernels():
            cross_O = {
                name: self._scale * _row_products(base_OI, adapter.factors[name])
                for name, base_OI in self._weights.items()
            }
        alone = Measured(adapter=adapter, cross_O=cross_O, squared=0.0)
        return Measured(adapter=adapter, cross_O=cross_O, squared=self.inner(alone, alone))

    @torch.no_grad()
    def inner(self, one: Measured, other: Measured) -> float:
        """<D_one, D_other> over all layers."""
        with single_threaded_kernels():
            return sum(self._layer(name, one, other) for name in self._weights)

    def cosine(self, one: Measured, other: Measured) -> float:
        """Of the angle between two deltas; zero when one of them is nothing."""
        lengths: float = (one.squared * other.squared) ** 0.5
        return self.inner(one, other) / lengths if lengths > 0 else 0.0

    def _layer(self, name: str, one: Measured, other: Measured) -> float:
        shape, other_shape = one.adapter.shapes[name], other.adapter.shapes[name]
        step_O, other_step_O = shape.step_O.double(), other_shape.step_O.double()
        rows_O = step_O * other_step_O * self._squared_O[name]
        rows_O += step_O * other_shape.gain_O * other.cross_O[name]
        rows_O += other_step_O * shape.gain_O * one.cross_O[name]
        low_rank = _low_rank_product(one.adapter.factors[name], shape, other.adapter.factors[name], other_shape)
        return float(rows_O.sum()) + self._scale**2 * low_rank


def _low_rank_product(factors: Factors, shape: Shape, other: Factors, other_shape: Shape) -> float:
    """<diag(g) B A, diag(g') B' A'> through the two products that are as small as the ranks."""
    downs_RR = factors.down_RI.double() @ other.down_RI.double().T
    up_OR = factors.up_OR.double() * shape.gain_O.double().unsqueeze(1)
    other_up_OR = other.up_OR.double() * other_shape.gain_O.double().unsqueeze(1)
    return float((downs_RR * (up_OR.T @ other_up_OR)).sum())


def _row_squares(base_OI: Tensor) -> Tensor:
    return torch.cat([base_OI[rows].double().square().sum(1) for rows in row_blocks(*base_OI.shape)])


def _row_products(base_OI: Tensor, factors: Factors) -> Tensor:
    """<w, BA> per row, by blocks."""
    down_IR = factors.down_RI.double().T
    return torch.cat(
        [
            ((base_OI[rows].double() @ down_IR) * factors.up_OR[rows].double()).sum(1)
            for rows in row_blocks(*base_OI.shape)
        ]
    )
