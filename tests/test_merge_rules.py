"""The merges and attackers of benchmarks.merge_quality are what they are named after."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.merge_releases import NESTEROV, NESTEROV_MOMENTUM, NESTEROV_RATE, Chain
from benchmarks.merge_rules import RULES, Material, clipped, dense
from benchmarks.poisoners import POISONERS, low_rank, scaled
from benchmarks.swarm import Swarm, draw_rows
from hivetune.dora import Factors
from hivetune.evaluation import Batch
from hivetune.merging import prepare_all, uniform_coefficients
from tests.conftest import random_factors
from validator.scoring import Scores

NOTHING_SCORED = Scores(
    solo={}, credit={}, credit_nats={}, nodes=0, clip=0.0, merged=(), paid=(), rejected={},
    merged_loss=None, completeness_error=None,
)  # fmt: skip


@pytest.fixture(scope="module")
def swarm(base_folders: dict[str, Path]) -> Swarm:
    return Swarm(base_folders["llama"])


@pytest.fixture(scope="module")
def honest(swarm: Swarm) -> list[dict[str, Factors]]:
    return [random_factors(swarm.weights, seed=seed, size=0.05) for seed in range(5)]


def material_of(swarm: Swarm, uploads: list[dict[str, Factors]], select: list[Batch]) -> Material:
    named = {f"key-{index}": factors for index, factors in enumerate(uploads)}
    return Material(
        swarm=swarm, uploads=named, deltas_KP=torch.stack([dense(swarm, f) for f in uploads]),
        admitted=prepare_all(named, swarm.weights, swarm.layout.scale), scores=NOTHING_SCORED, select=select,
        accept=select,
    )  # fmt: skip


@pytest.mark.parametrize("factor", [-1.0, -0.5, 2.0])
def test_a_scaled_adapter_has_the_scaled_delta(swarm: Swarm, honest: list[dict[str, Factors]], factor: float) -> None:
    once_P, many_P = dense(swarm, honest[0]), dense(swarm, scaled(swarm, honest[0], factor))
    torch.testing.assert_close(many_P, factor * once_P, rtol=1e-4, atol=1e-5)


def test_a_delta_of_low_rank_is_uploaded_whole(swarm: Swarm) -> None:
    generator = torch.Generator().manual_seed(3)
    deltas = {
        name: torch.randn(len(base_OI), 2, generator=generator) @ torch.randn(2, base_OI.shape[1], generator=generator)
        for name, base_OI in swarm.weights.items()
    }
    torch.testing.assert_close(dense(swarm, low_rank(swarm, deltas)), swarm.flat(deltas), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("attack", POISONERS)
def test_attackers_come_in_the_number_asked_for_and_point_where_they_should(
    swarm: Swarm, honest: list[dict[str, Factors]], attack: str
) -> None:
    made = POISONERS[attack](swarm, honest, 2)
    mean_P = torch.stack([dense(swarm, factors) for factors in honest]).mean(0)
    assert len(made) == 2
    along = float(torch.nn.functional.cosine_similarity(dense(swarm, made[0]), mean_P, dim=0))
    match attack:
        case "sign flip" | "sign flip x3" | "inner product":
            assert along < -0.2
        case "norm x4" | "copies":
            assert along > 0.2
        case _:
            assert abs(along) < 0.2


def test_clipping_is_the_product_s(swarm: Swarm, honest: list[dict[str, Factors]], batches: list[Batch]) -> None:
    material = material_of(swarm, [*honest, scaled(swarm, honest[1], 2.0)], batches[:1])
    ours = torch.tensor(uniform_coefficients(material.admitted)) @ material.deltas_KP
    torch.testing.assert_close(clipped(material.deltas_KP).mean(0), ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", [rule for rule in RULES if "gate, clip" not in rule and "score" not in rule])
def test_a_merge_of_equal_deltas_goes_their_way(
    swarm: Swarm, honest: list[dict[str, Factors]], batches: list[Batch], rule: str
) -> None:
    """Whatever the rule; how far is the line search's, and some rules weigh or keep only parts."""
    material = material_of(swarm, [honest[0]] * 5, batches[:2])
    found_P, wanted_P = RULES[rule](material), material.deltas_KP[0]
    least = {"TIES": 0.5, "DARE": 0.5, "learned, by miner and tensor": 0.5}.get(rule, 0.999)
    assert float(torch.nn.functional.cosine_similarity(found_P, wanted_P, dim=0)) > least


def test_who_is_paid_by_nobody_is_not_merged(
    swarm: Swarm, honest: list[dict[str, Factors]], batches: list[Batch]
) -> None:
    material = material_of(swarm, honest, batches[:1])
    for rule in ("hivetune: gate, clip, mean", "by score alone"):
        assert not RULES[rule](material).any()


ROBUST = ("trimmed mean", "coordinate median", "geometric median", "Multi-Krum", "nearest-neighbour mixing")


@pytest.mark.parametrize("rule", ROBUST)
def test_a_robust_rule_stays_with_the_many(
    swarm: Swarm, honest: list[dict[str, Factors]], batches: list[Batch], rule: str
) -> None:
    """One far away among near ones moves the mean, not the rule."""
    near = [scaled(swarm, honest[0], factor) for factor in (0.9, 1.0, 1.1, 1.0)]
    material = material_of(swarm, [*near, scaled(swarm, honest[1], -8.0)], batches[:1])
    wanted_P = material.deltas_KP[1]
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(RULES[rule](material), wanted_P, dim=0)) > 0.98
    assert float(cosine(material.deltas_KP.mean(0), wanted_P, dim=0)) < 0.7


def test_nesterov_is_dilocos(swarm: Swarm) -> None:
    """The parameters after three steps, against the update as the paper's optimizer does it."""
    means = [torch.randn(sum(swarm.sizes), generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    place = torch.nn.Parameter(torch.zeros(sum(swarm.sizes)))
    sgd = torch.optim.SGD([place], lr=NESTEROV_RATE, momentum=NESTEROV_MOMENTUM, nesterov=True)
    chain, ours_P = Chain(method=NESTEROV), torch.zeros(sum(swarm.sizes))
    for mean_P in means:
        place.grad = -mean_P
        sgd.step()
        ours_P = ours_P + chain.step(swarm, mean_P, select=[])[0]
    torch.testing.assert_close(ours_P, place.detach())


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 20))
def test_an_epoch_draws_no_row_twice(count: int, size: int, steps: int) -> None:
    drawn = list(draw_rows(count, size, steps, seed=1))
    size = min(size, count)
    assert all(len(rows) == size for rows in drawn)
    whole = count // size
    for start in range(0, steps - whole + 1, whole):
        rows = [row for chosen in drawn[start : start + whole] for row in chosen]
        assert len(rows) == len(set(rows))


def test_gradients_are_the_loss_s(swarm: Swarm, batches: list[Batch]) -> None:
    zero_P: Tensor = torch.zeros(sum(swarm.sizes))
    gradient_P = swarm.gradient(zero_P, batches[:1])
    step_P = -1e-2 * gradient_P / gradient_P.norm()
    change = swarm.loss(step_P, batches[:1]) - swarm.loss(-step_P, batches[:1])
    assert change / 2 == pytest.approx(float(gradient_P @ step_P), rel=0.05)
