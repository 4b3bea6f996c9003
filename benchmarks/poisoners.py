"""Attackers of a merge, as adapters that any miner could upload; they know every honest adapter and work together.

Shapes: O = out features, I = in features, R = rank, K = honest adapters.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.swarm import Swarm
from hivetune.dora import Factors, dora_delta

Layers = Mapping[str, Factors]
FLIPPED = 3.0  # how much longer than the honest one
ENLARGED = 4.0  # admission refuses more than five times the median
LITTLE = 1.5  # standard deviations off the mean (Baruch et al. 2019, arXiv:1902.06156)
AGAINST = 3.0  # means, against the mean (Xie et al. 2020, arXiv:1903.03936)
_SMALLEST_GAIN = 0.1  # a magnitude is a length, and what is divided by it has a limit


def scaled(swarm: Swarm, layers: Layers, factor: float) -> dict[str, Factors]:
    """The adapter whose delta is `factor` times another's, exactly wherever gains stay positive."""
    scale, found = swarm.layout.scale, {}
    for name, base_OI in swarm.weights.items():
        layer = layers[name]
        norm_O = torch.addmm(base_OI, layer.up_OR, layer.down_RI, alpha=scale).norm(dim=1)
        gain_O = layer.magnitude_O / norm_O
        new_gain_O = (1 + factor * (gain_O - 1)).clamp_min(_SMALLEST_GAIN)
        up_OR = layer.up_OR * (factor * gain_O / new_gain_O).unsqueeze(1)
        found[name] = _with_gain(base_OI, up_OR, layer.down_RI, new_gain_O, scale)
    return found


def low_rank(swarm: Swarm, deltas: Mapping[str, Tensor]) -> dict[str, Factors]:
    """The adapter closest to a dense delta among those that leave the rows' gains alone."""
    scale, rank, found = swarm.layout.scale, swarm.layout.rank, {}
    for name, base_OI in swarm.weights.items():
        left_OR, size_R, right_IR = torch.svd_lowrank(deltas[name], q=rank, niter=4)
        root_R = (size_R / scale).sqrt()
        gain_O = torch.ones(len(base_OI))
        found[name] = _with_gain(base_OI, left_OR * root_R, (right_IR * root_R).T.contiguous(), gain_O, scale)
    return found


def _with_gain(base_OI: Tensor, up_OR: Tensor, down_RI: Tensor, gain_O: Tensor, scale: float) -> Factors:
    norm_O = torch.addmm(base_OI, up_OR, down_RI, alpha=scale).norm(dim=1)
    return Factors(down_RI=down_RI, up_OR=up_OR, magnitude_O=gain_O * norm_O)


def sign_flip(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    return [scaled(swarm, layers, -1.0) for layers in honest[:count]]


def long_sign_flip(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    return [scaled(swarm, layers, -FLIPPED) for layers in honest[:count]]


def large_norm(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    return [scaled(swarm, layers, ENLARGED) for layers in honest[:count]]


def noise(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    """Random factors, layer by layer as long as an honest delta."""
    scale, generator, found = swarm.layout.scale, torch.Generator().manual_seed(0), []
    for layers in honest[:count]:
        made = {}
        for name, base_OI in swarm.weights.items():
            layer = layers[name]
            up_OR = torch.randn(layer.up_OR.shape, generator=generator)
            length = float((scale * up_OR @ layer.down_RI).norm() / dora_delta(base_OI, layer, scale).norm())
            made[name] = _with_gain(base_OI, up_OR / length, layer.down_RI, torch.ones(len(base_OI)), scale)
        found.append(made)
    return found


def copies(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    """One honest adapter again, its up-projections changed by one percent."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(count):
        made = {}
        for name, base_OI in swarm.weights.items():
            layer = honest[0][name]
            change_OR = torch.randn(layer.up_OR.shape, generator=generator)
            change_OR *= 0.01 * layer.up_OR.norm() / change_OR.norm()
            norm_O = torch.addmm(base_OI, layer.up_OR, layer.down_RI, alpha=swarm.layout.scale).norm(dim=1)
            gain_O = layer.magnitude_O / norm_O
            made[name] = _with_gain(base_OI, layer.up_OR + change_OR, layer.down_RI, gain_O, swarm.layout.scale)
        found.append(made)
    return found


def little_is_enough(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    """All the same: the mean, off by some standard deviations in every coordinate."""
    return [low_rank(swarm, _combined(swarm, honest, lambda x_KOI: x_KOI.mean(0) - LITTLE * x_KOI.std(0)))] * count


def inner_product(swarm: Swarm, honest: Sequence[Layers], count: int) -> list[dict[str, Factors]]:
    """All the same: the mean, turned round and enlarged."""
    return [low_rank(swarm, _combined(swarm, honest, lambda x_KOI: -AGAINST * x_KOI.mean(0)))] * count


def _combined(swarm: Swarm, honest: Sequence[Layers], combine: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    scale = swarm.layout.scale
    return {
        name: combine(torch.stack([dora_delta(base_OI, layers[name], scale) for layers in honest]))
        for name, base_OI in swarm.weights.items()
    }


Poisoner = Callable[[Swarm, Sequence[Layers], int], list[dict[str, Factors]]]
POISONERS: Mapping[str, Poisoner] = {
    "sign flip": sign_flip,
    "sign flip x3": long_sign_flip,
    "noise": noise,
    "a little is enough": little_is_enough,
    "inner product": inner_product,
    "norm x4": large_norm,
    "copies": copies,
}
SHUFFLED = "shuffled text"  # trained in earnest, so not made here
