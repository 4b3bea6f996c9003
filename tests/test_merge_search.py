"""The merge's scale on curves whose lowest point is known, and its gain on real text."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from averager.merge import (
    MERGE_PLANS,
    SCALES,
    Course,
    Step,
    choose_scale,
    choose_step,
    measure_gain,
    search_clip,
    search_step,
)
from hivetune.clipping import clip_candidates
from hivetune.evaluation import Batch, losses, make_batches
from hivetune.merging import Adapter, merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel, digest_of
from tests.conftest import DOMAINS, admitted, weights_of
from tests.test_scoring_looks import RARE, Fragile, renamed, within


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


BOWLS = st.tuples(st.floats(0.8, 1.4), st.floats(-0.3, 0.9), st.floats(-0.9, 0.9))


@given(BOWLS)
def test_momentum_is_taken_where_it_lowers_the_loss(bowl: tuple[float, float, float]) -> None:
    """On any bowl: never worse than without it, nor than any momentum tried."""
    lowest_scale, lowest_momentum, tilt = bowl

    def loss_at(step: Step) -> float:
        x, y = step.scale - lowest_scale, step.momentum - lowest_momentum
        return x * x + y * y + tilt * x * y

    plain = choose_step(loss_at, MERGE_PLANS["uniform"], has_previous=True)
    carried = choose_step(loss_at, MERGE_PLANS["momentum"], has_previous=True)
    assert plain.momentum == 0.0
    assert choose_step(loss_at, MERGE_PLANS["momentum"], has_previous=False) == plain
    assert loss_at(carried) <= loss_at(plain)
    assert 0.0 <= carried.momentum <= 0.8
    tried = (0.0, *MERGE_PLANS["momentum"].momenta)
    assert loss_at(carried) <= min(loss_at(Step(scale=plain.scale, momentum=momentum)) for momentum in tried) + 1e-6


def course_of(base: BaseModel, adapters: list[Adapter], previous: dict[str, Tensor] | None = None) -> Course:
    weights = weights_of(base)
    delta = merge_deltas(weights, adapters, uniform_coefficients(adapters), 2.0)
    return Course(base=base, weights=weights, delta=delta, previous=previous)


def test_the_line_search_is_no_worse_than_any_scale_tried(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch]
) -> None:
    course = course_of(llama, honest)
    before = digest_of(course.weights)
    step = search_step(course, MERGE_PLANS["uniform"], batches)
    at = {s: sum(losses(llama, batches, moved(course.weights, course.delta, s))) for s in (*SCALES, step.scale)}
    assert at[step.scale] <= min(at[s] for s in SCALES) * (1 + 1e-4)
    assert step.momentum == 0.0
    assert digest_of(course.weights) == before


def test_momentum_repeats_a_useful_step_and_no_harmful_one(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch]
) -> None:
    """A base that came here by a part of the very step that is next goes on; one that came the other way does not."""
    course = course_of(llama, honest)
    useful = {name: base_OI - 0.5 * course.delta[name] for name, base_OI in course.weights.items()}
    harmful = {name: base_OI + 0.5 * course.delta[name] for name, base_OI in course.weights.items()}
    plan = MERGE_PLANS["momentum"].model_copy(update={"scales": (0.25, 0.5)})
    onward = search_step(replace(course, previous=useful), plan, batches)
    assert onward.momentum > 0
    assert search_step(replace(course, previous=harmful), plan, batches).momentum == 0.0
    gained = [measure_gain(replace(course, previous=useful), s, batches, 0.95).improvement.mean
              for s in (onward, replace(onward, momentum=0.0))]  # fmt: skip
    assert gained[0] > gained[1]


def test_the_gain_is_the_paired_difference(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    gain = measure_gain(course_of(llama, honest), Step(scale=1.0, momentum=0.0), batches, 0.95)
    assert gain.improvement.mean == pytest.approx(gain.loss_before - gain.loss_after)
    assert gain.improvement.lower > 0
    tokens = sum(batch.predicted for batch in batches)
    assert gain.loss_before == pytest.approx(sum(losses(llama, batches, {})) / tokens)


def test_no_step_is_no_gain(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    gain = measure_gain(course_of(llama, honest), Step(scale=0.0, momentum=0.0), batches, 0.95)
    assert gain.improvement.mean == gain.improvement.lower == 0.0
    assert math.isclose(gain.loss_before, gain.loss_after)


def test_a_step_the_wrong_way_is_a_loss(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    gain = measure_gain(course_of(llama, honest), Step(scale=-1.0, momentum=0.0), batches, 0.95)
    assert gain.improvement.upper < 0


def test_a_clip_whose_merge_breaks_the_loss_leaves_the_shorter_ones(llama: BaseModel, honest: list[Adapter]) -> None:
    """Else one long delta among the approved would keep every release from coming out."""
    first = next(iter(weights_of(llama)))
    layer = honest[2].factors[first]
    long_O = layer.magnitude_O.clone()
    long_O[0] += 10
    far = admitted(llama, honest[2].hotkey, {**honest[2].factors, first: replace(layer, magnitude_O=long_O)})
    adapters = [renamed(adapter) for adapter in (*honest[:2], far)]
    base = BaseModel(model=Fragile(llama, far=1.5), tokenizer=llama.tokenizer)
    batches = make_batches(llama.tokenizer, [RARE + DOMAINS[0], *DOMAINS], sequence_length=32, batch_sequences=2)
    candidates = clip_candidates([adapter.norm for adapter in adapters])
    assert len(candidates) > 1
    assert search_clip(base, within(weights_of(llama)), adapters, 2.0, batches) in candidates[:2]
