"""Several rounds in a row: each release is the next round's base, and all of them against training at one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from averager.merge import MERGE_PLANS, Course, Step, search_step
from benchmarks.merge_cells import Workshop, round_rows
from benchmarks.merge_rules import clipped, dense
from benchmarks.swarm import Swarm, Training, train_adapter
from hivetune.evaluation import Batch
from hivetune.records import MergePlan

NESTEROV_RATE, NESTEROV_MOMENTUM = 0.7, 0.9  # as in DiLoCo (Douillard et al. 2023, arXiv:2311.08105)
NESTEROV = "Nesterov, fixed"
PLANS: Mapping[str, MergePlan] = {
    "plain mean": MergePlan(scales=(1.0,), momenta=()),
    "uniform": MERGE_PLANS["uniform"],
    "momentum": MERGE_PLANS["momentum"],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """One round of a chain of releases, on the test text, in nats per token over release 0."""

    layout: str
    seed: int
    method: str
    round_id: int
    gain: float
    best_solo: float  # had the best of the round's adapters been released alone
    scale: float
    momentum: float


@dataclass(kw_only=True, slots=True, eq=False)
class Chain:
    """What an averager carries from release to release."""

    method: str
    velocity_P: Tensor | None = None  # Nesterov's
    last_P: Tensor | None = None  # the last step
    releases: list[Release] = field(default_factory=list)

    def step(self, swarm: Swarm, mean_P: Tensor, select: Sequence[Batch]) -> tuple[Tensor, Step]:
        """From the mean of this round's clipped deltas to the step that is released."""
        if self.method == NESTEROV:
            before_P = torch.zeros_like(mean_P) if self.velocity_P is None else self.velocity_P
            self.velocity_P = NESTEROV_MOMENTUM * before_P + mean_P
            moved_P = NESTEROV_RATE * (mean_P + NESTEROV_MOMENTUM * self.velocity_P)
            return moved_P, Step(scale=NESTEROV_RATE * (1 + NESTEROV_MOMENTUM), momentum=NESTEROV_MOMENTUM)
        here = swarm.weights
        previous = None if self.last_P is None else swarm.moved(-self.last_P)
        course = Course(base=swarm.base, weights=here, delta=swarm.parts(mean_P), previous=previous)
        found = search_step(course, PLANS[self.method], select)
        carried_P = torch.zeros_like(mean_P) if self.last_P is None else found.momentum * self.last_P
        return found.scale * mean_P + carried_P, found


def measure_releases(
    shop: Workshop, layout: str, method: str, training: Training, miners: int, rounds: int, folder: Path
) -> list[Release]:
    """Every miner honest; in round 0 the adapters are the shop's own."""
    chain, swarm = Chain(method=method), shop.swarm
    for round_id in range(rounds):
        deltas_KP = torch.stack([_delta(shop, swarm, training, miner, round_id) for miner in range(miners)])
        best_solo = max(_gain(shop, swarm, delta_P) for delta_P in deltas_KP)
        chain.last_P, found = chain.step(swarm, clipped(deltas_KP).mean(0), shop.text.select)
        chain.releases.append(
            Release(
                layout=layout, seed=shop.seed, method=method, round_id=round_id,
                gain=_gain(shop, swarm, chain.last_P), best_solo=best_solo,
                scale=found.scale, momentum=found.momentum,
            )
        )  # fmt: skip
        swarm.save_moved(chain.last_P, folder / f"{round_id + 1}")
        swarm = Swarm(folder / f"{round_id + 1}")
    return chain.releases


def _delta(shop: Workshop, swarm: Swarm, training: Training, miner: int, round_id: int) -> Tensor:
    if round_id == 0:
        return dense(swarm, shop.trained(miner))
    rows_NT = round_rows(shop.text, miner, round_id, training)
    return dense(swarm, train_adapter(swarm.folder, rows_NT, training, shop.adapter_seed(miner, round_id)))


def _gain(shop: Workshop, swarm: Swarm, step_P: Tensor) -> float:
    loss = swarm.loss(step_P, shop.text.test)
    return shop.base_loss - loss if math.isfinite(loss) else -math.inf


def centralised(
    shop: Workshop, training: Training, miners: int, rounds: int, choices: Sequence[tuple[int, float]]
) -> float:
    """The gain of one adapter of the same rank on the same text, all at one place, by the best batch size and rate.

    The best is chosen on the selection text, as a miner could not; it is the harder mark to reach.
    """
    parts = [round_rows(shop.text, miner, round_id, training) for round_id in range(rounds) for miner in range(miners)]
    rows_NT = torch.cat(parts)
    found = []
    for batch_sequences, rate in choices:
        plan = Training(steps=len(rows_NT) // batch_sequences, batch_sequences=batch_sequences, learning_rate=rate)
        step_P = dense(shop.swarm, train_adapter(shop.swarm.folder, rows_NT, plan, shop.adapter_seed(99, 0)))
        found.append((shop.swarm.loss(step_P, shop.text.select), shop.gain(step_P)))
    return min(found)[1]
