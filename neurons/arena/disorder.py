"""Miners that break the order of a round: late, slow, of two minds, or with another's commitment."""

from dataclasses import dataclass
from pathlib import Path

from hivetune.adapter import FILE_NAME, folder_of
from hivetune.commitments import PREFIX_BYTES, SubmissionPointer, pack, unpack
from hivetune.errors import RejectedSubmission
from hivetune.files import sha256_of
from hivetune.rounds import Phase
from miner.node import MinerNode
from neurons.arena.authors import RecipeAuthor
from neurons.arena.deltas import gauged
from neurons.arena.seat import Seat, Turn


@dataclass(frozen=True, kw_only=True, slots=True)
class TardyMiner:
    """Trains, and commits or uploads in a later phase than it should."""

    seat: Seat
    commits: Phase
    uploads: Phase

    def step(self) -> int:
        """What is late is as good as not there."""
        turn, phase = self.seat.here()
        path = own_file(turn)
        if phase is Phase.TRAIN:
            turn.write(path, turn.train())
        if path.exists():
            if phase is self.commits:
                commit(turn, path)
            if phase is self.uploads:
                upload(turn, path)
        return turn.now.last_block + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class EquivocatingMiner:
    """Commits to one file, then to another, and uploads the first."""

    seat: Seat

    def step(self) -> int:
        """The last commitment before the deadline counts."""
        turn, phase = self.seat.here()
        path = own_file(turn)
        if phase is Phase.TRAIN:
            own = turn.train()
            other = path.with_name("other.safetensors")
            turn.write(path, own)
            turn.write(other, gauged(own, turn.generator()))
            commit(turn, path)
            commit(turn, other)
        elif phase is Phase.REVEAL and path.exists():
            upload(turn, path)
        return turn.now.last_block + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Griefer:
    """Repeats an honest miner's commitment to the letter, repository and all."""

    seat: Seat

    def step(self) -> int:
        """There is nothing to upload: the victim will."""
        turn, phase = self.seat.here()
        if phase is Phase.TRAIN:
            seen = self.seat.ledger.commitments()
            honest = sorted(self.seat.board.leaks.get(turn.round_id, {}))
            found = [seen[hotkey].data for hotkey in honest if hotkey in seen and _is_of(seen[hotkey].data, turn)]
            if found:
                self.seat.ledger.set_commitment(found[self.seat.uid % len(found)])
        return turn.now.last_block + 1


def own_file(turn: Turn) -> Path:
    """Where this round's file is kept."""
    folder = turn.seat.state / "rounds" / f"{turn.round_id:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / FILE_NAME


def commit(turn: Turn, path: Path) -> None:
    """To a file, as an honest miner does."""
    pointer = SubmissionPointer(
        round_id=turn.round_id,
        release_prefix=turn.located.sha256[: 2 * PREFIX_BYTES],
        file_sha256=sha256_of(path),
        repo=turn.seat.repo,
    )
    turn.seat.ledger.set_commitment(pack(pointer))


def upload(turn: Turn, path: Path) -> None:
    """Into the seat's own repository."""
    hub, repo = turn.seat.hub, turn.seat.repo
    hub.ensure_repo(repo)
    hub.publish(repo, {f"{folder_of(turn.round_id)}/{FILE_NAME}": path}, message=f"Round {turn.round_id}")


def _is_of(data: bytes, turn: Turn) -> bool:
    try:
        pointer = unpack(data)
    except RejectedSubmission:
        return False
    return isinstance(pointer, SubmissionPointer) and pointer.round_id == turn.round_id


def miner_node(seat: Seat, author: RecipeAuthor) -> MinerNode:
    """The miner's own node around a cheater's file."""
    return MinerNode(
        ledger=seat.ledger,
        hub=seat.hub,
        follower=seat.follower,
        author=author,
        repo=seat.repo,
        state=seat.state,
        report=lambda _: None,
    )
