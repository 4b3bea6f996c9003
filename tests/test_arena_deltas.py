"""What copiers and poisoners do with deltas is what they mean to do, to the last digit where it can be."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hivetune.dora import Factors, dora_delta
from hivetune.model import BaseModel
from neurons.arena.deltas import fitted, gauged, mixed, noised
from tests.conftest import ALPHA, RANK, same_factors, weights_of

SCALE = ALPHA / RANK
Files = dict[str, dict[str, Factors]]


def deltas(weights: Mapping[str, Tensor], file: Mapping[str, Factors]) -> dict[str, Tensor]:
    return {name: dora_delta(base_OI, file[name], SCALE) for name, base_OI in weights.items()}


def distance(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Relative to the second."""
    apart = sum(float((first[name] - second[name]).square().sum()) for name in second)
    return float((apart / sum(float(delta.square().sum()) for delta in second.values())) ** 0.5)


@pytest.fixture
def weights(llama: BaseModel) -> dict[str, Tensor]:
    return weights_of(llama)


@pytest.fixture
def files(trained: Files) -> list[dict[str, Factors]]:
    return [trained[name] for name in sorted(trained)]


def test_a_gauge_changes_every_number_but_the_magnitudes_and_not_the_delta(
    weights: dict[str, Tensor], files: list[dict[str, Factors]]
) -> None:
    turned = gauged(files[0], torch.Generator().manual_seed(0))
    assert not same_factors(turned, files[0])
    for name, layer in turned.items():
        assert float((layer.up_OR - files[0][name].up_OR).abs().max()) > 1e-3
        assert float((layer.down_RI - files[0][name].down_RI).abs().max()) > 1e-3
    assert distance(deltas(weights, turned), deltas(weights, files[0])) < 1e-4


@pytest.mark.parametrize("factor", [1.0, 0.7, 1 / 32, 4.0, -1.0])
def test_a_file_times_a_number_has_the_delta_times_that_number(
    factor: float, weights: dict[str, Tensor], files: list[dict[str, Factors]]
) -> None:
    wanted = {name: factor * delta for name, delta in deltas(weights, files[0]).items()}
    assert distance(deltas(weights, mixed(weights, [(factor, files[0])], SCALE)), wanted) < 1e-4


def test_a_mean_of_two_is_nearer_to_their_mean_than_either(
    weights: dict[str, Tensor], files: list[dict[str, Factors]]
) -> None:
    first, second = deltas(weights, files[0]), deltas(weights, files[1])
    mean = {name: (first[name] + second[name]) / 2 for name in first}
    made = deltas(weights, mixed(weights, [(0.5, files[0]), (0.5, files[1])], SCALE))
    assert distance(made, mean) < 0.7 * min(distance(first, mean), distance(second, mean))


def test_files_in_layers_of_their_own_are_summed_exactly(
    weights: dict[str, Tensor], files: list[dict[str, Factors]]
) -> None:
    """Where the ranks suffice nothing is lost: here half of the directions of each file are empty."""
    halves = []
    for file, kept in ((files[0], slice(0, RANK // 2)), (files[1], slice(RANK // 2, RANK))):
        halves.append({name: _only(layer, kept, weights[name]) for name, layer in file.items()})
    found = [deltas(weights, half) for half in halves]
    wanted = {name: found[0][name] - 2 * found[1][name] for name in weights}
    assert distance(deltas(weights, mixed(weights, [(1.0, halves[0]), (-2.0, halves[1])], SCALE)), wanted) < 1e-3


def _only(layer: Factors, kept: slice, base_OI: Tensor) -> Factors:
    up_OR = torch.zeros_like(layer.up_OR)
    up_OR[:, kept] = layer.up_OR[:, kept]
    return Factors(down_RI=layer.down_RI, up_OR=up_OR, magnitude_O=base_OI.norm(dim=1) * 1.01)


def test_the_file_fitted_to_a_delta_of_its_rank_has_that_delta(
    weights: dict[str, Tensor], files: list[dict[str, Factors]]
) -> None:
    wanted = deltas(weights, files[0])
    assert distance(deltas(weights, fitted(weights, wanted, RANK, SCALE)), wanted) < 0.05


def test_a_noisy_copy_is_off_by_about_the_noise(weights: dict[str, Tensor], files: list[dict[str, Factors]]) -> None:
    original = deltas(weights, files[0])
    off = [
        distance(deltas(weights, noised(files[0], weights, size, torch.Generator().manual_seed(1))), original)
        for size in (0.01, 0.1, 0.5)
    ]
    assert off[0] < 0.05 < off[1] < 0.3 < off[2] < 1.5
