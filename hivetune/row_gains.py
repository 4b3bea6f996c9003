"""What adapters do to the rows of one base: gains and norms, by blocks of rows, for all adapters in one pass.

|w + s BA|^2 = |w|^2 + 2 s <w, BA> + s^2 |BA|^2 per row. ||D||^2 is summed as (g-1)^2 |w|^2 + 2 (g-1) g s <w, BA> +
(g s)^2 |BA|^2, which does not cancel for small deltas as |W'|^2 - 2 <W', W0> + |W0|^2 does. An adapter's numbers come
from products of its own, so they are the same alone as among others, on any number of threads, and wherever the
tensors lie.
Shapes: O = out features, I = in features, R = rank, N = adapters, B = rows of a block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hivetune.block_pool import row_blocks, run_stages, settled
from hivetune.dora import Factors, Shape


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredLayer:
    """One base weight and what every adapter does to it."""

    base_squared: float  # ||W0||_F^2
    shapes: Sequence[Shape]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Rows:
    """One block's part of a MeasuredLayer, in double precision."""

    base_squared: float
    gain_NB: Tensor
    norm_squared: list[float]


def measure_layers(
    layers: Mapping[str, tuple[Tensor, Sequence[Factors]]], scale: float, threads: int | None = None
) -> dict[str, MeasuredLayer]:
    """Every layer's base weight, of any type and layout, with the factors of all adapters."""
    stages = (
        [partial(_measure_block, base_OI, downs_RI, factors, scale, rows) for rows in row_blocks(*base_OI.shape)]
        for base_OI, factors in layers.values()
        for downs_RI in [[settled(one.down_RI) for one in factors]]
    )
    return {name: _join(blocks) for name, blocks in zip(layers, run_stages(stages, threads), strict=True)}


def _join(blocks: Sequence[_Rows]) -> MeasuredLayer:
    gain_NO = torch.cat([block.gain_NB for block in blocks], dim=1)
    squares = [sum(parts) for parts in zip(*(block.norm_squared for block in blocks), strict=True)]
    return MeasuredLayer(
        base_squared=sum(block.base_squared for block in blocks),
        shapes=[
            Shape(gain_O=gain_O.float(), step_O=(gain_O - 1).float(), norm_squared=squared)
            for gain_O, squared in zip(gain_NO, squares, strict=True)
        ],
    )


@torch.no_grad()
def _measure_block(
    base_OI: Tensor, downs_RI: Sequence[Tensor], layers: Sequence[Factors], scale: float, rows: slice
) -> _Rows:
    base_BI = settled(base_OI[rows])
    base_squared_B = torch.linalg.vector_norm(base_BI, dim=1, dtype=torch.float64).square_()
    cross_NB = torch.empty(len(layers), len(base_BI), dtype=torch.float64)  # s <w, BA>
    low_rank_NB = torch.empty_like(cross_NB)  # s^2 |BA|^2
    magnitude_NB = torch.empty_like(cross_NB)
    for index, (down_RI, factors) in enumerate(zip(downs_RI, layers, strict=True)):
        up_BR = settled(factors.up_OR[rows])
        torch.sum((base_BI @ down_RI.T).mul_(up_BR), 1, dtype=torch.float64, out=cross_NB[index])
        torch.sum((up_BR @ (down_RI @ down_RI.T)).mul_(up_BR), 1, dtype=torch.float64, out=low_rank_NB[index])
        magnitude_NB[index] = factors.magnitude_O[rows]
    cross_NB *= scale
    low_rank_NB *= scale**2
    norm_NB = (base_squared_B + 2 * cross_NB + low_rank_NB).clamp_min_(0).sqrt_()
    gain_NB = torch.where(norm_NB > 0, magnitude_NB / norm_NB, 0.0)
    step_NB = gain_NB - 1
    squared_NB = step_NB.square() * base_squared_B + 2 * step_NB * gain_NB * cross_NB + gain_NB.square() * low_rank_NB
    return _Rows(
        base_squared=float(base_squared_B.sum()),
        gain_NB=gain_NB,
        norm_squared=[float(squared_B.sum()) for squared_B in squared_NB.clamp_min_(0)],
    )
