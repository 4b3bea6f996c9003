"""Sparse square matrices of fixed-point values, as entries row by row in the order the chain stores them.

An explicit zero is not the same as no entry: some steps of Yuma keep the one and forget the other.
"""

from dataclasses import dataclass, replace
from itertools import chain as joined
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chain.epochs import SparseRows
from chain.fixedpoint import ONE, U16_MAX, Array, div, group_sums, mul, to_u16

Mask = npt.NDArray[np.bool_]
MOST_UIDS = 1 << 15  # more could overflow the chain's own sums of u16


@dataclass(frozen=True, slots=True)
class Sparse:
    """Entry by entry its row, column and value; rows ascend, columns within one need not."""

    n: int
    rows: Array
    columns: Array
    values: Array

    @property
    def places(self) -> Array:
        """Where the entries are, as one number each."""
        return self.rows * self.n + self.columns

    def with_values(self, values: Array) -> "Sparse":
        return replace(self, values=values)

    def kept(self, mask: Mask) -> "Sparse":
        return Sparse(self.n, self.rows[mask], self.columns[mask], self.values[mask])


def from_rows(rows: SparseRows, n: int) -> Sparse:
    """Rows of (uid, u16) with the u16 as plain integers; uids that are no longer in the subnet are left out."""
    if n > MOST_UIDS:
        raise ValueError(f"{n} uids, want at most {MOST_UIDS}")
    lengths = [len(row) for row in rows]
    numbers = joined.from_iterable(joined.from_iterable(rows))
    flat = np.fromiter(numbers, dtype=np.int64, count=2 * sum(lengths))
    columns, values = flat[0::2], flat[1::2]
    if next(numbers, None) is not None:
        raise ValueError("an entry of a row has more than a uid and a value")
    if flat.size and (flat.min() < 0 or values.max() > U16_MAX):
        raise ValueError(f"a row holds numbers from {flat.min()}, values to {values.max()}; want 0 to {U16_MAX}")
    matrix = Sparse(n, np.repeat(np.arange(n), lengths), columns, values).kept(columns < n)
    if not seen_by_the_walk(matrix).all() and np.unique(matrix.places).size < matrix.places.size:
        raise ValueError("a row names a uid twice")
    return matrix


def to_rows(matrix: Sparse) -> SparseRows:
    """Rows of (uid, u16)."""
    columns, values = matrix.columns.tolist(), to_u16(matrix.values).tolist()
    starts = np.searchsorted(matrix.rows, np.arange(matrix.n + 1)).tolist()
    return tuple(tuple(zip(columns[start:end], values[start:end], strict=True)) for start, end in pairwise(starts))


def seen_by_the_walk(matrix: Sparse) -> Mask:
    """False for entries that follow one of a higher column: the chain's walk along a row has passed them."""
    places = matrix.places
    seen = np.ones(places.size, dtype=np.bool_)
    seen[1:] = places[1:] > np.maximum.accumulate(places)[:-1]
    return seen


def row_sums(matrix: Sparse) -> Array:
    return group_sums(matrix.rows, matrix.values, matrix.n)


def column_sums(matrix: Sparse) -> Array:
    return group_sums(matrix.columns, matrix.values, matrix.n)


def normalize_rows(matrix: Sparse) -> Sparse:
    return matrix.with_values(div(matrix.values, row_sums(matrix)[matrix.rows]))


def normalize_columns(matrix: Sparse) -> Sparse:
    return matrix.with_values(div(matrix.values, column_sums(matrix)[matrix.columns]))


def upscale_columns(matrix: Sparse) -> Sparse:
    """Every column divided by its largest value."""
    highest = np.zeros(matrix.n, dtype=np.int64)
    np.maximum.at(highest, matrix.columns, matrix.values)
    return matrix.with_values(div(matrix.values, highest[matrix.columns]))


def scale_rows(matrix: Sparse, factors: Array) -> Sparse:
    return matrix.with_values(mul(matrix.values, factors[matrix.rows]))


def row_products(matrix: Sparse, vector: Array) -> Array:
    """matrix @ vector."""
    return row_sums(matrix.with_values(mul(matrix.values, vector[matrix.columns])))


def values_at(matrix: Sparse, values: Array, places: Array) -> Array:
    """One of `values` for each place, by the entry of the matrix that stands there; zero where none does."""
    order = np.argsort(matrix.places, kind="stable")
    known = np.append(matrix.places[order], -1)
    position = np.searchsorted(known[:-1], places)
    return np.where(known[position] == places, np.append(values[order], 0)[position], 0)


def moving_average(new: Sparse, old: Sparse, rate: int) -> Sparse:
    """rate * new + (1 - rate) * old by ascending column, without what is not above zero."""
    places, entry = np.unique(np.concatenate([new.places, old.places]), return_inverse=True)
    parts = np.concatenate([mul(new.values, rate), mul(old.values, ONE - rate)])
    sums = group_sums(entry, parts, places.size)
    return Sparse(new.n, places // new.n, places % new.n, sums).kept(sums > 0)


def weighted_medians(matrix: Sparse, weight: Array, above: int) -> Array:
    """Per column the smallest value at which the weight of rows with no higher value exceeds `above`.

    `weight` is not negative; missing entries count as zero. The chain finds this by quickselect. Its bounds `low` and
    `high` are always the weight of rows below the list it looks at, and of these and the list's; so it ends at the
    value s where the weight below s <= above < the weight up to s, whatever the pivots. Outside the range of
    weights it ends at the lowest or highest value, which are what `above` clamped to that range finds.
    """
    everything = int(weight.sum())
    above = max(0, min(everything - 1, above))
    counted = matrix.kept((matrix.values > 0) & (weight[matrix.rows] > 0))
    order = np.argsort(counted.columns << 33 | counted.values)  # values are at most 2**32
    columns, values = counted.columns[order], counted.values[order]
    added = np.append(0, np.cumsum(weight[counted.rows[order]]))
    ends = np.searchsorted(columns, np.arange(matrix.n + 1))
    starts, ends = ends[:-1], ends[1:]
    zeros = everything - (added[ends] - added[starts])  # the weight of rows that give zero or nothing
    reached = zeros[columns] + added[1:] - added[starts][columns]
    too_low = np.bincount(columns[reached <= above], minlength=matrix.n)
    return np.where((zeros > above) | (ends == starts), 0, np.append(values, 0)[starts + too_low])
