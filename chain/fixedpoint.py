"""The chain's fixed-point arithmetic (signed 64 bits, 32 of them a fraction, saturating) on numpy arrays, exact.

An element is the integer `number * 2**32`. numpy has no 128-bit integers: products and quotients are put together from
parts that stay within 64 bits, and what could leave them goes through Python's integers.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]

FRACTION_BITS = 32
ONE = 1 << FRACTION_BITS
HIGHEST = (1 << 63) - 1
LOWEST = -(1 << 63)
U16_MAX = 65535
LAST_TERM = 31  # of the exponential's series
LARGEST_EXPONENT = 89715445397  # of either sign; beyond it a term of the series does not fit 64 bits
E_OF_23_BITS = 22802600 << 9  # exp(1) is a constant of the chain's library, and coarser than the series


def saturate(value: int) -> int:
    """The nearest value that 64 bits hold."""
    return max(LOWEST, min(HIGHEST, value))


def u16_proportion(numerator: int) -> int:
    """A u16 hyperparameter as a fraction of 65535."""
    return (numerator << FRACTION_BITS) // U16_MAX


def largest(values: Array) -> int:
    """The largest absolute value."""
    return max(int(values.max()), -int(values.min())) if values.size else 0


def mul(left: Array, right: Array | int) -> Array:
    """Products, rounded down."""
    right = np.asarray(right, dtype=np.int64)
    if largest(left) * largest(right) < 1 << (63 + FRACTION_BITS):
        return small_product(left, right)
    pairs = np.broadcast(left, right)
    return np.array([saturate(int(a) * int(b) >> FRACTION_BITS) for a, b in pairs], dtype=np.int64)


def small_product(left: Array, right: Array) -> Array:
    """Products that fit 64 bits, rounded down.

    With a = 2**32 * A + a' and b = 2**32 * B + b', a * b / 2**32 = A * b + a' * B + a' * b' / 2**32. The last product
    is below 2**64 and alone needs rounding; the others may wrap around, since their sum does not.
    """
    left_low, right_low = left & (ONE - 1), right & (ONE - 1)
    rounded = (left_low.astype(np.uint64) * right_low.astype(np.uint64)) >> np.uint64(FRACTION_BITS)
    return (left >> FRACTION_BITS) * right + left_low * (right >> FRACTION_BITS) + rounded.astype(np.int64)


def div(left: Array, right: Array | int) -> Array:
    """Quotients of values that are not negative, rounded down; zero when divided by zero, as the chain's division.

    Long division: a remainder is below its divisor, so shifted by as many bits as the largest divisor leaves free it
    stays within 64.
    """
    divisor = np.maximum(right, 1).astype(np.uint64)
    free = 64 - (int(divisor.max(initial=1)) - 1).bit_length()
    whole, rest = np.divmod(left.astype(np.uint64), divisor)
    quotient, missing = whole, FRACTION_BITS
    while missing:
        step = np.uint64(min(missing, free))
        part, rest = np.divmod(rest << step, divisor)
        quotient = (quotient << step) | part
        missing -= int(step)
    fits = whole < ONE >> 1
    return np.where(right == 0, 0, np.where(fits, quotient, HIGHEST)).astype(np.int64)


def total(values: Array) -> int:
    if largest(values) * values.size > HIGHEST:
        return saturate(sum(values.tolist()))
    return int(values.sum())


def group_sums(group: Array, values: Array, groups: int) -> Array:
    """Sums by group; of more than two values only where none is negative, since saturation minds the order."""
    sums = np.zeros(groups, dtype=np.int64)
    if largest(values) * values.size <= HIGHEST:
        np.add.at(sums, group, values)
        return sums
    exact = [0] * groups
    for index, value in zip(group.tolist(), values.tolist(), strict=True):
        exact[index] += value
    return np.array([saturate(value) for value in exact], dtype=np.int64)


def normalize(values: Array) -> Array:
    return div(values, total(values))


def to_u16(fractions: Array) -> Array:
    """Fractions as u16, rounded down and saturating."""
    return np.clip(fractions, 0, ONE) * U16_MAX >> FRACTION_BITS


def exp(values: Array) -> Array:
    """The series of the chain's library, each term rounded down; zero where the library gives up on it."""
    known = (values <= LARGEST_EXPONENT) & (values >= -LARGEST_EXPONENT)
    size = np.where(known, np.abs(values), 0)
    term, result = size, size + ONE
    for step in range(2, LAST_TERM + 1):
        term = small_product(term, size) // step
        result = result + term
    result = np.where(values < 0, div(np.full_like(result, ONE), result), result)
    return np.where(known, np.where(values == ONE, E_OF_23_BITS, result), 0)


def max_upscale_u16(fractions: Array) -> Array:
    """Scaled so that the largest becomes 65535, rounded to nearest; all zero stays zero."""
    scaled = div(fractions * U16_MAX, int(fractions.max(initial=0)))
    return (scaled + (ONE >> 1)) >> FRACTION_BITS
