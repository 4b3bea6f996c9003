"""One layer's merge in factored form, by blocks of rows.

sum_i c_i D_i = (sum_i c_i (g_i - 1)) W0 + [c_i g_i s B_i]_i [A_i]_i: one product as wide as all ranks together, and no
delta of a single adapter. A block is computed from copies of its rows alone, so its bits depend neither on where the
tensors lie (in memory, in a mapped file, transposed) nor on the other blocks.
Shapes: O = out features, I = in features, R = rank, K = all ranks together, N = adapters, B = rows of a block.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hivetune.block_pool import row_blocks, run_stages, settled
from hivetune.dora import Factors, Shape

Part = tuple[float, Factors, Shape]  # coefficient c_i, and what the factors do to the base's rows
Take = Callable[[slice, Tensor, Tensor], None]  # rows, their base_BI in fp32 and merged_BI; both may be overwritten


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stacked:
    """All parts of one layer, ready for a block of its rows."""

    base_OI: Tensor  # any dtype, any layout
    ups_OR: Sequence[Tensor]  # B_i
    share_ON: Tensor  # c_i g_i s
    down_KI: Tensor  # A_i, one below the other
    stretch_O1: Tensor  # sum c_i (g_i - 1)


def stack_parts(base_OI: Tensor, parts: Sequence[Part], scale: float) -> Stacked:
    """The layer's parts side by side; sums of gains in double precision, because they may cancel."""
    out_features, in_features = base_OI.shape
    share_ON = torch.zeros(out_features, len(parts))
    stretch_O1 = torch.zeros(out_features, 1, dtype=torch.float64)
    for index, (coefficient, _, shape) in enumerate(parts):
        share_ON[:, index] = coefficient * scale * shape.gain_O
        stretch_O1[:, 0] += coefficient * shape.step_O.double()
    return Stacked(
        base_OI=base_OI,
        ups_OR=[factors.up_OR for _, factors, _ in parts],
        share_ON=share_ON,
        down_KI=torch.cat([torch.empty(0, in_features), *(factors.down_RI for _, factors, _ in parts)]),
        stretch_O1=stretch_O1.float(),
    )


def merge_layers(
    layers: Iterable[tuple[Tensor, Sequence[Part], Take]], scale: float, threads: int | None = None
) -> None:
    """Compute every layer's merge and hand each block to the layer's taker, on the thread that made it."""
    run_stages(
        (
            [partial(_merge_block, stacked, rows, take) for rows in row_blocks(*base_OI.shape)]
            for base_OI, parts, take in layers
            for stacked in [stack_parts(base_OI, parts, scale)]
        ),
        threads,
    )


@torch.no_grad()
def _merge_block(stacked: Stacked, rows: slice, take: Take) -> None:
    base_BI = settled(stacked.base_OI[rows])
    merged_BI = base_BI * stacked.stretch_O1[rows]
    if stacked.ups_OR:
        up_BK = torch.cat(
            [up_OR[rows] * stacked.share_ON[rows, i : i + 1] for i, up_OR in enumerate(stacked.ups_OR)], dim=1
        )
        merged_BI.addmm_(up_BK, stacked.down_KI)
    take(rows, base_BI, merged_BI)
