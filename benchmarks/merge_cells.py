"""What is measured of merges: one round with every rule and attacker, and several rounds in a row.

Adapters are kept on disk as the files that miners upload, so that every rule reads the same ones, and one that was
trained before is not trained again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from averager.genesis import DEFAULT_SCORING
from benchmarks.merge_rules import RULES, Material, dense
from benchmarks.poisoners import POISONERS, SHUFFLED
from benchmarks.swarm import BATCH_SEQUENCES, Swarm, Text, Training, train_adapter
from hivetune.adapter import Stamp, read_adapter, write_adapter
from hivetune.dora import Factors
from hivetune.errors import RejectedSubmission
from hivetune.merging import Adapter, prepare, weights_norm
from validator.intake import Candidate, check_norm, reject_outliers
from validator.originality import Work, find_copies
from validator.scoring import Scorer

PLAN = DEFAULT_SCORING.model_copy(update={"batch_sequences": BATCH_SEQUENCES})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One rule's merge of one round, on the test text."""

    layout: str
    seed: int
    attack: str
    rule: str
    gain: float  # nats per token over the base
    best_solo: float  # of the honest
    paid_attackers: int
    unpaid_honest: int


class Workshop:
    """One seed's swarm, its text, and its miners' files."""

    def __init__(self, base_folder: Path, text: Text, folder: Path, seed: int, training: Training) -> None:
        self.swarm = Swarm(base_folder)
        self.text = text
        self.seed = seed
        self._folder = folder
        self._training = training
        folder.mkdir(parents=True, exist_ok=True)
        self.scorer = Scorer(
            self.swarm.base, self.swarm.weights, text.score, self.swarm.layout.scale, PLAN, lambda _: None
        )
        self.base_loss = self.swarm.loss(torch.zeros(sum(self.swarm.sizes)), text.test)

    def adapter_seed(self, miner: int, round_id: int) -> int:
        return 10_000 * self.seed + 100 * round_id + miner

    def trained(self, miner: int, *, shuffled: bool = False) -> dict[str, Factors]:
        """A miner's adapter of the first round, trained or read again."""
        stamp = Stamp(hotkey=name_of(miner), round_id=0, release_sha256="0" * 64)
        path = self._folder / f"{miner}{'-shuffled' if shuffled else ''}.safetensors"
        if not path.exists():
            rows_NT = round_rows(self.text, miner, 0, self._training)
            seed = self.adapter_seed(miner, 0)
            factors = train_adapter(self.swarm.folder, rows_NT, self._training, seed, shuffled=shuffled)
            write_adapter(path, self.swarm.layout, stamp, factors)
        return read_adapter(path, self.swarm.layout, stamp)

    def gain(self, step_P: torch.Tensor) -> float:
        """On the test text, nats per token; minus infinity when the loss breaks."""
        try:
            return self.base_loss - self.swarm.loss(step_P, self.text.test)
        except RejectedSubmission:
            return -math.inf

    def admitted(self, uploads: Mapping[str, dict[str, Factors]]) -> list[Adapter]:
        """Those that pass the validators' checks on factors, norms and originality; committed in hotkey order."""
        base_norm, scale, candidates = weights_norm(self.swarm.weights), self.swarm.layout.scale, []
        for hotkey, factors in uploads.items():
            try:
                adapter = prepare(hotkey, factors, self.swarm.weights, scale)
                norm = adapter.norm / base_norm
                check_norm(norm, PLAN)
            except RejectedSubmission:
                continue
            candidates.append(Candidate(hotkey=hotkey, repo="a/b", file_sha256="", relative_norm=norm, adapter=adapter))
        works = [Work(name=one.hotkey, load=partial(_loaded, one)) for one in candidates]
        copied = find_copies(works, [], self.swarm.weights, scale, f"sketch:{self.seed}")
        original = [one for one, verdict in zip(candidates, copied, strict=True) if verdict is None]
        return [_loaded(one) for one in reject_outliers(original, PLAN) if one.rejection is None]

    def material(self, uploads: Mapping[str, dict[str, Factors]]) -> Material:
        """What a rule gets: all that was uploaded, and the scores of what validators admit."""
        admitted = self.admitted(uploads)
        return Material(
            swarm=self.swarm,
            uploads=uploads,
            deltas_KP=torch.stack([dense(self.swarm, factors) for factors in uploads.values()]),
            admitted=admitted,
            scores=self.scorer.score(admitted),
            select=self.text.select,
            accept=self.text.accept,
        )


def _loaded(candidate: Candidate) -> Adapter:
    assert candidate.adapter is not None
    return candidate.adapter


def name_of(miner: int) -> str:
    return f"5Miner{miner:02d}"


def round_rows(text: Text, miner: int, round_id: int, training: Training) -> torch.Tensor:
    """The part of a shard that a round reads: no sequence twice while there is enough of it."""
    shard_NT = text.shards_NT[miner]
    rounds = max(1, len(shard_NT) // training.sequences)
    start = round_id % rounds * training.sequences
    return shard_NT[start : start + training.sequences]


def measure_rules(
    shop: Workshop, layout: str, attack: str, miners: int, attackers: int, rules: Sequence[str]
) -> list[Cell]:
    """One round, with attackers in the last miners' places; `attack` may be any word when there are none."""
    honest = [shop.trained(miner) for miner in range(miners - attackers)]
    uploads = {name_of(miner): factors for miner, factors in enumerate(honest)}
    for index, factors in enumerate(poison(shop, attack, honest, attackers)):
        uploads[name_of(len(honest) + index)] = factors
    material = shop.material(uploads)
    best_solo = max(shop.gain(delta_P) for delta_P in material.deltas_KP[: len(honest)])
    paid = set(material.scores.paid)
    names = list(uploads)
    return [
        Cell(
            layout=layout, seed=shop.seed, attack=attack, rule=rule, gain=shop.gain(RULES[rule](material)),
            best_solo=best_solo, paid_attackers=len(paid.intersection(names[len(honest) :])),
            unpaid_honest=len(honest) - len(paid.intersection(names[: len(honest)])),
        )
        for rule in rules
    ]  # fmt: skip


def poison(shop: Workshop, attack: str, honest: Sequence[dict[str, Factors]], count: int) -> list[dict[str, Factors]]:
    if count == 0:
        return []
    if attack == SHUFFLED:
        return [shop.trained(len(honest) + index, shuffled=True) for index in range(count)]
    return POISONERS[attack](shop.swarm, honest, count)
