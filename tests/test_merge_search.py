"""The merge's scale on curves whose lowest point is known, and its gain on real text."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from averager.merge import SCALES, choose_scale, line_search, measure_gain
from hivetune.evaluation import Batch, losses
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel, digest_of
from tests.conftest import weights_of


def parabola(lowest: float, curve: float = 1.0) -> Callable[[float], float]:
    return lambda scale: curve * (scale - lowest) ** 2 + 3.0


@given(st.floats(0.88, 1.37), st.floats(0.01, 100.0))
def test_the_lowest_point_of_a_parabola_is_found(lowest: float, curve: float) -> None:
    assert choose_scale(parabola(lowest, curve)) == pytest.approx(lowest, abs=6e-4)


@pytest.mark.parametrize(("lowest", "expected"), [(-1.0, 0.75), (0.5, 0.75), (2.0, 1.5), (9.0, 1.5)])
def test_the_scale_stays_inside_the_range_tried(lowest: float, expected: float) -> None:
    assert choose_scale(parabola(lowest)) == expected


@given(st.lists(st.floats(0, 10), min_size=4, max_size=4))
def test_any_curve_gives_a_scale_near_the_best_one_tried(found: list[float]) -> None:
    curve = dict(zip(SCALES, found, strict=True))
    scale = choose_scale(lambda s: curve[s])
    assert SCALES[0] <= scale <= SCALES[-1]
    best = min(curve, key=lambda s: curve[s])
    assert abs(scale - best) <= 0.126


def test_a_flat_curve_has_a_scale() -> None:
    assert choose_scale(lambda _scale: 1.0) == SCALES[0]
    assert choose_scale(lambda _scale: 1.0, [1.0]) == 1.0


def test_each_scale_is_measured_once() -> None:
    tried: list[float] = []
    choose_scale(lambda scale: tried.append(scale) or (scale - 1) ** 2)
    assert tried == list(SCALES)


def test_the_line_search_is_no_worse_than_any_scale_tried(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch]
) -> None:
    weights = weights_of(llama)
    delta = merge_deltas(weights, honest, uniform_coefficients(honest), 2.0)
    before = digest_of(weights)
    scale = line_search(llama, weights, delta, batches)
    at = {s: sum(losses(llama, batches, moved(weights, delta, s))) for s in (*SCALES, scale)}
    assert at[scale] <= min(at[s] for s in SCALES) * (1 + 1e-4)
    assert digest_of(weights) == before


def test_the_gain_is_the_paired_difference(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    weights = weights_of(llama)
    delta = merge_deltas(weights, honest, uniform_coefficients(honest), 2.0)
    gain = measure_gain(llama, weights, delta, 1.0, batches, 0.95)
    assert gain.improvement.mean == pytest.approx(gain.loss_before - gain.loss_after)
    assert gain.improvement.lower > 0
    tokens = sum(batch.predicted for batch in batches)
    assert gain.loss_before == pytest.approx(sum(losses(llama, batches, {})) / tokens)


def test_no_step_is_no_gain(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    weights = weights_of(llama)
    delta = merge_deltas(weights, honest, uniform_coefficients(honest), 2.0)
    gain = measure_gain(llama, weights, delta, 0.0, batches, 0.95)
    assert gain.improvement.mean == gain.improvement.lower == 0.0
    assert math.isclose(gain.loss_before, gain.loss_after)


def test_a_step_the_wrong_way_is_a_loss(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    weights = weights_of(llama)
    delta = merge_deltas(weights, honest, uniform_coefficients(honest), 2.0)
    assert measure_gain(llama, weights, delta, -1.0, batches, 0.95).improvement.upper < 0
