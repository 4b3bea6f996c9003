"""Small random images of whole deltas, whose inner products are nearly those of the deltas.

Every layer's D becomes P^T D Q with random signs P and Q: P^T diag(g - 1) (W0 Q) + s (P^T diag(g) B) (A Q), a few
thousand operations for each row and column, and D is never formed. The signs follow from a seed by SHAKE-256, so any
machine draws the same. Whoever knows them can hide a copy behind a little noise that they blow up: the seed must not be
known before the deltas are fixed.
Shapes: O = out features, I = in features, R = rank, P, Q = rows and columns of the image, N = deltas, S = numbers of
an image.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hivetune.merging import Adapter

NUMBERS = 1 << 15  # of an image in all, shared equally among the layers: cosines to about 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Layer:
    left_OP: Tensor
    right_IQ: Tensor
    base_OQ: Tensor  # W0 Q


class Sketcher:
    """Images of adapters on one base."""

    @torch.no_grad()
    def __init__(self, weights: Mapping[str, Tensor], scale: float, seed: str) -> None:
        self._scale = scale
        side = max(1, math.isqrt(NUMBERS // len(weights)))
        self._layers = {}
        for name, base_OI in weights.items():
            right_IQ = signs(f"{seed}:{name}:in", base_OI.shape[1], side)
            left_OP = signs(f"{seed}:{name}:out", base_OI.shape[0], side)
            self._layers[name] = _Layer(left_OP=left_OP, right_IQ=right_IQ, base_OQ=base_OI.float() @ right_IQ)
        self.numbers = sum(layer.left_OP.shape[1] * layer.right_IQ.shape[1] for layer in self._layers.values())

    @torch.no_grad()
    def sketch(self, adapter: Adapter) -> Tensor:
        """The delta's image [S], of length one; zeros for no delta."""
        parts = []
        for name, layer in self._layers.items():
            factors, shape = adapter.factors[name], adapter.shapes[name]
            image_PQ = (layer.left_OP * shape.step_O.unsqueeze(1)).T @ layer.base_OQ
            up_PR = layer.left_OP.T @ (factors.up_OR * shape.gain_O.unsqueeze(1))
            parts.append(image_PQ.addmm_(up_PR, factors.down_RI @ layer.right_IQ, alpha=self._scale).flatten())
        image_S = torch.cat(parts)
        norm = image_S.norm()
        return image_S / norm if norm > 0 else image_S


def signs(seed: str, features: int, side: int) -> Tensor:
    """Random signs [features, side] over sqrt(side); the identity where that is no larger."""
    if side >= features:
        return torch.eye(features)
    count = features * side
    bits = np.frombuffer(hashlib.shake_256(seed.encode()).digest(-(-count // 8)), dtype=np.uint8)
    drawn = np.unpackbits(bits)[:count].reshape(features, side)
    return torch.from_numpy(drawn).float().mul_(2).sub_(1).div_(side**0.5)


@torch.no_grad()
def cosines(sketches_NS: Tensor) -> np.ndarray:
    """Of all pairs of deltas, [N, N] in double precision."""
    return (sketches_NS @ sketches_NS.T).double().numpy()
