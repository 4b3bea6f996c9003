"""Scores: solo improvement for the report, credit inside the merge for pay, and the gate between them.

Everything here is a function of the base, the admitted adapters and the batches; no network, no clock.
Adapters are measured one after the other in the same memory, each only as long as it takes (see looks.py).
"""

import logging
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hivetune.clipping import choose_clip
from hivetune.credit import NODES, SCREEN_NODES, aumann_shapley
from hivetune.dora import dora_weight
from hivetune.errors import RejectedSubmission
from hivetune.evaluation import Batch, losses, sequences_of
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.records import ScoringPlan
from hivetune.statistics import Estimate, token_mean
from validator.looks import confidence_at_each, is_decided, planned_looks

log = logging.getLogger(__name__)

_REPLICATES = 4  # batches that are measured again in another arrangement
_REFINE_ABOVE = 0.02  # completeness error above which credits are computed again with more nodes
_LEAST_PART = 0.01  # of an equal part of the gain; who surely earns less is nobody


@dataclass(frozen=True, kw_only=True, slots=True)
class Solo:
    """An adapter alone against the base on the same batches, as many as it took."""

    improvement: Estimate
    batch_nats: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What one round's scoring found, by hotkey."""

    solo: Mapping[str, Solo]
    credit: Mapping[str, Estimate]  # from the last merge each adapter was part of
    credit_nats: Mapping[str, tuple[float, ...]]  # the same, batch by batch
    nodes: int  # of the credits' quadrature; 0 without a merge
    clip: float  # norm to which the final merge's deltas were clipped; 0.0 without a merge
    merged: tuple[str, ...]  # those whose credits add up to what the final merge gains
    paid: tuple[str, ...]  # those in the final merge, each with a lower bound above the least credit
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
        self._clips: dict[tuple[str, ...], float] = {}
        self.looks = planned_looks(len(batches), plan.batch_sequences)
        self._confidence = confidence_at_each(plan.confidence, len(self.looks))
        self._adapted = {name: torch.empty_like(base_OI) for name, base_OI in weights.items()}
        progress("measuring the base")
        self.base_nats = losses(base, batches, {})

    @property
    def base_loss(self) -> float:
        """The base's loss in nats per token."""
        return sum(self.base_nats) / sum(batch_tokens(self._batches))

    def replicate_spread(self) -> float:
        """The largest difference in nats per token between a batch's base loss and its sequences' one by one.

        Another arrangement of the same products sums in another order, as another machine does: what validators
        can agree to, and what no verdict should hang on.
        """
        spread = 0.0
        for batch, nats in zip(self._batches[:_REPLICATES], self.base_nats, strict=False):
            alone = losses(self._base, sequences_of(batch), {})
            spread = max(spread, abs(sum(alone) - nats) / batch.predicted)
        return spread

    def score(
        self, adapters: Sequence[Adapter], measured: MutableMapping[str, tuple[float, ...]] | None = None
    ) -> Scores:
        """Solo tests, then credit and gate.

        Losses of adapters alone go into `measured` as they are found; what stands there is not measured again.
        """
        solo, rejected = self.solos(adapters, {} if measured is None else measured, self.looks)
        try:
            return self._settle(adapters, solo, rejected)
        except RejectedSubmission as broken:
            log.warning("the merge broke (%s): everybody is measured alone on all batches", broken)
        solo, rejected = self.solos(adapters, {}, self.looks[-1:])
        try:
            return self._settle(adapters, solo, rejected)
        except RejectedSubmission as broken:
            return self._settle([], {}, {adapter.hotkey: broken for adapter in adapters} | rejected)

    def solos(
        self, adapters: Sequence[Adapter], measured: MutableMapping[str, tuple[float, ...]], looks: Sequence[int]
    ) -> tuple[dict[str, Solo], dict[str, RejectedSubmission]]:
        """Everybody alone, from look to look, and those whose loss broke; `measured` as in `score`."""
        solo: dict[str, Solo] = {}
        rejected: dict[str, RejectedSubmission] = {}
        for adapter in adapters:
            try:
                if adapter.hotkey not in measured:
                    self._progress(f"testing {adapter.hotkey[:8]}")
                    measured[adapter.hotkey] = tuple(self._solo_nats(adapter, looks))
                nats = measured[adapter.hotkey]
                solo[adapter.hotkey] = Solo(improvement=self._improvement(nats), batch_nats=nats)
            except RejectedSubmission as broken:
                rejected[adapter.hotkey] = broken
        return solo, rejected

    def _settle(
        self, adapters: Sequence[Adapter], solo: dict[str, Solo], rejected: dict[str, RejectedSubmission]
    ) -> Scores:
        """Credit, gate and pay of those whose loss alone is sound; RejectedSubmission when the merge's is not."""
        sound = [adapter for adapter in adapters if adapter.hotkey in solo]
        nats: dict[str, tuple[float, ...]] = {}
        credit: dict[str, Estimate] = {}
        paid: list[Adapter] = []
        for nodes in NODES:
            merged_loss = error = None
            nats, merged = self._gate(sound, nodes)
            credit = self._estimates(nats)
            least = least_credit([credit[adapter.hotkey].mean for adapter in merged])
            paid = [adapter for adapter in merged if credit[adapter.hotkey].lower > least]
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
            credit_nats=nats,
            nodes=nodes if credit else 0,
            clip=self._clip(merged) if merged else 0.0,
            merged=tuple(adapter.hotkey for adapter in merged),
            paid=tuple(adapter.hotkey for adapter in paid),
            rejected=rejected,
            merged_loss=merged_loss,
            completeness_error=error,
        )

    def _solo_nats(self, adapter: Adapter, looks: Sequence[int]) -> list[float]:
        """Losses batch by batch, until a look decides."""
        for name, base_OI in self._weights.items():
            dora_weight(base_OI, adapter.factors[name], self._scale, into_OI=self._adapted[name])
        nats: list[float] = []
        for look in looks:
            nats += losses(self._base, self._batches[len(nats) : look], self._adapted)
            if is_decided(self._improvement(nats)):
                break
        return nats

    def _improvement(self, nats: Sequence[float]) -> Estimate:
        """Over the base on the batches that were measured."""
        return self._estimate([before - after for before, after in zip(self.base_nats, nats, strict=False)])

    def _gate(self, adapters: list[Adapter], nodes: int) -> tuple[dict[str, tuple[float, ...]], list[Adapter]]:
        """Merge, credit, drop what earned nothing, and again; the batches' credits and members of the last merge.

        Who is dropped keeps the credit of the last merge it was in. If the passes run out, the last merge may hold
        members without a proven credit; they are not paid.
        """
        found: dict[str, tuple[float, ...]] = {}
        left = self._screen(adapters, found)
        for attempt in range(self._plan.gate_passes + 1):
            if not left:
                break
            self._progress(f"credit of {len(left)} in the merge, pass {attempt + 1}")
            now = self._credits(left, nodes, self._batches)
            found |= now
            drop = to_drop(self._estimates(now), patient=attempt < self._plan.gate_passes - 2)
            if not drop or attempt == self._plan.gate_passes:
                break
            left = [adapter for adapter in left if adapter.hotkey not in drop]
        return found, left

    def _screen(self, adapters: list[Adapter], found: dict[str, tuple[float, ...]]) -> list[Adapter]:
        """Whom the first look does not show to be harmful, so that few passes need all batches."""
        left = adapters
        for _ in range(self._plan.gate_passes if len(self.looks) > 1 else 0):
            if not left:
                break
            self._progress(f"credit of {len(left)} at the first look")
            now = self._credits(left, SCREEN_NODES, self._batches[: self.looks[0]])
            found |= now
            harmful = surely_harmful(self._estimates(now))
            if not harmful:
                break
            left = [adapter for adapter in left if adapter.hotkey not in harmful]
        return left

    def _credits(self, adapters: list[Adapter], nodes: int, batches: Sequence[Batch]) -> dict[str, tuple[float, ...]]:
        """In nats, batch by batch, in the merge of these."""
        coefficients = uniform_coefficients(adapters, self._clip(adapters))
        credits_BA = aumann_shapley(
            self._base, self._weights, adapters, coefficients, batches, self._scale, nodes=nodes
        )
        if not np.isfinite(credits_BA).all():
            raise RejectedSubmission("broken_loss", f"in the merge of {len(adapters)}")
        return {adapter.hotkey: tuple(credits_BA[:, i].tolist()) for i, adapter in enumerate(adapters)}

    def _estimates(self, nats: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
        return {hotkey: self._estimate(batches) for hotkey, batches in nats.items()}

    def _merged_loss(self, adapters: list[Adapter]) -> float:
        self._progress("measuring the merge")
        loss = self._loss_of_merge(adapters, self._clip(adapters), self._batches)
        # A merge whose loss breaks improves nothing, so nobody is paid for it.
        return loss if math.isfinite(loss) else self.base_loss

    def _clip(self, adapters: Sequence[Adapter]) -> float:
        """What deltas are clipped to in the merge of these; where norms leave a choice, the first look decides."""
        members = tuple(adapter.hotkey for adapter in adapters)
        if members not in self._clips:
            first = self.looks[0]
            first_loss = sum(self.base_nats[:first]) / sum(batch_tokens(self._batches[:first]))
            self._clips[members] = choose_clip(
                [adapter.norm for adapter in adapters],
                lambda clip: first_loss - self._loss_of_merge(adapters, clip, self._batches[:first]),
            )
        return self._clips[members]

    def _loss_of_merge(self, adapters: Sequence[Adapter], clip: float, batches: Sequence[Batch]) -> float:
        """In nats per token; infinite when it breaks."""
        delta = merge_deltas(self._weights, adapters, uniform_coefficients(adapters, clip), self._scale)
        try:
            nats = losses(self._base, batches, moved(self._weights, delta, 1.0))
        except RejectedSubmission:
            return math.inf
        return sum(nats) / sum(batch_tokens(batches))

    def _estimate(self, nats: Sequence[float] | np.ndarray) -> Estimate:
        """Of values on the first batches."""
        return token_mean(nats, batch_tokens(self._batches)[: len(nats)], self._confidence)


def surely_harmful(credits: Mapping[str, Estimate]) -> set[str]:
    """Whose credit is below zero beyond doubt."""
    return {hotkey for hotkey, credit in credits.items() if credit.upper < 0}


def to_drop(credits: Mapping[str, Estimate], *, patient: bool) -> set[str]:
    """Who leaves the merge: the surely harmful; else, if patient, the worst that gain nothing; else all unproven.

    Harmful ones go first, and then the worst, because they drag the others' credits down with them. The worst are
    those at least half as bad as the very worst, so that a crowd of worthless entries takes few passes.
    """
    if harmful := surely_harmful(credits):
        return harmful
    worst = min(credit.mean for credit in credits.values())
    if patient and worst <= 0:
        return {hotkey for hotkey, credit in credits.items() if credit.mean <= worst / 2}
    least = least_credit([credit.mean for credit in credits.values()])
    return {hotkey for hotkey, credit in credits.items() if not credit.lower > least}


def least_credit(credits: Sequence[float]) -> float:
    """What each member of a merge must surely earn: a hundredth of an equal part, and never less than nothing.

    A delta of next to nothing helps as often as it harms, so that with enough of them some have a lower bound above
    zero. Each would get a member's place in the merge, and so make the others' parts smaller.
    """
    return _LEAST_PART * max(0.0, sum(credits) / len(credits)) if credits else 0.0


def completeness_error(total_credit: float, improvement: float) -> float:
    """Sum of credits over the measured improvement, minus one; 1.0 when there is no improvement to share."""
    error = total_credit / improvement - 1 if improvement > 0 else 1.0
    return error if math.isfinite(error) else 1.0


def pay(scores: Scores) -> dict[str, float]:
    """Shares of the round's pay by hotkey, linear in credit, summing to one; empty when nobody earned anything."""
    total = sum(scores.credit[hotkey].mean for hotkey in scores.paid)
    return {hotkey: scores.credit[hotkey].mean / total for hotkey in scores.paid}
