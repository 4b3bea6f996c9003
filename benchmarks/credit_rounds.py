"""Rounds on a small base for the credit benchmark: honest miners, nulls and sybils, through admission and scoring."""

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from averager.genesis import DEFAULT_SCORING
from benchmarks import candidates as round_of
from hivetune.adapter import FILE_NAME, Stamp, folder_of, write_adapter
from hivetune.commitments import SubmissionPointer, pack
from hivetune.dora import Factors
from hivetune.evaluation import Batch, make_batches
from hivetune.merging import Adapter
from hivetune.model import BaseModel, load_base, target_weights
from hivetune.rounds import round_by_id
from miner.trainer import pack_sequences
from tests.conftest import locate, make_plan, make_release
from tests.test_submissions import OnChain, Shelf
from validator.intake import Intake
from validator.scoring import Scorer, Scores, pay

NOW = round_by_id(make_plan(), 2)
STEPS = 10  # of an honest miner
SHUFFLED_STEPS = 5
HONEST = 6
NULLS = ("zero", "stale", "noise", "shuffled")
NOISE_SIZES = (1e-3, 0.03, 1.0)  # of an honest B
WIDTH, LAYERS = 128, 3
PIECES_OF_DOMAIN = 300  # held out
FEWEST_PIECES = 500  # of a domain, or it is left out
SYBILS = ("the same file", "copies with 1 % noise", "parts of one k-th", "parts by layers")


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What all rounds share."""

    folder: Path
    base: BaseModel
    weights: Mapping[str, Tensor]
    scale: float
    held_out: Sequence[str]  # in random order
    miners: Sequence[dict[str, Factors]]  # honest ones
    shards: Sequence[Tensor]

    def batches(self, first: int, count: int) -> list[Batch]:
        """So many held-out texts from there on."""
        texts = [self.held_out[row % len(self.held_out)] for row in range(first, first + count)]
        return make_batches(
            self.base.tokenizer,
            texts,
            sequence_length=round_of.SEQUENCE_LENGTH,
            batch_sequences=DEFAULT_SCORING.batch_sequences,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Nulls:
    """Of one kind, over all rounds."""

    kind: str
    entered: int
    paid: int
    share: float  # of all rounds' pay
    reasons: dict[str, int]  # of those that admission rejected


@dataclass(frozen=True, kw_only=True, slots=True)
class Honest:
    """What the nulls did to the honest."""

    entered: int
    paid: int
    unchanged: int  # rounds in which every credit is the same to the bit as without nulls
    most: float  # that a credit changed, nats a token


@dataclass(frozen=True, kw_only=True, slots=True)
class Sybil:
    way: str
    parts: int
    pay_ratio: float  # all parts' pay over what the one would have got
    admitted: int  # of the parts


def make_world(folder: Path, miners: int) -> World:
    """A base that has learnt some domains, and miners that trained on the others."""
    domains = round_of.real_text()
    known = [document for domain in domains[: round_of.BASE_DOMAINS] for document in domain]
    round_of.train_small_base(folder / "base", known, width=WIDTH, layers=LAYERS)
    base = load_base(folder / "base")
    layout = round_of.layout_of(base)
    pieces = [round_of.texts(domain, 2 * round_of.SEQUENCE_LENGTH) for domain in domains[round_of.BASE_DOMAINS :]]
    pieces = [texts for texts in pieces if len(texts) >= FEWEST_PIECES]
    held_out = [text for texts in pieces for text in texts[:PIECES_OF_DOMAIN]]
    random.Random(0).shuffle(held_out)
    rest = [text for texts in pieces for text in texts[PIECES_OF_DOMAIN:]]
    shards = [pack_sequences(base.tokenizer, rest[i::miners], round_of.SEQUENCE_LENGTH) for i in range(miners)]
    trained = [
        round_of.train_adapter(folder / "base", shard, steps=STEPS, seed=index) for index, shard in enumerate(shards)
    ]
    return World(
        folder=folder,
        base=base,
        weights=target_weights(base.model, layout),
        scale=layout.scale,
        held_out=held_out,
        miners=trained,
        shards=shards,
    )


class Entries:
    """The files and commitments of one round."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._located = locate(make_release(round_of.layout_of(world.base), scoring=DEFAULT_SCORING))
        self._shelf = Shelf(folder / "hub")
        self._inbox = folder / "inbox"
        self._commitments: dict[str, OnChain] = {}

    def enter(self, hotkey: str, factors: Mapping[str, Factors], *, stale: bool = False, block: int = 0) -> None:
        """Commit and reveal; a stale one names the release before."""
        release = "0" * 64 if stale else self._located.sha256
        file = self._shelf.folder / hotkey / "x" / folder_of(NOW.round_id) / FILE_NAME
        file.parent.mkdir(parents=True)
        stamp = Stamp(hotkey=hotkey, round_id=NOW.round_id, release_sha256=release)
        digest = write_adapter(file, self._located.release.layout, stamp, factors)
        pointer = SubmissionPointer(
            round_id=NOW.round_id, release_prefix=release[:16], file_sha256=digest, repo=f"{hotkey}/x"
        )
        self._commitments[hotkey] = OnChain(NOW.first_block + block, pack(pointer))

    def admit(self) -> tuple[list[Adapter], dict[str, str]]:
        """The admitted, and each other's reason."""
        intake = Intake(self._located, NOW, self._shelf, self._world.weights, self._inbox, beacon="0xab")
        found = intake.collect(self._commitments)
        admitted = [c.adapter for c in found if c.rejection is None and c.adapter is not None]
        return admitted, {c.hotkey: c.rejection.reason for c in found if c.rejection is not None}


