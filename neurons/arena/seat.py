"""A cheating miner's place: what it can read, what it remembers, and how it trains."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from chain.ledger import Ledger
from hivetune.adapter import Stamp, write_adapter
from hivetune.corpus import Row, read_split
from hivetune.draws import assign_shard
from hivetune.model import BaseModel, load_base, target_weights
from hivetune.releases import Located, ReleaseFollower
from hivetune.rounds import Phase, Round, round_by_id
from hub.client import HubClient
from miner.fast_engine import FastEngine
from miner.trainer import learning_rate_at, pack_sequences
from neurons.arena.board import Board
from neurons.arena.deltas import Adapter

BATCH_SEQUENCES = 16
LEARNING_RATE = 1.5e-2


@dataclass(kw_only=True, slots=True)
class Library:
    """Bases and texts in memory, read once for all cheaters; nobody writes to them."""

    follower: ReleaseFollower
    _bases: dict[str, BaseModel] = field(default_factory=dict)
    _rows: dict[str, list[Row]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def folder(self, located: Located) -> Path:
        """Where a release's model lies."""
        with self._lock:
            return self.follower.base_folder(located)

    def base(self, located: Located) -> BaseModel:
        """A release's model, to be read."""
        with self._lock:
            if located.sha256 not in self._bases:
                self._bases = {located.sha256: load_base(self.folder(located))}
            return self._bases[located.sha256]

    def rows(self, located: Located, split: str) -> list[Row]:
        """Of the training or the evaluation text, both of which are public."""
        with self._lock:
            if split not in self._rows:
                entry = getattr(located.release.data, split)
                self._rows[split] = read_split(self.follower.data_file(located.release, entry))
            return self._rows[split]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """One hotkey of a strategy."""

    name: str  # strategy and number
    hotkeys: int  # that the strategy has
    uid: int
    ledger: Ledger
    hub: HubClient
    follower: ReleaseFollower
    library: Library
    board: Board
    repo: str
    state: Path
    steps: int  # of a full round of honest training
    seed: int
    rounds: int  # that will be played

    @property
    def strategy(self) -> str:
        """What all hotkeys of one hand have in common."""
        return self.name.rpartition("-")[0]

    @property
    def number(self) -> int:
        """Of this hotkey among the strategy's."""
        return int(self.name.rpartition("-")[2])

    def here(self) -> tuple["Turn", Phase]:
        """The round of the newest block and its phase; the arena has no blocks before round 0."""
        block = self.ledger.head().number
        located, now = self.follower.at_block(block)
        now = now or round_by_id(located.release.rounds, 0)
        return Turn(seat=self, located=located, now=now), now.phase(block)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A seat in one round."""

    seat: Seat
    located: Located
    now: Round

    @property
    def round_id(self) -> int:
        return self.now.round_id

    @property
    def scale(self) -> float:
        """What multiplies B A in every file."""
        return self.located.release.layout.scale

    def weights(self) -> dict[str, Tensor]:
        """The base's adapted weights [O, I] by module."""
        return target_weights(self.seat.library.base(self.located).model, self.located.release.layout)

    def generator(self) -> torch.Generator:
        """Of this hotkey's noise in this round."""
        return torch.Generator().manual_seed(self._seed("noise"))

    def rows(self, split: str) -> list[Row]:
        """Public text."""
        return self.seat.library.rows(self.located, split)

    def shard(self) -> Tensor:
        """Sequences of the shard that an honest miner would train on here."""
        shards = self.located.release.data.num_shards
        number = assign_shard(self.located.sha256, self.round_id, self.seat.uid, shards)
        return self.sequences([row for row in self.rows("train") if row.shard == number])

    def sequences(self, rows: Sequence[Row]) -> Tensor:
        """Rows as training takes them, [N, T]."""
        tokenizer = self.seat.library.base(self.located).tokenizer
        return pack_sequences(tokenizer, [row.text for row in rows], self.located.release.data.sequence_length)

    def train(self, sequences_NT: Tensor | None = None, *, share: float = 1.0, start: Adapter | None = None) -> Adapter:
        """What honest training makes of a text, its own shard unless told otherwise, with a share of the steps.

        It goes on from `start` when there is one.
        """
        tokens_NT = self.shard() if sequences_NT is None else sequences_NT
        steps, seed = max(1, round(share * self.seat.steps)), self._seed("training")
        base = load_base(self.seat.library.folder(self.located))
        engine = FastEngine(base, self.located.release.layout, seed=seed, device="cpu")
        if start is not None:
            engine.restore(dict(_parameters(start)))
        generator = torch.Generator().manual_seed(seed)
        for step in range(steps):
            rows = torch.randint(len(tokens_NT), (BATCH_SEQUENCES,), generator=generator)
            engine.step([tokens_NT[rows]], learning_rate_at(step, steps, LEARNING_RATE))
        self.seat.board.spend(self.seat.ledger.hotkey, steps * BATCH_SEQUENCES * tokens_NT.shape[1])
        return engine.factors()

    def leaked(self, *, back: int = 0) -> list[Adapter]:
        """Work of honest miners of this round or one before, in hotkey order; empty when there is none."""
        return [file for _, file in sorted(self.seat.board.leaks.get(self.round_id - back, {}).items())]

    def write(self, path: Path, file: Adapter) -> None:
        """Under this hotkey's own name."""
        stamp = Stamp(hotkey=self.seat.ledger.hotkey, round_id=self.round_id, release_sha256=self.located.sha256)
        write_adapter(path, self.located.release.layout, stamp, file)

    def _seed(self, use: str) -> int:
        text = f"{self.seat.seed}:{self.seat.name}:{self.round_id}:{use}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _parameters(file: Adapter) -> Iterator[tuple[str, Tensor]]:
    """In the names of an engine's state."""
    for module, layer in file.items():
        yield f"parameter:{module}.lora_A", layer.down_RI
        yield f"parameter:{module}.lora_B", layer.up_OR
        yield f"parameter:{module}.magnitude", layer.magnitude_O
