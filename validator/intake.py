"""Admission: every commitment of the round ends as an admitted adapter or a typed rejection, cheap checks first."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from hivetune.adapter import content_digest
from hivetune.clipping import outlier_limits
from hivetune.errors import RejectedSubmission
from hivetune.merging import Adapter, prepare, weights_norm
from hivetune.records import ScoringPlan
from hivetune.releases import Located, OnChain
from hivetune.rounds import Round
from hivetune.submissions import SubmissionSource, committed, open_submission
from validator.originality import Work, find_copies

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """One hotkey's submission: admitted when `rejection` is None, and then the adapter is there."""

    hotkey: str
    repo: str = ""
    revision: str = ""
    file_sha256: str = ""
    relative_norm: float | None = None
    adapter: Adapter | None = None
    rejection: RejectedSubmission | None = None


class Intake:
    """Opens and judges the submissions of one round against one base."""

    def __init__(
        self,
        located: Located,
        now: Round,
        source: SubmissionSource,
        weights: Mapping[str, Tensor],
        folder: Path,
        *,
        beacon: str,
        earlier: Sequence[Work] = (),
    ) -> None:
        self._located = located
        self._now = now
        self._source = source
        self._weights = weights
        self._folder = folder
        self._beacon = beacon
        self._earlier = earlier
        self._base_norm = weights_norm(weights)

    def collect(self, commitments: Mapping[str, OnChain]) -> list[Candidate]:
        """One candidate for every commitment, in hotkey order; what one of them does costs the others nothing."""
        opened = [self._open(hotkey, commitments[hotkey]) for hotkey in sorted(commitments)]
        blocks = {hotkey: commitment.block for hotkey, commitment in commitments.items()}
        unique = reject_duplicates(opened, blocks, self._folder)
        original = self._reject_copies(unique, blocks)
        return reject_outliers(original, self._located.release.scoring)

    def _open(self, hotkey: str, commitment: OnChain) -> Candidate:
        repo = digest = ""
        try:
            pointer = committed(hotkey, commitment, self._located, self._now)
            repo, digest = pointer.repo, pointer.file_sha256
            opened = open_submission(hotkey, pointer, self._located, self._now, self._source, self._path(hotkey))
            scale = self._located.release.layout.scale
            adapter = prepare(hotkey, opened.factors, self._weights, scale)
            norm = adapter.norm / self._base_norm
            check_norm(norm, self._located.release.scoring)
        except RejectedSubmission as rejected:
            log.info("round %d: %s rejected, %s", self._now.round_id, hotkey, rejected)
            self._path(hotkey).unlink(missing_ok=True)
            return Candidate(hotkey=hotkey, repo=repo, file_sha256=digest, rejection=rejected)
        return Candidate(
            hotkey=hotkey,
            repo=repo,
            revision=opened.revision,
            file_sha256=digest,
            relative_norm=norm,
            adapter=adapter,
        )

    def _reject_copies(self, candidates: list[Candidate], blocks: Mapping[str, int]) -> list[Candidate]:
        """Sketches are drawn by the beacon, which nobody knew when the files were committed to."""
        works = {
            c.hotkey: Work(name=c.hotkey, load=partial(_same, c.adapter))
            for c in in_order_of_commitment(candidates, blocks)
            if c.rejection is None and c.adapter is not None
        }
        scale = self._located.release.layout.scale
        found = find_copies(list(works.values()), self._earlier, self._weights, scale, f"sketch:{self._beacon}")
        verdicts = dict(zip(works, found, strict=True))
        return [
            candidate if (verdict := verdicts.get(candidate.hotkey)) is None else _rejected(candidate, verdict)
            for candidate in candidates
        ]

    def _path(self, hotkey: str) -> Path:
        return file_of(self._folder, hotkey)


def file_of(folder: Path, hotkey: str) -> Path:
    """Where a hotkey's downloaded submission lies."""
    return folder / f"{hotkey}.safetensors"


def check_norm(relative_norm: float, plan: ScoringPlan) -> None:
    """RejectedSubmission for a delta that is nothing, or more than training makes."""
    if relative_norm < plan.min_relative_norm:
        raise RejectedSubmission(
            "untrained", f"delta of {relative_norm:.1e} of the base's norm, want {plan.min_relative_norm:.1e}"
        )
    if relative_norm > plan.max_relative_norm:
        raise RejectedSubmission(
            "norm_too_large", f"delta of {relative_norm:.3g} of the base's norm, limit {plan.max_relative_norm:.3g}"
        )


def in_order_of_commitment(candidates: Sequence[Candidate], blocks: Mapping[str, int]) -> list[Candidate]:
    """Oldest first; in one block, the smaller file digest."""
    return sorted(candidates, key=lambda candidate: (blocks[candidate.hotkey], candidate.file_sha256))


def reject_duplicates(candidates: list[Candidate], blocks: Mapping[str, int], folder: Path) -> list[Candidate]:
    """Keep the oldest commitment of each tensor content; in one block, the smaller file digest.

    A copy with another owner's name in its stamp has other bytes but the same tensors.
    """
    owners: dict[str, Candidate] = {}
    digests = {c.hotkey: content_digest(file_of(folder, c.hotkey)) for c in candidates if c.rejection is None}
    for candidate in in_order_of_commitment(candidates, blocks):
        if candidate.hotkey in digests:
            owners.setdefault(digests[candidate.hotkey], candidate)
    kept = []
    for candidate in candidates:
        owner = owners.get(digests.get(candidate.hotkey, ""))
        if owner is not None and owner is not candidate:
            reason = RejectedSubmission("duplicate", f"same tensors as {owner.hotkey}, which committed first")
            kept.append(_rejected(candidate, reason))
        else:
            kept.append(candidate)
    return kept


def reject_outliers(candidates: list[Candidate], plan: ScoringPlan) -> list[Candidate]:
    """Reject deltas far above the others' usual norm: they were scaled up, not trained."""
    norms = {c.hotkey: c.relative_norm for c in candidates if c.rejection is None and c.relative_norm is not None}
    limits = outlier_limits(norms, plan.max_norm_ratio)
    return [
        _rejected(
            c, RejectedSubmission("norm_outlier", f"delta of {c.relative_norm:.3g}, limit {limits[c.hotkey]:.3g}")
        )
        if c.rejection is None and c.relative_norm is not None and c.relative_norm > limits[c.hotkey]
        else c
        for c in candidates
    ]


def _same(adapter: Adapter) -> Adapter:
    return adapter


def _rejected(candidate: Candidate, rejection: RejectedSubmission) -> Candidate:
    return Candidate(
        hotkey=candidate.hotkey,
        repo=candidate.repo,
        revision=candidate.revision,
        file_sha256=candidate.file_sha256,
        relative_norm=candidate.relative_norm,
        rejection=rejection,
    )
