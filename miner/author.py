"""Writing a round's adapter file: the honest way, by training on the assigned shard."""

import logging
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from chain.ledger import Ledger
from hivetune.adapter import Stamp, write_adapter
from hivetune.corpus import read_split
from hivetune.draws import assign_shard
from hivetune.errors import ConfigError
from hivetune.model import BaseModel, load_base
from hivetune.releases import Located, ReleaseFollower
from hivetune.rounds import Round
from hivetune.status import Report, Status
from miner.data import ShardKey, packed_shard, tokenizer_digest
from miner.engines import build_engine
from miner.secret import training_seed
from miner.settings import MinerSettings
from miner.trainer import Progress, TrainingPlan, pack_sequences, train

log = logging.getLogger(__name__)


class Author(Protocol):
    """Makes a round's adapter file."""

    def write(self, located: Located, now: Round, path: Path) -> bool:
        """Write the file to `path`; False when this round can have none."""
        ...


class TrainingAuthor:
    """Trains DoRA on the shard that the release assigns to this miner."""

    def __init__(
        self, settings: MinerSettings, ledger: Ledger, follower: ReleaseFollower, report: Report, *, secret: bytes
    ) -> None:
        self._settings = settings
        self._secret = secret
        self._ledger = ledger
        self._follower = follower
        self._report = report

    def write(self, located: Located, now: Round, path: Path) -> bool:
        """Train until the plan is done or the deadline is near; False when too few blocks are left to start."""
        last_block = now.deadline - self._settings.margin_blocks
        if self._ledger.head().number >= last_block:
            log.info("round %d: too late to train, waiting for the next", now.round_id)
            return False
        shard = self._shard(located, now)
        self._report(Status(round_id=now.round_id, activity=f"loading release {located.release.number}"))
        base = load_base(self._follower.base_folder(located), dtype=getattr(torch, self._settings.precision))
        sequences_NT = self._sequences(base, located, shard, path.parents[2] / "tokens")
        log.info("round %d: shard %d, %d sequences", now.round_id, shard, len(sequences_NT))
        seed = training_seed(self._secret, self._ledger.hotkey, now.round_id, self._settings.seed)
        engine = build_engine(
            self._settings,
            base,
            located.release.layout,
            seed=seed,
            sequence_length=located.release.data.sequence_length,
        )
        checkpoint = path.with_name("checkpoint.safetensors")
        reached = train(
            engine,
            sequences_NT,
            self._plan(seed),
            checkpoint,
            block=lambda: self._ledger.head().number,
            last_block=last_block,
            progress=lambda progress: self._show(now, shard, progress),
        )
        stamp = Stamp(hotkey=self._ledger.hotkey, round_id=now.round_id, release_sha256=located.sha256)
        write_adapter(path, located.release.layout, stamp, engine.factors())
        checkpoint.unlink(missing_ok=True)
        log.info("round %d: %d steps, last loss %.4f", now.round_id, reached.step, reached.loss)
        return True

    def _shard(self, located: Located, now: Round) -> int:
        neuron = self._ledger.metagraph().by_hotkey(self._ledger.hotkey)
        if neuron is None:
            raise ConfigError(f"hotkey {self._ledger.hotkey} is not registered on subnet {self._settings.netuid}")
        return assign_shard(located.sha256, now.round_id, neuron.uid, located.release.data.num_shards)

    def _sequences(self, base: BaseModel, located: Located, shard: int, cache: Path) -> Tensor:
        data = located.release.data
        key = ShardKey(
            corpus_sha256=data.train.sha256,
            tokenizer_sha256=tokenizer_digest(self._follower.base_folder(located)),
            sequence_length=data.sequence_length,
            shard=shard,
        )

        def make() -> Tensor:
            rows = read_split(self._follower.data_file(located.release, data.train))
            texts = [row.text for row in rows if row.shard == shard]
            return pack_sequences(base.tokenizer, texts, data.sequence_length)

        return packed_shard(cache, key, make)

    def _plan(self, seed: int) -> TrainingPlan:
        return TrainingPlan(
            steps=self._settings.steps,
            batch_sequences=self._settings.batch_sequences,
            micro_batch_sequences=self._settings.micro_batch_sequences,
            learning_rate=self._settings.learning_rate,
            checkpoint_steps=self._settings.checkpoint_steps,
            seed=seed,
        )

    def _show(self, now: Round, shard: int, progress: Progress) -> None:
        self._report(
            Status(
                round_id=now.round_id,
                activity=f"training on shard {shard}",
                done=progress.step,
                total=progress.total,
                note=f"loss {progress.loss:.3f}",
            )
        )
