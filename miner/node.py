"""The miner's round: have the file written, commit its digest before the deadline, reveal it after.

Everything a restart needs stands in the state folder or on the chain: a finished file is committed again if the chain
does not show it, and uploaded again if the Hub does not hold it.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from chain.ledger import Ledger
from hivetune.adapter import CONFIG_NAME, FILE_NAME, folder_of, peft_config
from hivetune.commitments import PREFIX_BYTES, SubmissionPointer, pack
from hivetune.files import sha256_of
from hivetune.releases import Located, ReleaseFollower
from hivetune.rounds import Phase, Round, round_by_id
from hivetune.status import Report, Status
from hub.client import HubClient, NotOnHub
from miner.author import Author

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class MinerNode:
    """Commits and reveals what its author writes."""

    ledger: Ledger
    hub: HubClient
    follower: ReleaseFollower
    author: Author
    repo: str
    state: Path
    report: Report

    def step(self) -> int:
        """Write and commit, or reveal, whichever this block asks for."""
        block = self.ledger.head().number
        located, now = self.follower.at_block(block)
        if now is None:
            return located.release.rounds.first_block
        path = self._folder(now) / FILE_NAME
        match now.phase(block):
            case Phase.TRAIN:
                if path.exists() or self.author.write(located, now, path):
                    self._commit(located, now, path)
                return now.beacon_block
            case Phase.REVEAL if path.exists():
                self._reveal(located, now, path)
        return round_by_id(located.release.rounds, now.round_id + 1).first_block

    def _commit(self, located: Located, now: Round, path: Path) -> None:
        if self.ledger.head().number > now.deadline:
            log.warning("round %d: finished after the deadline, block %d", now.round_id, now.deadline)
            return
        digest = sha256_of(path)
        packed = pack(
            SubmissionPointer(
                round_id=now.round_id,
                release_prefix=located.sha256[: 2 * PREFIX_BYTES],
                file_sha256=digest,
                repo=self.repo,
            )
        )
        on_chain = self.ledger.commitment(self.ledger.hotkey)
        if on_chain is None or on_chain.data != packed:
            self.ledger.set_commitment(packed)
        log.info("round %d: committed to %s", now.round_id, digest[:16])
        self.report(Status(round_id=now.round_id, activity="committed", note=f"file {digest[:12]}"))

    def _reveal(self, located: Located, now: Round, path: Path) -> None:
        on_hub = f"{folder_of(now.round_id)}/{FILE_NAME}"
        digest = sha256_of(path)
        if not self._is_on_hub(on_hub, digest):
            self.report(Status(round_id=now.round_id, activity="uploading"))
            self.hub.ensure_repo(self.repo)
            config = peft_config(located.release.layout, located.repo)
            files: dict[str, Path | bytes] = {on_hub: path, f"{folder_of(now.round_id)}/{CONFIG_NAME}": config}
            self.hub.publish(self.repo, files, message=f"Round {now.round_id}")
        log.info("round %d: revealed %s", now.round_id, digest[:16])
        self.report(Status(round_id=now.round_id, activity="revealed", note=f"file {digest[:12]}"))

    def _is_on_hub(self, path: str, digest: str) -> bool:
        try:
            found = self.hub.describe(self.repo, self.hub.head(self.repo), [path])
        except NotOnHub:
            return False
        return path in found and found[path].sha256 == digest

    def _folder(self, now: Round) -> Path:
        """This round's folder; other rounds are settled and removed."""
        folder = self.state / "rounds" / f"{now.round_id:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
        return folder
