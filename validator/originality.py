"""Who copied: deltas that point where earlier ones do, and mixtures of earlier ones.

Deltas are compared in weight space, so that other factors of the same product, another length and other magnitudes of
the same rows change nothing. Sketches find what may be a copy, exact inner products decide. Whose work comes first owns
it; a copy owns nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hivetune.delta_products import DeltaProducts
from hivetune.errors import RejectedSubmission
from hivetune.merging import Adapter
from hivetune.sketch import Sketcher, cosines
from validator.cone import Cone, explained_by

MAX_COSINE = 0.75  # of two deltas; what honest ones reach is measured by benchmarks/originality.py
MAX_MIXTURE_COSINE = 0.8  # of a delta and the nearest non-negative sum of earlier ones
MARGIN = 0.05  # of the sketches' cosines, several times their error
_NEAREST = 4  # earlier deltas that are compared exactly with one that may be a near copy
_LARGEST = 16  # parts of a mixture that are compared exactly
MAX_EXACT = 4096  # exact products of a round, or a crowd of copies could hold it up
_LOADED = 64  # adapters of earlier rounds in memory


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Work:
    """A delta that may be a copy, or be copied."""

    name: str  # as the copy's rejection shall call it
    load: Callable[[], Adapter]  # RejectedSubmission when it cannot act on the current base


def find_copies(
    works: Sequence[Work],
    earlier: Sequence[Work],
    weights: Mapping[str, Tensor],
    scale: float,
    seed: str,
    *,
    max_exact: int = MAX_EXACT,
) -> list[RejectedSubmission | None]:
    """For every work, in order of commitment: why it is no original, or None.

    `earlier` works are originals that come before all of them. The seed of the sketches must be unknown until all works
    are fixed. After `max_exact` exact products the sketches decide.
    """
    if not works:
        return []
    known, gram = _sketched([*earlier, *works], Sketcher(weights, scale, seed))
    exact = _ExactCosines(known, gram, DeltaProducts(weights, scale), max_exact)
    cone, originals = Cone(len(known)), list[int]()
    verdicts = []
    for index in range(len(known)):
        near = gram[index, originals]
        verdict = None
        if index >= len(known) - len(works):
            verdict = _near_copy(index, originals, near, exact) or _mixture(index, originals, near, exact, cone)
            verdicts.append(verdict)
        if verdict is None:
            cone.add(near.tolist())
            originals.append(index)
    return verdicts


def _sketched(works: Sequence[Work], sketcher: Sketcher) -> tuple[list[Work], np.ndarray]:
    """Works and the cosines of their sketches; without those of earlier rounds that are no adapters of this base."""
    known: list[Work] = []
    sketches_NS = torch.empty(len(works), sketcher.numbers)
    for work in works:
        try:
            sketches_NS[len(known)] = sketcher.sketch(work.load())
        except RejectedSubmission:
            continue
        known.append(work)
    return known, cosines(sketches_NS[: len(known)])


class _ExactCosines:
    """Cosines of works by their numbers, computed once; those of the sketches when too many are asked for."""

    def __init__(self, works: Sequence[Work], sketched: np.ndarray, products: DeltaProducts, most: int) -> None:
        self.names = [work.name for work in works]
        self._sketched = sketched
        self._products = products
        self._most = most
        self._known: dict[tuple[int, int], float] = {}
        self._measured = lru_cache(_LOADED)(lambda index: products.measure(works[index].load()))

    def between(self, one: int, other: int) -> float:
        """The cosine of two works."""
        pair = (min(one, other), max(one, other))
        if pair not in self._known:
            if len(self._known) >= self._most:
                return float(self._sketched[pair])
            self._known[pair] = self._products.cosine(self._measured(one), self._measured(other))
        return self._known[pair]


def _near_copy(
    index: int, originals: Sequence[int], near: np.ndarray, exact: _ExactCosines
) -> RejectedSubmission | None:
    nearest = [place for place in np.argsort(-near)[:_NEAREST] if near[place] > MAX_COSINE - MARGIN]
    found = [(exact.between(index, originals[place]), originals[place]) for place in nearest]
    cosine, owner = max(found, default=(0.0, -1))
    if cosine <= MAX_COSINE:
        return None
    return RejectedSubmission(
        "near_copy", f"cosine {cosine:.3f} with {exact.names[owner]}, which came first, limit {MAX_COSINE}"
    )


def _mixture(
    index: int, originals: Sequence[int], near: np.ndarray, exact: _ExactCosines, cone: Cone
) -> RejectedSubmission | None:
    if cone.span_cosine(near.tolist()) <= MAX_MIXTURE_COSINE - MARGIN:
        return None
    explained = cone.explain(near.tolist())
    if explained.cosine <= MAX_MIXTURE_COSINE - MARGIN:
        return None
    parts = [place for place in np.argsort(explained.parts)[::-1] if explained.parts[place] > 0]
    if explained.cosine <= MAX_MIXTURE_COSINE + MARGIN:
        parts = parts[:_LARGEST]
        mixed = [originals[place] for place in parts]
        gram = np.array([[exact.between(one, other) if one != other else 1.0 for other in mixed] for one in mixed])
        explained = explained_by(gram, [exact.between(index, one) for one in mixed])
        if explained.cosine <= MAX_MIXTURE_COSINE:
            return None
    return RejectedSubmission(
        "mixture",
        f"cosine {explained.cosine:.3f} with a mixture of {len(parts)} that came first, limit {MAX_MIXTURE_COSINE}; "
        f"the most of it is {exact.names[originals[parts[0]]]}",
    )
