"""How long a round takes on this machine: measured first, so that a slow one makes long rounds and not late miners."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from averager.merge import SCALES
from hivetune.model import load_base
from hivetune.records import RoundPlan, ScoringPlan

_SLACK = 2.5  # blocks are cheap: the chain skips ahead when every node waits
_BLOCKS_TO_COMMIT = 10
_BLOCKS_TO_REVEAL = 20
# Most that is needed, in forward passes in fp32 over the same tokens, measured on a 135M Llama: training as with PEFT.
_TRAINING_PASSES = 4.0
_CREDIT_PASSES = 14.0  # two nodes, forward and backward, and four more; eight, the last resort, takes from the slack
_LOAD_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What one round of the network computes."""

    trainers: int
    validators: int
    steps: int
    tokens_per_step: int
    scoring: ScoringPlan
    sequence_length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Seconds of a round's phases on this machine, each with everybody at work at once."""

    tokens_per_s: float  # forward pass in fp32 with all cores
    train_s: float
    score_s: float
    merge_s: float
    block_s: float

    def round_plan(self, first_block: int) -> RoundPlan:
        """Phases in blocks, with slack."""
        deadline = self._blocks(self.train_s) + _BLOCKS_TO_COMMIT
        reveal_end = deadline + _BLOCKS_TO_REVEAL
        score_end = reveal_end + self._blocks(self.score_s)
        blocks = score_end + self._blocks(self.merge_s) + _BLOCKS_TO_COMMIT
        return RoundPlan(
            first_block=first_block,
            blocks_per_round=blocks,
            deadline=deadline,
            reveal_end=reveal_end,
            score_end=score_end,
        )

    def _blocks(self, seconds: float) -> int:
        return int(_SLACK * seconds / self.block_s) + 5


@torch.no_grad()
def measure_speed(base_folder: Path, sequence_length: int) -> float:
    """Tokens a second of the base's forward pass in fp32, on all cores."""
    base = load_base(base_folder)
    vocabulary = base.model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    tokens_BT = torch.randint(0, int(vocabulary), (4, sequence_length), generator=torch.Generator().manual_seed(0))
    base.logits(tokens_BT, {})
    started, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - started < 1.0:
        base.logits(tokens_BT, {})
        count += 1
    return count * tokens_BT.numel() / (time.perf_counter() - started)


def estimate(tokens_per_s: float, work: Work, block_s: float) -> Pace:
    """Phase lengths from the machine's speed."""
    training = work.trainers * work.steps * work.tokens_per_step * _TRAINING_PASSES
    scored = work.scoring.score_sequences * work.sequence_length
    scoring = work.validators * scored * (2 + work.trainers + _CREDIT_PASSES)
    merging = work.sequence_length * (len(SCALES) * work.scoring.select_sequences + 2 * work.scoring.accept_sequences)
    return Pace(
        tokens_per_s=tokens_per_s,
        train_s=training / tokens_per_s + _LOAD_S * work.trainers,
        score_s=scoring / tokens_per_s + _LOAD_S * work.validators,
        merge_s=merging / tokens_per_s + 3 * _LOAD_S,
        block_s=block_s,
    )
