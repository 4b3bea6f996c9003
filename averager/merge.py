"""Choosing a merge's step and accepting its result, both on text drawn by the round's beacon."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import Tensor

from hivetune.clipping import choose_clip
from hivetune.errors import RejectedSubmission
from hivetune.evaluation import Batch, losses
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.records import MergeMethod, MergePlan
from hivetune.statistics import Estimate, token_mean

SCALES = (0.75, 1.0, 1.25, 1.5)  # 2 and more hurts: measured on every model tried
MERGE_PLANS: Mapping[MergeMethod, MergePlan] = {
    "uniform": MergePlan(scales=SCALES, momenta=()),
    "momentum": MergePlan(scales=SCALES, momenta=(0.2, 0.4, 0.6, 0.8)),
}


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How far a merge goes from its base."""

    scale: float  # lambda, of the merged delta
    momentum: float  # mu, of the step from the release before


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Course:
    """Where a merge can go: along the merged delta, and on along the last step when there was one."""

    base: BaseModel
    weights: Mapping[str, Tensor]
    delta: Mapping[str, Tensor]
    previous: Mapping[str, Tensor] | None  # the weights of the release before

    def nats(self, step: Step, batches: Sequence[Batch]) -> list[float]:
        """Summed loss of every batch after a step."""
        there = moved(self.weights, self.delta, step.scale, self.previous, step.momentum)
        return losses(self.base, batches, there)


def choose_step(loss_at: Callable[[Step], float], plan: MergePlan, *, has_previous: bool) -> Step:
    """The scale without momentum; then momentum at that scale, the scale again at that momentum, if that is better."""
    plain = Step(scale=choose_scale(lambda scale: loss_at(Step(scale=scale, momentum=0.0)), plan.scales), momentum=0.0)
    if not plan.momenta or not has_previous:
        return plain
    momenta = (0.0, *plan.momenta)
    momentum = choose_scale(lambda tried: loss_at(Step(scale=plain.scale, momentum=tried)), momenta)
    scale = choose_scale(lambda tried: loss_at(Step(scale=tried, momentum=momentum)), plan.scales)
    carried = Step(scale=scale, momentum=momentum)
    return carried if loss_at(carried) < loss_at(plain) else plain


def search_clip(
    base: BaseModel, weights: Mapping[str, Tensor], adapters: Sequence[Adapter], scale: float, batches: Sequence[Batch]
) -> float:
    """What deltas are clipped to; where their norms leave a choice the selection text decides."""
    before = cache(lambda: sum(losses(base, batches, {})))

    def gain_at(clip: float) -> float:
        delta = merge_deltas(weights, adapters, uniform_coefficients(adapters, clip), scale)
        try:
            return before() - sum(losses(base, batches, moved(weights, delta, 1.0)))
        except RejectedSubmission:  # a loss that breaks with a longer clip leaves the shorter ones
            return -math.inf

    return choose_clip([adapter.norm for adapter in adapters], gain_at)


def search_step(course: Course, plan: MergePlan, batches: Sequence[Batch]) -> Step:
    """The step with the lowest loss on the selection text."""
    return choose_step(lambda step: sum(course.nats(step, batches)), plan, has_previous=course.previous is not None)


def measure_gain(course: Course, step: Step, batches: Sequence[Batch], confidence: float) -> Gain:
    """The merge's paired improvement on the acceptance text, which neither validators nor the search used."""
    before = losses(course.base, batches, {})
    after = course.nats(step, batches)
    tokens = [batch.predicted for batch in batches]
    return Gain(
        loss_before=sum(before) / sum(tokens),
        loss_after=sum(after) / sum(tokens),
        improvement=token_mean([b - a for b, a in zip(before, after, strict=True)], tokens, confidence),
    )
