"""How the files of an arena come about: by honest training, or by a recipe."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hivetune.adapter import Stamp, read_adapter
from hivetune.releases import Located
from hivetune.rounds import Round
from miner.author import Author
from miner.settings import MinerSettings
from neurons.arena.board import Board
from neurons.arena.deltas import Adapter
from neurons.arena.seat import Seat, Turn

Recipe = Callable[[Turn], Adapter | None]  # None: nothing to send in this round


@dataclass(frozen=True, kw_only=True, slots=True)
class HonestAuthor:
    """The miner's own author; its work is paid for in tokens, and known to all cheaters at once."""

    author: Author
    hotkey: str
    settings: MinerSettings
    board: Board
    leaks: bool

    def write(self, located: Located, now: Round, path: Path) -> bool:
        """Train as miners do."""
        if not self.author.write(located, now, path):
            return False
        release = located.release
        self.board.spend(
            self.hotkey, self.settings.steps * self.settings.batch_sequences * release.data.sequence_length
        )
        if self.leaks:
            stamp = Stamp(hotkey=self.hotkey, round_id=now.round_id, release_sha256=located.sha256)
            self.board.leak(now.round_id, self.hotkey, read_adapter(path, release.layout, stamp))
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeAuthor:
    """Writes what a recipe makes of all that cheaters know."""

    seat: Seat
    recipe: Recipe

    def write(self, located: Located, now: Round, path: Path) -> bool:
        """The cheater's file; False when it sits this round out."""
        turn = Turn(seat=self.seat, located=located, now=now)
        made = self.recipe(turn)
        if made is not None:
            turn.write(path, made)
        return made is not None
