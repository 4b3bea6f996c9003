"""The averager's round: read the chain's verdict, merge, test on fresh text, publish, point the chain at it."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from averager.merge import Course, Gain, Step, measure_gain, search_clip, search_step
from averager.merged_base import Merge, mapped_weights, write_merged_base
from averager.release import list_files, next_release
from averager.selection import approved_hotkeys
from chain.ledger import Ledger, Metagraph
from hivetune.commitments import ReleasePointer, pack
from hivetune.corpus import read_split
from hivetune.errors import ConfigError, RejectedSubmission
from hivetune.evaluation import Batch
from hivetune.files import write_atomically
from hivetune.merging import merge_deltas, prepare_all, uniform_coefficients
from hivetune.model import BaseModel, load_base, target_weights
from hivetune.records import Contribution, MergeOutcome, MergeReport, Release, outcome_path
from hivetune.releases import MANIFEST_NAME, Located, ReleaseFollower
from hivetune.round_text import draw_text
from hivetune.rounds import Round, round_by_id
from hivetune.status import Report, Status
from hivetune.submissions import Opened, SubmissionSource, committed, open_submission
from hub.client import HubClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class AveragerNode:
    """The one averager of a subnet; its hotkey is the owner's."""

    ledger: Ledger
    hub: HubClient
    source: SubmissionSource
    follower: ReleaseFollower
    repo: str
    state: Path
    report: Report

    def __post_init__(self) -> None:
        """ConfigError for any hotkey but the owner's: nobody would follow its pointer."""
        owner = self.ledger.owner_hotkey()
        if owner != self.ledger.hotkey:
            raise ConfigError(f"hotkey {self.ledger.hotkey} does not own the subnet, {owner} does")

    def step(self) -> int:
        """Merge once the weights of the round stand; a round whose base is no longer current is left alone."""
        block = self.ledger.head().number
        located, now = self.follower.at_block(block)
        if now is None:
            return located.release.rounds.first_block
        if block <= now.score_end:
            return now.score_end + 1
        done = self.state / "merged" / f"{now.round_id:06d}.json"
        current, _ = self.follower.current()
        if not done.exists() and current.sha256 == located.sha256:
            outcome = self._merge(located, now)
            write_atomically(done, outcome.to_bytes())
        return round_by_id(located.release.rounds, now.round_id + 1).score_end + 1

    def _merge(self, located: Located, now: Round) -> MergeOutcome:
        metagraph = self.ledger.metagraph(self.ledger.block_hash(now.score_end))
        if metagraph.commit_reveal:
            log.warning("round %d: commit-reveal hides the round's weights; the owner can turn it off", now.round_id)
            return self._publish_nothing(located, now, "weights_hidden", None)
        opened = self._collect(located, now, metagraph)
        if not opened:
            return self._publish_nothing(located, now, "nothing_approved", None)
        try:
            return self._merge_opened(located, now, opened)
        except RejectedSubmission as broken:
            return self._publish_nothing(located, now, broken.reason, None)

    def _merge_opened(self, located: Located, now: Round, opened: list[Opened]) -> MergeOutcome:
        """RejectedSubmission when a delta or the merge breaks the model's loss, which validators should have seen."""
        self._say(now, f"loading release {located.release.number}")
        layout, plan = located.release.layout, located.release.merging
        previous = self.follower.base_folder(self.follower.parent(located)) if _looks_back(located.release) else None
        base_folder = self.follower.base_folder(located)
        base = load_base(base_folder)
        weights = target_weights(base.model, layout)
        adapters = prepare_all({one.hotkey: one.factors for one in opened}, weights, layout.scale)
        beacon = self.ledger.block_hash(now.beacon_block)
        select, accept = self._texts(located, base, beacon)
        self._say(now, f"choosing the step of {len(adapters)} merged deltas")
        clip = search_clip(base, weights, adapters, layout.scale, select)
        coefficients = uniform_coefficients(adapters, clip)
        course = Course(
            base=base,
            weights=weights,
            delta=merge_deltas(weights, adapters, coefficients, layout.scale),
            previous=mapped_weights(previous, layout) if previous else None,
        )
        step = search_step(course, plan, select)
        self._say(now, "testing the merge on fresh text")
        gain = measure_gain(course, step, accept, located.release.scoring.confidence)
        report = make_report(now, beacon, located.release, step, clip, opened, coefficients, gain)
        if gain.improvement.lower <= 0:
            return self._publish_nothing(located, now, "not_significant", report)
        folder = self.state / "next"
        shutil.rmtree(folder, ignore_errors=True)
        merge = Merge(
            adapters=adapters, coefficients=coefficients, step=step.scale, layout=layout, momentum=step.momentum,
            previous=previous,
        )  # fmt: skip
        files = list_files(write_merged_base(base_folder, merge, folder))
        return self._publish(next_release(located, files, report), folder, now, report)

    def _collect(self, located: Located, now: Round, metagraph: Metagraph) -> list[Opened]:
        """The approved submissions, opened with the same checks as the validators'; a missing one is left out."""
        commitments = self.ledger.commitments(self.ledger.block_hash(now.deadline))
        folder = self.state / "submissions"
        shutil.rmtree(folder, ignore_errors=True)
        opened = []
        for hotkey in approved_hotkeys(metagraph, now.beacon_block):
            self._say(now, f"fetching {hotkey[:8]}")
            try:
                if hotkey not in commitments:
                    raise RejectedSubmission("bad_commitment", "none at the deadline")
                pointer = committed(hotkey, commitments[hotkey], located, now)
                path = folder / f"{hotkey}.safetensors"
                opened.append(open_submission(hotkey, pointer, located, now, self.source, path))
            except RejectedSubmission as rejected:
                log.warning("round %d: %s carries weight, but %s", now.round_id, hotkey, rejected)
        return opened

    def _texts(self, located: Located, base: BaseModel, beacon: str) -> tuple[Sequence[Batch], Sequence[Batch]]:
        """Selection and acceptance text: the draws after the validators' in the same beacon order."""
        release = located.release
        rows = read_split(self.follower.data_file(release, release.data.evaluation))
        plan = release.scoring
        _, select, accept = draw_text(
            base.tokenizer,
            rows,
            beacon,
            [plan.score_sequences, plan.select_sequences, plan.accept_sequences],
            sequence_length=release.data.sequence_length,
            batch_sequences=plan.batch_sequences,
        )
        return select.batches, accept.batches

    def _publish(self, release: Release, folder: Path, now: Round, report: MergeReport) -> MergeOutcome:
        """One commit with model, manifest and outcome, then the pointer: a reader finds all of it or the old one."""
        outcome = MergeOutcome(round_id=now.round_id, published=True, reason="", report=report)
        files: dict[str, Path | bytes] = {entry.path: folder / entry.path for entry in release.files}
        files[MANIFEST_NAME] = release.to_bytes()
        files[outcome_path(now.round_id)] = outcome.to_bytes()
        self._say(now, f"publishing release {release.number}")
        revision = self.hub.publish(self.repo, files, message=f"Release {release.number}")
        pointer = ReleasePointer(
            number=release.number, manifest_sha256=release.digest(), revision=revision, repo=self.repo
        )
        self.ledger.set_commitment(pack(pointer))
        gained = report.improvement
        log.info("round %d: release %d gains %.4f nats", now.round_id, release.number, gained)
        self._say(now, f"release {release.number} is out, {gained:+.4f} nats")
        shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _publish_nothing(self, located: Located, now: Round, reason: str, report: MergeReport | None) -> MergeOutcome:
        outcome = MergeOutcome(round_id=now.round_id, published=False, reason=reason, report=report)
        self.hub.publish(
            self.repo, {outcome_path(now.round_id): outcome.to_bytes()}, message=f"Round {now.round_id}: no release"
        )
        self._say(now, f"no release: {reason}, release {located.release.number} stays")
        return outcome

    def _say(self, now: Round, activity: str) -> None:
        log.info("round %d: %s", now.round_id, activity)
        self.report(Status(round_id=now.round_id, activity=activity))


def _looks_back(release: Release) -> bool:
    """Whether the next merge may repeat a part of the last step: its parent was merged, too, and momentum is on."""
    return bool(release.merging.momenta) and release.parent is not None


def make_report(
    now: Round,
    beacon: str,
    base: Release,
    step: Step,
    clip: float,
    opened: list[Opened],
    coefficients: list[float],
    gain: Gain,
) -> MergeReport:
    """How this merge came about, for the manifest."""
    return MergeReport(
        round_id=now.round_id,
        beacon=beacon,
        method=base.merging.method,
        scale=step.scale,
        momentum=step.momentum,
        clip=clip,
        contributions=tuple(
            Contribution(
                hotkey=one.hotkey,
                repo=one.pointer.repo,
                revision=one.revision,
                file_sha256=one.pointer.file_sha256,
                coefficient=coefficient,
            )
            for one, coefficient in zip(opened, coefficients, strict=True)
        ),
        loss_before=gain.loss_before,
        loss_after=gain.loss_after,
        improvement=gain.improvement.mean,
        lower=gain.improvement.lower,
        upper=gain.improvement.upper,
    )
