"""What deltas are clipped to: candidates that neither many small nor few long ones can move alone, and the choice."""

from fractions import Fraction
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivetune.clipping import choose_clip, clip_candidates, median_by_squares, outlier_limits

NORMS = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=12)
HONEST = [0.9, 1.0, 1.05, 1.1, 1.0, 0.95]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=12))
def test_the_median_by_squares_counts_every_norm_as_often_as_its_square(norms: list[int]) -> None:
    assert median_by_squares([float(norm) for norm in norms]) == median_low([n for n in norms for _ in range(n * n)])


@given(NORMS)
def test_candidates_lie_between_the_medians_in_order(norms: list[float]) -> None:
    found = clip_candidates(norms)
    assert found == sorted(found)
    assert found[0] == median_low(norms)
    assert found[-1] in (median_low(norms), median_by_squares(norms))
    assert len(found) == (1 if median_by_squares(norms) <= 1.25 * median_low(norms) else 4)


def test_honest_norms_leave_nothing_to_choose_and_nothing_is_measured() -> None:
    def never(_clip: float) -> float:
        raise AssertionError

    assert choose_clip(HONEST, never) == 1.0


@pytest.mark.parametrize(
    "others",
    [[0.1] * 24, [4.0, 4.0], [0.1] * 24 + [4.0, 4.0], [0.15] * 24 + [4.0] * 3],
    ids=["many small", "few long", "both", "both, stronger"],
)
def test_an_honest_norm_is_nearly_among_the_candidates_whoever_comes_beside(others: list[float]) -> None:
    assert min(abs(clip - 1) for clip in clip_candidates([*HONEST, *others])) < 0.4


def test_the_gain_decides_and_of_those_nearly_as_good_the_smallest() -> None:
    norms = [*HONEST, *[0.1] * 24]
    assert choose_clip(norms, lambda clip: min(clip, 1.0)) == median_by_squares(norms)
    assert choose_clip(norms, lambda clip: 1 + 0.1 * clip) == 0.1
    assert choose_clip(norms, lambda clip: -clip) == 0.1
    assert choose_clip(norms, lambda clip: float("-inf") if clip < 0.3 else -clip) == clip_candidates(norms)[2]


@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100.0), min_size=1, max_size=8))
def test_an_outlier_is_measured_by_the_others_alone(norms: dict[str, float]) -> None:
    limits = outlier_limits(norms, 5.0)
    for name, limit in limits.items():
        others = [norm for other, norm in norms.items() if other != name]
        assert limit == (5 * median_by_squares(others) if others else float("inf"))


def test_no_honest_norm_is_an_outlier_in_a_crowd_of_small_ones() -> None:
    norms = {f"honest-{i}": norm for i, norm in enumerate(HONEST)} | {f"part-{i}": 0.05 for i in range(32)}
    limits = outlier_limits(norms, 5.0)
    assert all(norms[name] < limits[name] for name in norms)
    assert Fraction(limits["part-0"]) > 4