def score(world: World, batches: Sequence[Batch], adapters: Sequence[Adapter]) -> Scores:
    """As a validator does, but for the solo tests, which are a report and decide no pay."""
    scorer = Scorer(world.base, world.weights, batches, world.scale, DEFAULT_SCORING, lambda _activity: None)
    skipped = {adapter.hotkey: tuple(scorer.base_nats) for adapter in adapters}
    return scorer.score(adapters, skipped)


def play_nulls(world: World, rounds: range, each: int) -> tuple[list[Nulls], Honest]:
    """So many rounds with the honest and `each` nulls of every kind, and each once more with the honest alone."""
    entered, paid = dict.fromkeys(NULLS, 0), dict.fromkeys(NULLS, 0)
    share = dict.fromkeys(NULLS, 0.0)
    reasons: dict[str, dict[str, int]] = {kind: {} for kind in NULLS}
    honest_paid, changes = 0, []
    sequences = DEFAULT_SCORING.score_sequences
    for turn in rounds:
        entries = _round_with_nulls(world, turn, each)
        admitted, rejected = entries.admit()
        for hotkey, reason in rejected.items():
            told = reasons[hotkey.split("-")[0]]
            told[reason] = told.get(reason, 0) + 1
        batches = world.batches(turn * sequences, sequences)
        scores = score(world, batches, admitted)
        for hotkey, weight in pay(scores).items():
            kind = hotkey.split("-")[0]
            if kind == "honest":
                honest_paid += 1
            else:
                paid[kind] += 1
                share[kind] += weight / len(rounds)
        honest = [adapter for adapter in admitted if adapter.hotkey.startswith("honest")]
        fair = score(world, batches, honest)
        changes.append(max(abs(scores.credit[a.hotkey].mean - fair.credit[a.hotkey].mean) for a in honest))
        for kind in NULLS:
            entered[kind] += each
        print(
            f"round {turn + 1} of {rounds.stop}: {sum(paid.values())} of {sum(entered.values())} nulls paid, "
            f"honest credits changed by {changes[-1]:.1e}",
            flush=True,
        )
    found = [
        Nulls(kind=kind, entered=entered[kind], paid=paid[kind], share=share[kind], reasons=reasons[kind])
        for kind in NULLS
    ]
    unchanged = sum(change == 0 for change in changes)
    return found, Honest(entered=len(rounds) * HONEST, paid=honest_paid, unchanged=unchanged, most=max(changes))


