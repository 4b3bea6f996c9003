"""Choosing a merge's scale and accepting its result, both on text drawn by the round's beacon."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hivetune.evaluation import Batch, losses
from hivetune.merging import moved
from hivetune.model import BaseModel
from hivetune.statistics import Estimate, token_mean

SCALES = (0.75, 1.0, 1.25, 1.5)  # 2 and more hurts: measured on every model tried


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """A merge against its base on the same text."""

    loss_before: float
    loss_after: float
    improvement: Estimate


def choose_scale(loss_at: Callable[[float], float], scales: Sequence[float] = SCALES) -> float:
    """The scale with the lowest loss, refined by the parabola through its neighbours, inside the range tried."""
    found = {scale: loss_at(scale) for scale in scales}
    best = min(found, key=lambda scale: found[scale])
    index = list(scales).index(best)
    if 0 < index < len(scales) - 1:
        nearby = scales[index - 1 : index + 2]
        curve, slope, _ = np.polyfit(nearby, [found[scale] for scale in nearby], 2)
        if curve > 0:
            return round(float(-slope / (2 * curve)), 3)
    return best


def line_search(
    base: BaseModel, weights: Mapping[str, Tensor], delta: Mapping[str, Tensor], batches: Sequence[Batch]
) -> float:
    """lambda of base + lambda * delta on the selection text."""
    return choose_scale(lambda scale: sum(losses(base, batches, moved(weights, delta, scale))))


def measure_gain(
    base: BaseModel,
    weights: Mapping[str, Tensor],
    delta: Mapping[str, Tensor],
    scale: float,
    batches: Sequence[Batch],
    confidence: float,
) -> Gain:
    """The merge's paired improvement on the acceptance text, which neither validators nor the line search used."""
    before = losses(base, batches, {})
    after = losses(base, batches, moved(weights, delta, scale))
    tokens = [batch.predicted for batch in batches]
    return Gain(
        loss_before=sum(before) / sum(tokens),
        loss_after=sum(after) / sum(tokens),
        improvement=token_mean([b - a for b, a in zip(before, after, strict=True)], tokens, confidence),
    )
