"""What copiers and poisoners do with deltas: the arithmetic of DoRA files in weight space.

Every file is W' = diag(g) W0 + L with L of low rank, so sums and multiples of deltas are known exactly, and go back
into a file exactly as long as the ranks suffice; beyond them the best file of the given rank is taken.
Shapes: O = out features, I = in features, R = rank of a file, K = rank of a sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hivetune.dora import Factors

Adapter = Mapping[str, Factors]
_FIT_PASSES = 12
_NO_GAIN = 1e-3  # a row cannot be turned round by its magnitude, only made small


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerDelta:
    """D = diag(step) W0 + up down."""

    step_O: Tensor
    up_OK: Tensor
    down_KI: Tensor


def delta_of(base_OI: Tensor, factors: Factors, scale: float) -> LayerDelta:
    """The delta of one layer of a file."""
    norm_O = (base_OI + scale * factors.up_OR @ factors.down_RI).norm(dim=1)
    gain_O = torch.where(norm_O > 0, factors.magnitude_O / norm_O, torch.zeros_like(norm_O))
    return LayerDelta(step_O=gain_O - 1, up_OK=scale * gain_O.unsqueeze(1) * factors.up_OR, down_KI=factors.down_RI)


def combine(parts: Sequence[tuple[float, LayerDelta]]) -> LayerDelta:
    """The weighted sum of deltas."""
    return LayerDelta(
        step_O=torch.stack([weight * part.step_O for weight, part in parts]).sum(0),
        up_OK=torch.cat([weight * part.up_OK for weight, part in parts], dim=1),
        down_KI=torch.cat([part.down_KI for _, part in parts]),
    )


def to_factors(base_OI: Tensor, delta: LayerDelta, rank: int, scale: float) -> Factors:
    """The file layer with this delta; with the best low-rank part of that rank when the sum has a higher one."""
    gain_O1 = (1 + delta.step_O).clamp_min(_NO_GAIN).unsqueeze(1)
    up_OR, down_RI = _of_rank(delta.up_OK / gain_O1, delta.down_KI, rank)
    norm_O = (base_OI + up_OR @ down_RI).norm(dim=1)
    return Factors(down_RI=down_RI, up_OR=up_OR / scale, magnitude_O=gain_O1.squeeze(1) * norm_O)


def mixed(weights: Mapping[str, Tensor], files: Sequence[tuple[float, Adapter]], scale: float) -> dict[str, Factors]:
    """The file whose delta is a weighted sum of those of other files; exact for one file."""
    made = {}
    for name, base_OI in weights.items():
        parts = [(weight, delta_of(base_OI, file[name], scale)) for weight, file in files]
        rank = files[0][1][name].up_OR.shape[1]
        made[name] = to_factors(base_OI, combine(parts), rank, scale)
    return made


def fitted(weights: Mapping[str, Tensor], deltas: Mapping[str, Tensor], rank: int, scale: float) -> dict[str, Factors]:
    """A file close to dense deltas [O, I]: rescaled rows and a low-rank part, each fitted to what the other leaves."""
    made = {}
    for name, base_OI in weights.items():
        square_O = base_OI.square().sum(1).clamp_min(1e-12)
        up_OR, down_RI = torch.zeros(len(base_OI), rank), torch.zeros(rank, base_OI.shape[1])
        for _ in range(_FIT_PASSES):
            step_O = ((deltas[name] - up_OR @ down_RI) * base_OI).sum(1) / square_O
            up_OR, down_RI = _leading(deltas[name] - step_O.unsqueeze(1) * base_OI, rank)
        made[name] = to_factors(base_OI, LayerDelta(step_O=step_O, up_OK=up_OR, down_KI=down_RI), rank, scale)
    return made


def gauged(file: Adapter, generator: torch.Generator) -> dict[str, Factors]:
    """Other numbers, the same delta: B R and R^-1 A for a random R."""
    made = {}
    for name, layer in file.items():
        rank = layer.up_OR.shape[1]
        turn_RR = torch.linalg.qr(torch.randn(rank, rank, generator=generator)).Q
        turn_RR = turn_RR * (0.5 + torch.rand(rank, generator=generator))
        made[name] = Factors(
            down_RI=torch.linalg.solve(turn_RR, layer.down_RI),
            up_OR=layer.up_OR @ turn_RR,
            magnitude_O=layer.magnitude_O,
        )
    return made


def noised(file: Adapter, weights: Mapping[str, Tensor], size: float, generator: torch.Generator) -> dict[str, Factors]:
    """A copy whose numbers are each off by about `size` of what training gave them."""
    made = {}
    for name, layer in file.items():
        trained_O = layer.magnitude_O - weights[name].norm(dim=1)
        made[name] = Factors(
            down_RI=layer.down_RI + size * _like(layer.down_RI, generator),
            up_OR=layer.up_OR + size * _like(layer.up_OR, generator),
            magnitude_O=(layer.magnitude_O + size * _like(trained_O, generator)).clamp_min(0),
        )
    return made


def random_file(weights: Mapping[str, Tensor], like: Adapter, generator: torch.Generator) -> dict[str, Factors]:
    """Noise in place of training, as large as another's file, with the base's own norms for magnitudes."""
    return {
        name: Factors(
            down_RI=_like(layer.down_RI, generator),
            up_OR=_like(layer.up_OR, generator),
            magnitude_O=weights[name].norm(dim=1),
        )
        for name, layer in like.items()
    }


def _like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Noise with the root mean square of a tensor."""
    return torch.randn(tensor.shape, generator=generator) * tensor.square().mean().sqrt()


def _of_rank(up_OK: Tensor, down_KI: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two factors of exactly that rank for a product: padded with zeros, or cut by singular values."""
    missing = rank - up_OK.shape[1]
    if missing >= 0:
        return (
            torch.cat([up_OK, torch.zeros(len(up_OK), missing)], dim=1),
            torch.cat([down_KI, torch.zeros(missing, down_KI.shape[1])]),
        )
    return _leading(up_OK @ down_KI, rank)


def _leading(matrix_OI: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best two factors of that rank."""
    left_OK, values_K, right_KI = torch.linalg.svd(matrix_OI, full_matrices=False)
    root_R = values_K[:rank].sqrt()
    return left_OK[:, :rank] * root_R, root_R.unsqueeze(1) * right_KI[:rank]
