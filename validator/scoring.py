"""Scores: solo improvement for the report, credit inside the merge for pay, and the gate between them.

Everything here is a function of the base, the admitted adapters and the batches; no network, no clock.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hivetune.credit import MORE_NODES, NODES, aumann_shapley
from hivetune.dora import dora_weight
from hivetune.errors import RejectedSubmission
from hivetune.evaluation import Batch, losses
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.records import ScoringPlan
from hivetune.statistics import Estimate, token_mean

log = logging.getLogger(__name__)

_REFINE_ABOVE = 0.02  # completeness error above which credits are computed again with more nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Solo:
    """An adapter alone against the base on the same batches."""

    improvement: Estimate
    batch_nats: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What one round's scoring found, by hotkey."""

    solo: Mapping[str, Solo]
    credit: Mapping[str, Estimate]  # from the last merge each adapter was part of
    paid: tuple[str, ...]  # those in the final merge, each with a lower bound above zero
    rejected: Mapping[str, RejectedSubmission]  # whose loss broke
    merged_loss: float | None
    completeness_error: float | None


def batch_tokens(batches: Sequence[Batch]) -> list[int]:
    """Predicted tokens of every batch."""
    return [batch.predicted for batch in batches]


class Scorer:
    """Scores adapters against one base on one set of batches."""

    def __init__(
        self,
        base: BaseModel,
        weights: Mapping[str, Tensor],
        batches: Sequence[Batch],
        scale: float,
        plan: ScoringPlan,
        progress: Callable[[str], None],
    ) -> None:
        self._base = base
        self._weights = weights
        self._batches = batches
        self._scale = scale
        self._plan = plan
        self._progress = progress
        progress("measuring the base")
        self.base_nats = losses(base, batches, {})

    @property
    def base_loss(self) -> float:
        """The base's loss in nats per token."""
        return sum(self.base_nats) / sum(batch_tokens(self._batches))

    def score(self, adapters: Sequence[Adapter]) -> Scores:
        """Solo tests, then credit and gate."""
        solo: dict[str, Solo] = {}
        rejected: dict[str, RejectedSubmission] = {}
        for adapter in adapters:
            self._progress(f"testing {adapter.hotkey[:8]}")
            try:
                solo[adapter.hotkey] = self._solo(adapter)
            except RejectedSubmission as broken:
                rejected[adapter.hotkey] = broken
        sound = [adapter for adapter in adapters if adapter.hotkey in solo]
        credit: dict[str, Estimate] = {}
        paid: list[Adapter] = []
        for nodes in (NODES, MORE_NODES):
            merged_loss = error = None
            credit, merged = self._gate(sound, nodes)
            paid = [adapter for adapter in merged if credit[adapter.hotkey].lower > 0]
            if not paid:
                break
            merged_loss = self._merged_loss(merged)
            total = sum(credit[adapter.hotkey].mean for adapter in merged)
            error = completeness_error(total, self.base_loss - merged_loss)
            if abs(error) <= _REFINE_ABOVE:
                break
        if error is not None and abs(error) > self._plan.max_completeness_error:
            log.warning("credits miss the improvement by %.1f %%: nobody is paid", 100 * error)
            paid = []
        return Scores(
            solo=solo,
            credit=credit,
            paid=tuple(adapter.hotkey for adapter in paid),
            rejected=rejected,
            merged_loss=merged_loss,
            completeness_error=error,
        )

    def _solo(self, adapter: Adapter) -> Solo:
        weights = {
            name: dora_weight(base_OI, adapter.factors[name], self._scale) for name, base_OI in self._weights.items()
        }
        nats = losses(self._base, self._batches, weights)
        gained = [before - after for before, after in zip(self.base_nats, nats, strict=True)]
        return Solo(improvement=self._estimate(gained), batch_nats=tuple(nats))

    def _gate(self, adapters: list[Adapter], nodes: int) -> tuple[dict[str, Estimate], list[Adapter]]:
        """Merge, credit, drop what earned nothing, and again; the credits and members of the last merge.

        Who is dropped keeps the credit of the last merge it was in. If the passes run out, the last merge may hold
        members without a proven credit; they are not paid.
        """
        found: dict[str, Estimate] = {}
        left = adapters
        for attempt in range(self._plan.gate_passes + 1):
            if not left:
                break
            self._progress(f"credit of {len(left)} in the merge, pass {attempt + 1}")
            now = self._credits(left, nodes)
            found |= now
            drop = to_drop(now, patient=attempt < self._plan.gate_passes - 2)
            if not drop or attempt == self._plan.gate_passes:
                break
            left = [adapter for adapter in left if adapter.hotkey not in drop]
        return found, left

    def _credits(self, adapters: list[Adapter], nodes: int) -> dict[str, Estimate]:
        coefficients = uniform_coefficients(adapters)
        credits_BA = aumann_shapley(
            self._base, self._weights, adapters, coefficients, self._batches, self._scale, nodes=nodes
        )
        return {adapter.hotkey: self._estimate(credits_BA[:, i]) for i, adapter in enumerate(adapters)}

    def _merged_loss(self, adapters: list[Adapter]) -> float:
        self._progress("measuring the merge")
        delta = merge_deltas(self._weights, adapters, uniform_coefficients(adapters), self._scale)
        try:
            nats = losses(self._base, self._batches, moved(self._weights, delta, 1.0))
        except RejectedSubmission:
            return self.base_loss  # a merge whose loss breaks improves nothing, so nobody is paid for it
        return sum(nats) / sum(batch_tokens(self._batches))

    def _estimate(self, nats: Sequence[float] | np.ndarray) -> Estimate:
        return token_mean(nats, batch_tokens(self._batches), self._plan.confidence)


def to_drop(credits: Mapping[str, Estimate], *, patient: bool) -> set[str]:
    """Who leaves the merge: the surely harmful; else, if patient, the worst that gain nothing; else all unproven.

    Harmful ones go first, and then the worst, because they drag the others' credits down with them. The worst are
    those at least half as bad as the very worst, so that a crowd of worthless entries takes few passes.
    """
    if harmful := {hotkey for hotkey, credit in credits.items() if credit.upper < 0}:
        return harmful
    worst = min(credit.mean for credit in credits.values())
    if patient and worst <= 0:
        return {hotkey for hotkey, credit in credits.items() if credit.mean <= worst / 2}
    return {hotkey for hotkey, credit in credits.items() if not credit.lower > 0}


def completeness_error(total_credit: float, improvement: float) -> float:
    """Sum of credits over the measured improvement, minus one; 1.0 when there is no improvement to share."""
    error = total_credit / improvement - 1 if improvement > 0 else 1.0
    return error if math.isfinite(error) else 1.0


def pay(scores: Scores) -> dict[str, float]:
    """Weights by hotkey, linear in credit, summing to one; empty when nobody earned anything."""
    total = sum(scores.credit[hotkey].mean for hotkey in scores.paid)
    return {hotkey: scores.credit[hotkey].mean / total for hotkey in scores.paid}
