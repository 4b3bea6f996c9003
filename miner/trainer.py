"""Training inside a round: packed sequences, a schedule that ends before the deadline, checkpoints."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hivetune.errors import ConfigError
from hivetune.files import write_atomically
from miner.engine import Engine

log = logging.getLogger(__name__)

_WARM_UP_STEPS = 5
_FINAL_RATE = 0.1  # of the peak


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where training stands after a step."""

    step: int
    total: int  # as planned now; shrinks when the deadline comes closer than hoped
    loss: float  # nats per token


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """What one round's training does."""

    steps: int
    batch_sequences: int
    micro_batch_sequences: int
    learning_rate: float
    checkpoint_steps: int
    seed: int


def pack_sequences(tokenizer: Any, texts: Sequence[str], sequence_length: int) -> Tensor:
    """Token sequences [N, T] without padding: texts joined by the end-of-text token, the rest cut off."""
    end = tokenizer.eos_token_id
    stream: list[int] = []
    for tokens in tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []:
        stream += tokens
        if end is not None:
            stream.append(end)
    count = len(stream) // sequence_length
    if count == 0:
        raise ConfigError(f"the shard has {len(stream)} tokens, one sequence takes {sequence_length}")
    return torch.tensor(stream[: count * sequence_length]).view(count, sequence_length)


def learning_rate_at(step: int, total: int, peak: float) -> float:
    """Linear warm-up, then a cosine to a tenth of the peak."""
    warm_up = min(_WARM_UP_STEPS, max(1, total // 4))
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
    return peak * min(1.0, (step + 1) / warm_up) * (_FINAL_RATE + (1 - _FINAL_RATE) * decay)


def steps_that_fit(done: int, planned: int, blocks_used: int, blocks_left: int) -> int:
    """Steps in all that end in time at the pace so far; at least those already done."""
    if done == 0 or blocks_used == 0:
        return planned
    return max(done, min(planned, done + int(done / blocks_used * blocks_left)))


def train(
    engine: Engine,
    sequences_NT: Tensor,
    plan: TrainingPlan,
    checkpoint: Path,
    *,
    block: Callable[[], int],
    last_block: int,
    progress: Callable[[Progress], None],
) -> Progress:
    """Train until the plan or the time is used up; resumes from `checkpoint` when there is one.

    `block` reads the chain's height; the schedule shrinks so that the last step ends by `last_block`.
    """
    done, loss = _resume(engine, checkpoint)
    order = _batches(len(sequences_NT), plan)
    for _ in range(done):
        next(order)
    started, first = block(), done
    total = plan.steps
    while done < total:
        rows = next(order)
        micro_batches = sequences_NT[rows].split(plan.micro_batch_sequences)
        loss = engine.step(micro_batches, learning_rate_at(done, total, plan.learning_rate))
        done += 1
        now = block()
        total = first + steps_that_fit(done - first, plan.steps - first, now - started, last_block - now)
        progress(Progress(step=done, total=total, loss=loss))
        if done % plan.checkpoint_steps == 0 and done < total:
            _save(engine, checkpoint, done, loss)
    return Progress(step=done, total=total, loss=loss)


def _batches(count: int, plan: TrainingPlan) -> Iterator[Tensor]:
    """Endless shuffled epochs of row numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(plan.seed)
    size = min(plan.batch_sequences, count)
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def _save(engine: Engine, checkpoint: Path, done: int, loss: float) -> None:
    metadata = {"progress": json.dumps({"done": done, "loss": loss})}
    write_atomically(checkpoint, safetensors.torch.save(engine.state(), metadata))


def _resume(engine: Engine, checkpoint: Path) -> tuple[int, float]:
    if not checkpoint.exists():
        return 0, math.nan
    with safetensors.safe_open(checkpoint, framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
        engine.restore({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a dict
    log.info("resuming after step %d", progress["done"])
    return int(progress["done"]), float(progress["loss"])
