"""Two ways to earn without work, run as real processes so that everybody sees what they earn: nothing."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from chain.ledger import Ledger
from hivetune.adapter import FILE_NAME, Stamp, folder_of, write_adapter
from hivetune.commitments import PREFIX_BYTES, Pointer, SubmissionPointer, pack
from hivetune.dora import Factors
from hivetune.files import sha256_of
from hivetune.model import load_base, target_weights
from hivetune.releases import Located, ReleaseFollower, read_pointers
from hivetune.rounds import Phase, Round, round_by_id
from hivetune.status import Report, Status
from hub.client import HubClient, NotOnHub

log = logging.getLogger(__name__)


class UntrainedAuthor:
    """A free rider: writes the adapter that PEFT starts from (B = 0, m = the base's row norms) without a step."""

    def __init__(self, ledger: Ledger, follower: ReleaseFollower) -> None:
        self.ledger = ledger
        self.follower = follower

    def write(self, located: Located, now: Round, path: Path) -> bool:
        """A well-formed file that changes nothing."""
        layout = located.release.layout
        base = load_base(self.follower.base_folder(located))
        generator = torch.Generator().manual_seed(now.round_id)
        factors = {
            name: Factors(
                down_RI=torch.randn(layout.rank, base_OI.shape[1], generator=generator) / base_OI.shape[1] ** 0.5,
                up_OR=torch.zeros(base_OI.shape[0], layout.rank),
                magnitude_O=base_OI.norm(dim=1),
            )
            for name, base_OI in target_weights(base.model, layout).items()
        }
        stamp = Stamp(hotkey=self.ledger.hotkey, round_id=now.round_id, release_sha256=located.sha256)
        write_adapter(path, layout, stamp, factors)
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class CopierNode:
    """A copier: commits to the newest digest on the chain, and uploads its victim's file once revealed."""

    ledger: Ledger
    hub: HubClient
    follower: ReleaseFollower
    repo: str
    state: Path
    report: Report

    def step(self) -> int:
        """Look for something to take, ever more often towards the deadline."""
        block = self.ledger.head().number
        located, now = self.follower.at_block(block)
        if now is None:
            return located.release.rounds.first_block
        following = round_by_id(located.release.rounds, now.round_id + 1).first_block
        mine = self._own_promise(now)
        match now.phase(block):
            case Phase.TRAIN:
                self._promise(located, now, mine)
                return block + max(1, (now.beacon_block - block) // 4)
            case Phase.REVEAL if mine is not None:
                return following if self._take(mine, now) else block + 1
        return following

    def _promise(self, located: Located, now: Round, mine: SubmissionPointer | None) -> None:
        """The newest promise of another miner becomes ours: who commits last has trained longest."""
        promises = [
            (block, pointer.file_sha256)
            for pointer, block in read_pointers(self.ledger.commitments()).values()
            if isinstance(pointer, SubmissionPointer) and pointer.round_id == now.round_id and pointer.repo != self.repo
        ]
        if not promises or (mine is not None and mine.file_sha256 == max(promises)[1]):
            return
        copied = SubmissionPointer(
            round_id=now.round_id,
            release_prefix=located.sha256[: 2 * PREFIX_BYTES],
            file_sha256=max(promises)[1],
            repo=self.repo,
        )
        self.ledger.set_commitment(pack(copied))
        self.report(Status(round_id=now.round_id, activity="committed", note=f"copied {copied.file_sha256[:12]}"))

    def _take(self, mine: SubmissionPointer, now: Round) -> bool:
        """Upload the victim's file as our own; False while it is not revealed."""
        name = f"{folder_of(now.round_id)}/{FILE_NAME}"
        path = self.state / FILE_NAME
        for pointer in self._pointers().values():
            if not isinstance(pointer, SubmissionPointer) or pointer.repo == self.repo:
                continue
            if pointer.file_sha256 != mine.file_sha256:
                continue
            try:
                revision = self.hub.head(pointer.repo)
                remote = self.hub.describe(pointer.repo, revision, [name]).get(name)
            except NotOnHub:
                return False
            if remote is None or remote.sha256 != mine.file_sha256:
                return False
            self.hub.fetch(pointer.repo, revision, name, sha256=mine.file_sha256, size=remote.size, into=path)
            self.hub.ensure_repo(self.repo)
            self.hub.publish(self.repo, {name: path}, message=f"Round {now.round_id}")
            log.info("round %d: uploaded a copy of %s", now.round_id, sha256_of(path)[:16])
            self.report(Status(round_id=now.round_id, activity="revealed", note=f"copied {mine.file_sha256[:12]}"))
            return True
        return False

    def _own_promise(self, now: Round) -> SubmissionPointer | None:
        pointer = self._pointers().get(self.ledger.hotkey)
        return pointer if isinstance(pointer, SubmissionPointer) and pointer.round_id == now.round_id else None

    def _pointers(self) -> dict[str, Pointer]:
        return {hotkey: pointer for hotkey, (pointer, _) in read_pointers(self.ledger.commitments()).items()}
