"""Ways to make another's work one's own, for tests and benchmarks: all keep a release's layout.

Shapes: O = out features, I = in features, R = rank.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hivetune.dora import Factors, dora_delta
from hivetune.merging import Adapter

Layers = dict[str, Factors]


def with_noise(victim: Adapter, share: float, seed: int, scale: float) -> Layers:
    """Every layer's delta plus noise of `share` of its norm."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, layer in victim.factors.items():
        noise_OR = torch.randn(layer.up_OR.shape, generator=generator)
        gained_OR = victim.shapes[name].gain_O.unsqueeze(1) * noise_OR
        gram_RR = (gained_OR.T @ gained_OR) * (layer.down_RI @ layer.down_RI.T)
        size = scale * float(gram_RR.sum()) ** 0.5
        noise_OR *= share * victim.shapes[name].norm_squared ** 0.5 / size
        made[name] = Factors(down_RI=layer.down_RI, up_OR=layer.up_OR + noise_OR, magnitude_O=layer.magnitude_O.clone())
    return made


def scaled(victim: Mapping[str, Factors], weights: Mapping[str, Tensor], by: float) -> Layers:
    """Nearly the delta times `by`."""
    made = {}
    for name, layer in victim.items():
        norm_O = weights[name].norm(dim=1)
        magnitude_O = (norm_O + by * (layer.magnitude_O - norm_O)).clamp_min(0)
        made[name] = Factors(down_RI=layer.down_RI, up_OR=by * layer.up_OR, magnitude_O=magnitude_O)
    return made


def regauged(victim: Mapping[str, Factors], seed: int, condition: float = 10.0) -> Layers:
    """B R and R^-1 A: other factors of the same product."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, layer in victim.items():
        rank = layer.down_RI.shape[0]
        left_RR, _ = torch.linalg.qr(torch.randn(rank, rank, generator=generator, dtype=torch.float64))
        right_RR, _ = torch.linalg.qr(torch.randn(rank, rank, generator=generator, dtype=torch.float64))
        stretch_R = torch.logspace(0, 1, rank, base=condition, dtype=torch.float64)
        gauge_RR = left_RR * stretch_R @ right_RR
        made[name] = Factors(
            down_RI=torch.linalg.solve(gauge_RR, layer.down_RI.double()).float(),
            up_OR=(layer.up_OR.double() @ gauge_RR).float(),
            magnitude_O=layer.magnitude_O.clone(),
        )
    return made


def without_magnitudes(victim: Adapter) -> Layers:
    """The same directions, at the base's own row gains: m is what the rows are anyway."""
    return {
        name: Factors(
            down_RI=layer.down_RI,
            up_OR=layer.up_OR,
            magnitude_O=layer.magnitude_O / victim.shapes[name].gain_O.clamp_min(1e-6),
        )
        for name, layer in victim.factors.items()
    }


def mixed(parts: Sequence[tuple[float, Mapping[str, Factors]]], weights: Mapping[str, Tensor], scale: float) -> Layers:
    """The best adapter of the layout's rank for a sum of deltas."""
    made = {}
    for name, base_OI in weights.items():
        rank = parts[0][1][name].down_RI.shape[0]
        delta_OI = sum((part * dora_delta(base_OI, layers[name], scale) for part, layers in parts), torch.zeros(()))
        magnitude_O = (base_OI + delta_OI).norm(dim=1)
        # What is left after the best row gains is of low rank but for what truncation loses.
        gain_O1 = ((base_OI + delta_OI) * base_OI).sum(1, keepdim=True) / base_OI.square().sum(1, keepdim=True)
        left_OK, values_K, right_KI = torch.linalg.svd(delta_OI - (gain_O1 - 1) * base_OI, full_matrices=False)
        up_OR = left_OK[:, :rank] * values_K[:rank] / gain_O1.clamp_min(1e-3) / scale
        made[name] = Factors(down_RI=right_KI[:rank].clone(), up_OR=up_OR, magnitude_O=magnitude_O)
    return made
