"""How long a delta may be in a merge: the candidates from the round's norms, and the choice between them by text.

Whoever sends most of the files owns their median norm, and whoever sends the longest deltas owns the median by squares.
Neither alone can be trusted: one delta in many small parts would have everybody else clipped to a part, and a few that
are scaled up would pass unclipped. The honest norm lies between the two, and the merge with it is the best.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

_ALIKE = 1.25  # times; medians that are no further apart leave nothing to choose
_NEARLY = 0.9  # of the best merge's gain
_STEPS = 3  # from the smaller to the larger, when they are


def clip_candidates(norms: Sequence[float]) -> list[float]:
    """The lower median, the median by squares and two norms between them, ascending; one when they are alike.

    `norms` holds at least one norm above zero.
    """
    low, high = statistics.median_low(norms), median_by_squares(norms)
    if low <= 0:
        return [high]
    if high <= _ALIKE * low:
        return [low]
    between = [low * (high / low) ** (step / _STEPS) for step in range(1, _STEPS)]
    return [low, *between, high]


def median_by_squares(norms: Sequence[float]) -> float:
    """The norm with which, in ascending order, half of the sum of all squares is reached; 0.0 for none.

    A delta that is cut into orthogonal parts weighs here as much as in one piece.
    """
    half = sum(norm * norm for norm in norms) / 2
    passed = 0.0
    for norm in sorted(norms):
        passed += norm * norm
        if passed >= half:
            return norm
    return 0.0


def choose_clip(norms: Sequence[float], gain_at: Callable[[float], float]) -> float:
    """The smallest candidate whose merge gains nearly as much as with the best; nothing is measured for a single one.

    The smallest, because a little more can always be gained by a longer step, and whoever is scaled up is paid for it.
    """
    candidates = clip_candidates(norms)
    if len(candidates) == 1:
        return candidates[0]
    gains = [gain_at(clip) for clip in candidates]
    enough = min(max(gains), _NEARLY * max(gains))
    return next(clip for clip, gain in zip(candidates, gains, strict=True) if gain >= enough)


def outlier_limits(norms: Mapping[str, float], ratio: float) -> dict[str, float]:
    """The norm above which each is an outlier: `ratio` times the median by squares of all others."""
    limits = {}
    for name in norms:
        others = [norm for other, norm in norms.items() if other != name]
        limits[name] = ratio * median_by_squares(others) if others else math.inf
    return limits
