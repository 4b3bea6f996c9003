"""The chain's fixed-point arithmetic (signed 64 bits, 32 of them a fraction, saturating) on plain Python integers.

A value is the integer `number * 2**32`. A sparse row maps a column to its value and, as on the chain, an explicit zero
is not the same as no entry: some steps of Yuma keep the one and forget the other.
"""

from collections.abc import Iterable, Sequence

FRACTION_BITS = 32
ONE = 1 << FRACTION_BITS
HIGHEST = (1 << 63) - 1
LOWEST = -(1 << 63)
U16_MAX = 65535

Row = dict[int, int]


def saturate(value: int) -> int:
    """The nearest value that 64 bits hold."""
    return max(LOWEST, min(HIGHEST, value))


def from_int(number: int) -> int:
    return saturate(number << FRACTION_BITS)


def mul(left: int, right: int) -> int:
    """Product, rounded down."""
    return saturate((left * right) >> FRACTION_BITS)


def div(left: int, right: int) -> int:
    """Quotient, rounded towards zero; zero when divided by zero, as the chain's safe division."""
    if right == 0:
        return 0
    quotient = (abs(left) << FRACTION_BITS) // abs(right)
    return saturate(quotient if (left < 0) == (right < 0) else -quotient)


def add(left: int, right: int) -> int:
    return saturate(left + right)


def total(values: Iterable[int]) -> int:
    return saturate(sum(values))


def u16_proportion(numerator: int) -> int:
    """A u16 hyperparameter as a fraction of 65535."""
    return div(from_int(numerator), from_int(U16_MAX))


def to_u16(fraction: int) -> int:
    """A fraction as u16, rounded down and saturating."""
    return max(0, min(U16_MAX, (fraction * U16_MAX) >> FRACTION_BITS))


def exp(value: int) -> int:
    """e**value by its Taylor series in 96 fraction bits, so that every machine gets the same last bit."""
    extra = 64
    one = ONE << extra
    argument = abs(value) << extra
    term = result = one
    step = 0
    while term:
        step += 1
        term = term * argument // one // step
        result += term
    return saturate((result if value >= 0 else one * one // result) >> extra)


def normalize(values: Sequence[int], divisor: int | None = None) -> list[int]:
    """Divide by the sum (or by a given one); unchanged when that is zero."""
    divisor = total(values) if divisor is None else divisor
    return [div(value, divisor) for value in values] if divisor else list(values)


def normalize_rows(rows: Sequence[Row]) -> list[Row]:
    return [dict(zip(row, normalize(list(row.values())), strict=True)) for row in rows]


def column_sums(rows: Sequence[Row], columns: int) -> list[int]:
    sums = [0] * columns
    for row in rows:
        for column, value in row.items():
            sums[column] = add(sums[column], value)
    return sums


def normalize_columns(rows: Sequence[Row], columns: int) -> list[Row]:
    return divide_columns(rows, column_sums(rows, columns))


def upscale_columns(rows: Sequence[Row], columns: int) -> list[Row]:
    """Divide every column by its largest value."""
    largest = [0] * columns
    for row in rows:
        for column, value in row.items():
            largest[column] = max(largest[column], value)
    return divide_columns(rows, largest)


def divide_columns(rows: Sequence[Row], divisors: Sequence[int]) -> list[Row]:
    """Columns with divisor zero stay as they are."""
    return [{c: div(value, divisors[c]) if divisors[c] else value for c, value in row.items()} for row in rows]


def scale_rows(rows: Sequence[Row], factors: Sequence[int]) -> list[Row]:
    return [{c: mul(value, factor) for c, value in row.items()} for row, factor in zip(rows, factors, strict=True)]


def row_products(rows: Sequence[Row], vector: Sequence[int]) -> list[int]:
    """rows @ vector."""
    return [total(mul(value, vector[c]) for c, value in row.items()) for row in rows]


def max_upscale_u16(values: Sequence[int]) -> list[int]:
    """Scale so that the largest becomes 65535, rounded to nearest; all zero stays zero."""
    largest = max(values, default=0)
    if largest == 0:
        return [0] * len(values)
    maximum = from_int(U16_MAX)
    if largest > from_int(U16_MAX // 2 + 1):
        scaled = [mul(value, div(maximum, largest)) for value in values]
    else:
        scaled = [div(mul(value, maximum), largest) for value in values]
    return [max(0, min(U16_MAX, (value + ONE // 2) >> FRACTION_BITS)) for value in scaled]


def clip_columns(rows: Sequence[Row], ceiling: Sequence[int]) -> list[Row]:
    """Values above their column's ceiling come down to it; above a ceiling of zero the entry vanishes."""
    return [{c: min(v, ceiling[c]) for c, v in row.items() if v <= ceiling[c] or ceiling[c] > 0} for row in rows]


def interpolate(start_NN: Sequence[Row], end_NN: Sequence[Row], ratio: int) -> list[Row]:
    """start + ratio * (end - start), without the zeros except at the two ends."""
    if ratio in (0, ONE):
        return [dict(row) for row in (end_NN if ratio else start_NN)]
    mixed = [
        {c: value + mul(ratio, end.get(c, 0) - value) for c, value in start.items()}
        for start, end in zip(start_NN, end_NN, strict=True)
    ]
    return [{c: value for c, value in row.items() if value > 0} for row in mixed]


def moving_average(new_NN: Sequence[Row], old_NN: Sequence[Row], rate: int) -> list[Row]:
    """rate * new + (1 - rate) * old, without the zeros."""
    mixed = [
        {c: add(mul(rate, new.get(c, 0)), mul(ONE - rate, old.get(c, 0))) for c in {**new, **old}}
        for new, old in zip(new_NN, old_NN, strict=True)
    ]
    return [{c: value for c, value in row.items() if value > 0} for row in mixed]


def weighted_median(stake: Sequence[int], score: Sequence[int], minority: int, everything: int) -> int:
    """Quickselect by stake with the chain's pivot (the middle of the list as it stands) and its rules for ties."""
    part = list(range(len(stake)))
    low, high = 0, everything
    while len(part) > 1:
        pivot = score[part[len(part) // 2]]
        lower = [i for i in part if score[i] < pivot]
        upper = [i for i in part if score[i] > pivot]
        lower_stake, upper_stake = sum(stake[i] for i in lower), sum(stake[i] for i in upper)
        if lower and minority < low + lower_stake:
            part, high = lower, low + lower_stake
        elif upper and high - upper_stake <= minority:
            part, low = upper, high - upper_stake
        else:
            return pivot
    return score[part[0]] if part else 0