def _round_with_nulls(world: World, turn: int, each: int) -> Entries:
    entries = Entries(world, Path(tempfile.mkdtemp(dir=world.folder)))
    for index, factors in enumerate(world.miners[:HONEST]):
        entries.enter(f"honest-{index}", factors)
    for kind in NULLS:
        for index in range(each):
            factors = null_factors(world, kind, turn * each + index)
            entries.enter(f"{kind}-{index:03d}", factors, stale=kind == "stale")
    return entries


def null_factors(world: World, kind: str, seed: int) -> dict[str, Factors]:
    """What somebody sends who has learnt nothing for this round."""
    honest = world.miners[seed % HONEST]
    if kind == "stale":
        return honest
    if kind == "shuffled":
        shard = world.shards[seed % len(world.shards)]
        return round_of.train_adapter(
            world.folder / "base", shard, steps=SHUFFLED_STEPS, seed=10_000 + seed, shuffled=True
        )
    size = 0.0 if kind == "zero" else NOISE_SIZES[seed % len(NOISE_SIZES)]
    generator = torch.Generator().manual_seed(seed)
    return {
        name: Factors(
            down_RI=torch.randn(layer.down_RI.shape, generator=generator) * layer.down_RI.std(),
            up_OR=torch.randn(layer.up_OR.shape, generator=generator) * layer.up_OR.std() * size,
            magnitude_O=world.weights[name].norm(dim=1),
        )
        for name, layer in honest.items()
    }


def play_sybils(world: World, batches: Sequence[Batch], counts: Sequence[int]) -> list[Sybil]:
    """The first miner under k hotkeys, in every way, against what it earns under one."""
    found = []
    fair = _sybil_pay(world, batches, [world.miners[0]])[0]
    for way in SYBILS:
        for count in counts:
            got, admitted = _sybil_pay(world, batches, sybil_parts(world, way, count))
            found.append(Sybil(way=way, parts=count, pay_ratio=got / fair, admitted=admitted))
    return found


def _sybil_pay(world: World, batches: Sequence[Batch], parts: Sequence[dict[str, Factors]]) -> tuple[float, int]:
    count = len(parts)
    entries = Entries(world, Path(tempfile.mkdtemp(dir=world.folder)))
    for index, factors in enumerate(world.miners[1:HONEST]):
        entries.enter(f"honest-{index}", factors)
    for index, factors in enumerate(parts):
        entries.enter(f"sybil-{index:02d}", factors, block=min(index, NOW.deadline - NOW.first_block))
    admitted, rejected = entries.admit()
    weights = pay(score(world, batches, admitted))
    refused = sum(hotkey.startswith("sybil") for hotkey in rejected)
    return sum(weight for hotkey, weight in weights.items() if hotkey.startswith("sybil")), count - refused


def sybil_parts(world: World, way: str, count: int) -> list[dict[str, Factors]]:
    """What one miner's adapter becomes under `count` hotkeys."""
    whole = world.miners[0]
    if way == "the same file":
        return [whole] * count
    if way == "copies with 1 % noise":
        return [_noisy(whole, seed) for seed in range(count)]
    if way == "parts of one k-th":  # with noise, because equal files are one
        part = {name: _towards(world, name, whole, 1 / count) for name in whole}
        return [_noisy(part, seed) for seed in range(count)]
    return [
        {name: _towards(world, name, whole, float(place % count == part)) for place, name in enumerate(whole)}
        for part in range(min(count, len(whole)))
    ]


def _noisy(whole: dict[str, Factors], seed: int) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: replace(
            layer, up_OR=layer.up_OR + 0.01 * layer.up_OR.std() * torch.randn(layer.up_OR.shape, generator=generator)
        )
        for name, layer in whole.items()
    }


def _towards(world: World, name: str, whole: dict[str, Factors], share: float) -> Factors:
    """That share of the way from nothing to the whole, in B and m."""
    norm_O = world.weights[name].norm(dim=1)
    layer = whole[name]
    return replace(layer, up_OR=share * layer.up_OR, magnitude_O=norm_O + share * (layer.magnitude_O - norm_O))
