"""Holding a published receipt against a few batches of the same round measured again.

The receipt's own arithmetic leads from its batches to every bound, share and weight (receipt_arithmetic.py), so a lie
must stand in a batch. Whoever draws the batches after the receipt is public finds one that lies in a part p of them
with probability 1 - (1 - p)^n. The loss of the merge is no batch's, only a full repetition measures it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hivetune.clipping import clip_candidates
from hivetune.credit import aumann_shapley
from hivetune.evaluation import Batch
from hivetune.merging import Adapter, uniform_coefficients
from hivetune.records import Entry, Receipt
from hivetune.statistics import Estimate
from validator.intake import Candidate
from validator.receipts import make_entry
from validator.round_scoring import Admitted, adapters_of
from validator.scoring import Scorer, Scores, batch_tokens

_MEASURED = (
    "verdict", "reason", "detail", "improvement", "improvement_lower", "improvement_upper", "credit", "lower", "upper",
    "merged", "share", "weight", "batch_nats", "credit_nats",
)  # fmt: skip

_SAME = 1e-5  # of norms, between processors


def repeat_batches(published: Receipt, admitted: Admitted, drawn: Sequence[int], say: Callable[[str], None]) -> Receipt:
    """The receipt as it would be if what `drawn` names were the only batches that can be wrong.

    What was judged before any batch is repeated whole. `drawn` are ascending numbers of batches.
    """
    release = admitted.inputs.located.release
    batches = [admitted.text.batches[index] for index in drawn]
    scorer = Scorer(admitted.base, admitted.weights, batches, release.layout.scale, release.scoring, say)
    adapters = adapters_of(admitted.candidates)
    alone, broken = scorer.solos(adapters, {}, [len(batches)])
    solo = {hotkey: dict(zip(drawn, one.batch_nats, strict=True)) for hotkey, one in alone.items()}
    merged = {entry.hotkey for entry in published.entries if entry.merged}
    say("credits of the drawn batches")
    members = [one for one in adapters if one.hotkey in merged]
    credits = _credits(admitted, members, batches, drawn, published)
    told = {entry.hotkey: entry for entry in published.entries}
    entries = []
    for candidate in admitted.candidates:
        rejection = candidate.rejection or broken.get(candidate.hotkey)
        entry = _judged(replace(candidate, rejection=rejection), told.get(candidate.hotkey), admitted)
        entries.append(
            entry.model_copy(
                update={
                    "batch_nats": _with(entry.batch_nats, solo.get(entry.hotkey, {})),
                    "credit_nats": _with(entry.credit_nats, credits.get(entry.hotkey, {})),
                }
            )
        )
    return published.model_copy(
        update={
            "release_sha256": admitted.inputs.located.sha256,
            "beacon": admitted.inputs.beacon,
            "sequence_ids": admitted.text.sequence_ids,
            "batch_tokens": tuple(batch_tokens(admitted.text.batches)),
            "base_batch_nats": _with(published.base_batch_nats, dict(zip(drawn, scorer.base_nats, strict=True))),
            # A member that was made up or not admitted is named by its entry.
            "clip": _clip(members, published.clip) if members and len(members) == len(merged) else published.clip,
            "missing_earlier": tuple(admitted.missing_earlier),
            "entries": tuple(entries),
        }
    )


def _credits(
    admitted: Admitted, adapters: list[Adapter], batches: Sequence[Batch], drawn: Sequence[int], published: Receipt
) -> dict[str, Mapping[int, float]]:
    """Of the final merge's members, by batch."""
    if not adapters or not published.nodes:
        return {}
    scale = admitted.inputs.located.release.layout.scale
    coefficients = uniform_coefficients(adapters, published.clip)
    found_BA = aumann_shapley(
        admitted.base, admitted.weights, adapters, coefficients, batches, scale, nodes=published.nodes
    )
    return {
        adapter.hotkey: dict(zip(drawn, found_BA[:, index].tolist(), strict=True))
        for index, adapter in enumerate(adapters)
    }


def _clip(members: Sequence[Adapter], told: float) -> float:
    """What was told if it is one of the candidates, else the first of them; the choice hangs on other batches."""
    candidates = clip_candidates([one.norm for one in members])
    return next((one for one in candidates if math.isclose(one, told, rel_tol=_SAME)), candidates[0])


def _judged(candidate: Candidate, told: Entry | None, admitted: Admitted) -> Entry:
    """What is known of a submission before it is measured, and of a sound one the rest as it was told."""
    inputs, hotkey = admitted.inputs, candidate.hotkey
    credit = {} if candidate.rejection else {hotkey: Estimate(mean=0.0, lower=0.0, upper=0.0)}
    unmeasured = Scores(
        solo={}, credit=credit, credit_nats={}, nodes=0, clip=0.0, merged=(), paid=(),
        rejected={}, merged_loss=None, completeness_error=None,
    )  # fmt: skip
    fresh = make_entry(candidate, unmeasured, 0.0, 0.0, inputs.registrations[hotkey], inputs.located, inputs.now)
    if candidate.rejection is not None or told is None or (told.verdict == "rejected" and told.reason != "broken_loss"):
        return fresh
    return fresh.model_copy(update={name: getattr(told, name) for name in _MEASURED})


def _with(told: Sequence[float], measured: Mapping[int, float]) -> tuple[float, ...]:
    """What was told, with the batches that were measured again; none is added."""
    return tuple(measured.get(index, value) for index, value in enumerate(told))
