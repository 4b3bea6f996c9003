"""How well non-negative sums of directions explain another one, from cosines alone.

The directions' Gram matrix is kept as its Cholesky factor L, one row more for each direction. For a new direction with
cosines h to the others, b = L^-1 h is that row, |b| the cosine with the nearest of all their sums, and
min |L^T c - b| over c >= 0 the non-negative least squares problem, without a single coordinate of a direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

_SMALLEST = 1e-9  # squared distance from the others' span; rounding, or a direction that is among them already


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """The nearest non-negative sum."""

    cosine: float
    parts: tuple[float, ...]  # coefficient of every direction times its own cosine; they sum to the squared cosine


class Cone:
    """All non-negative sums of the directions added so far."""

    def __init__(self, capacity: int) -> None:
        self._factor = np.zeros((capacity, capacity))
        self._count = 0

    def add(self, cosines: Sequence[float]) -> None:
        """One more direction, by its cosines with those before it."""
        row = self._project(cosines)
        self._factor[self._count, : self._count] = row
        self._factor[self._count, self._count] = max(1 - float(row @ row), _SMALLEST) ** 0.5
        self._count += 1

    def span_cosine(self, cosines: Sequence[float]) -> float:
        """With the nearest sum of any signs: what `explain` finds is never more."""
        return float(np.linalg.norm(self._project(cosines)))

    def explain(self, cosines: Sequence[float]) -> Explained:
        """The nearest non-negative sum to the direction with these cosines."""
        if self._count == 0:
            return Explained(cosine=0.0, parts=())
        target = self._project(cosines)
        try:
            coefficients, _ = nnls(self._factor[: self._count, : self._count].T, target, maxiter=100 + 10 * self._count)
        except RuntimeError:  # it went in circles: then a sum of one
            coefficients = np.where(np.arange(self._count) == np.argmax(cosines), np.maximum(cosines, 0), 0.0)
        parts = coefficients * np.asarray(cosines)
        return Explained(cosine=max(float(parts.sum()), 0.0) ** 0.5, parts=tuple(parts.tolist()))

    def _project(self, cosines: Sequence[float]) -> np.ndarray:
        count = self._count
        if count == 0:
            return np.zeros(0)
        found: np.ndarray = solve_triangular(self._factor[:count, :count], np.asarray(cosines), lower=True)
        return found


def explained_by(gram: np.ndarray, cosines: Sequence[float]) -> Explained:
    """`Cone.explain` for few directions at once."""
    cone = Cone(len(gram))
    for index, row in enumerate(gram):
        cone.add(row[:index].tolist())
    return cone.explain(cosines)
