"""Whoever splits or copies a delta gains nothing by it, and the victim loses nothing."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor

from hivetune.dora import Factors
from hivetune.evaluation import Batch
from hivetune.merging import Adapter
from hivetune.model import BaseModel
from neurons.arena.deltas import gauged, mixed, noised
from tests.conftest import ALPHA, RANK, admitted, make_scoring, weights_of
from validator.originality import Work, find_copies
from validator.scoring import Scorer, pay

SCALE = ALPHA / RANK
VICTIM = "honest-0"
File = Mapping[str, Factors]
Pay = Callable[[Sequence[Adapter]], dict[str, float]]


@pytest.fixture(scope="module")
def paid(llama: BaseModel, batches: list[Batch]) -> Pay:
    """Shares of a round's pay for adapters in the order of their commitments."""
    weights = weights_of(llama)
    scorer = Scorer(llama, weights, batches, SCALE, make_scoring(), lambda _: None)

    def shares(adapters: Sequence[Adapter]) -> dict[str, float]:
        works = [Work(name=one.hotkey, load=lambda one=one: one) for one in adapters]  # type: ignore[misc]
        found = find_copies(works, (), weights, SCALE, "seed")
        originals = [one for one, verdict in zip(adapters, found, strict=True) if verdict is None]
        return pay(scorer.score(sorted(originals, key=lambda one: one.hotkey)))

    return shares


@pytest.fixture(scope="module")
def alone(paid: Pay, honest: list[Adapter]) -> dict[str, float]:
    """What the honest earn among themselves."""
    return paid(honest)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(weights: dict[str, Tensor], whole: Adapter, count: int) -> list[dict[str, Factors]]:
    """Deltas that add up to the whole, in other numbers each."""
    part = mixed(weights, [(1 / count, whole.factors)], SCALE)
    return [gauged(part, generator(seed)) for seed in range(count)]


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 32])
def test_a_delta_split_among_hotkeys_earns_no_more_than_whole(
    count: int, paid: Pay, alone: dict[str, float], llama: BaseModel, honest: list[Adapter]
) -> None:
    split = parts(weights_of(llama), honest[0], count)
    crowd = [admitted(llama, f"part-{index:02d}", one) for index, one in enumerate(split)]
    found = paid([*crowd, *honest[1:]])
    assert sum(share for hotkey, share in found.items() if hotkey.startswith("part")) <= 1.02 * alone[VICTIM]
    for hotkey in ("honest-1", "honest-2"):
        assert found[hotkey] >= 0.99 * alone[hotkey]


COPIES: dict[str, Callable[[File, dict[str, Tensor]], File]] = {
    "exact": lambda file, weights: file,
    "noise 1 %": lambda file, weights: noised(file, weights, 0.01, generator(1)),
    "noise 10 %": lambda file, weights: noised(file, weights, 0.1, generator(2)),
    "noise 50 %": lambda file, weights: noised(file, weights, 0.5, generator(3)),
    "scaled down": lambda file, weights: mixed(weights, [(0.5, file)], SCALE),
    "scaled up": lambda file, weights: mixed(weights, [(2.0, file)], SCALE),
    "gauge": lambda file, weights: gauged(file, generator(4)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_earns_nothing_and_costs_its_victim_nothing(
    kind: str, paid: Pay, alone: dict[str, float], llama: BaseModel, honest: list[Adapter]
) -> None:
    copy = admitted(llama, "copier", COPIES[kind](honest[0].factors, weights_of(llama)))
    found = paid([*honest, copy])
    assert found.get("copier", 0.0) <= 0.01 * alone[VICTIM]
    assert found[VICTIM] >= 0.99 * alone[VICTIM]


def test_a_crowd_of_copies_costs_nobody_anything(
    paid: Pay, alone: dict[str, float], llama: BaseModel, honest: list[Adapter]
) -> None:
    weights = weights_of(llama)
    crowd = [
        admitted(llama, f"copier-{seed:02d}", noised(honest[seed % 3].factors, weights, 0.2, generator(seed)))
        for seed in range(30)
    ]
    assert paid([*honest, *crowd]) == pytest.approx(alone, rel=0.01)
