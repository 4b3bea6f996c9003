"""Yuma Consensus as a plain loop over Python integers, step by step as the pallet has it: the reference for tests and
the benchmark. A row maps a column to its value in the order stored; a missing entry is not the same as a zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from chain.epochs import EpochInput, EpochOutput, SparseRows

ONE = 1 << 32
HIGHEST = (1 << 63) - 1
LOWEST = -(1 << 63)
U16_MAX = 65535
E_OF_23_BITS = 22802600 << 9

Row = dict[int, int]


def saturate(value: int) -> int:
    return max(LOWEST, min(HIGHEST, value))


def mul(left: int, right: int) -> int:
    return saturate((left * right) >> 32)


def div(left: int, right: int) -> int:
    """Rounded towards zero; zero when divided by zero."""
    if right == 0:
        return 0
    quotient = (abs(left) << 32) // abs(right)
    return saturate(quotient if (left < 0) == (right < 0) else -quotient)


def add(left: int, right: int) -> int:
    return saturate(left + right)


def total(values: Iterable[int]) -> int:
    result = 0
    for value in values:
        result = add(result, value)
    return result


def u16_proportion(numerator: int) -> int:
    return div(numerator << 32, U16_MAX << 32)


def to_u16(fraction: int) -> int:
    return max(0, min(U16_MAX, mul(fraction, U16_MAX << 32) >> 32))


def exp(value: int) -> int | None:
    """The series of the chain's library: 31 terms, floored one by one; None where it overflows."""
    if value == 0:
        return ONE
    if value == ONE:
        return E_OF_23_BITS
    term = abs(value)
    result = ONE + term
    for step in range(2, 32):
        term = (term * abs(value)) >> 32
        if term > HIGHEST:
            return None
        term //= step
        result += term
        if result > HIGHEST:
            return None
    return result if value > 0 else div(ONE, result)


def normalize(values: Sequence[int], divisor: int | None = None) -> list[int]:
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
    largest = [0] * columns
    for row in rows:
        for column, value in row.items():
            largest[column] = max(largest[column], value)
    return divide_columns(rows, largest)


def divide_columns(rows: Sequence[Row], divisors: Sequence[int]) -> list[Row]:
    return [{c: div(value, divisors[c]) if divisors[c] else value for c, value in row.items()} for row in rows]


def scale_rows(rows: Sequence[Row], factors: Sequence[int]) -> list[Row]:
    return [{c: mul(value, factor) for c, value in row.items()} for row, factor in zip(rows, factors, strict=True)]


def row_products(rows: Sequence[Row], vector: Sequence[int]) -> list[int]:
    return [total(mul(value, vector[c]) for c, value in row.items()) for row in rows]


def max_upscale_u16(values: Sequence[int]) -> list[int]:
    largest = max(values, default=0)
    if largest == 0:
        return [0] * len(values)
    maximum = U16_MAX << 32
    if largest > 32768 << 32:
        scaled = [mul(value, div(maximum, largest)) for value in values]
    else:
        scaled = [div(mul(value, maximum), largest) for value in values]
    return [max(0, min(U16_MAX, (value + ONE // 2) >> 32)) for value in scaled]


def clip_columns(rows: Sequence[Row], ceiling: Sequence[int]) -> list[Row]:
    return [{c: min(v, ceiling[c]) for c, v in row.items() if v <= ceiling[c] or ceiling[c] > 0} for row in rows]


def interpolate(start_NN: Sequence[Row], end_NN: Sequence[Row], ratio: int) -> list[Row]:
    if ratio in (0, ONE):
        return [dict(row) for row in (end_NN if ratio else start_NN)]
    mixed = [
        {c: add(row[c], mul(ratio, end.get(c, 0) - row[c])) for c in sorted(row)}
        for row, end in zip(start_NN, end_NN, strict=True)
    ]
    return [{c: value for c, value in row.items() if value > 0} for row in mixed]


def moving_average(new_NN: Sequence[Row], old_NN: Sequence[Row], rate: int) -> list[Row]:
    mixed = [
        {c: add(mul(rate, new.get(c, 0)), mul(ONE - rate, old.get(c, 0))) for c in sorted({**new, **old})}
        for new, old in zip(new_NN, old_NN, strict=True)
    ]
    return [{c: value for c, value in row.items() if value > 0} for row in mixed]


def weighted_median(stake: Sequence[int], score: Sequence[int], minority: int, everything: int) -> int:
    """Quickselect by stake with the chain's pivot: the middle of the list as it stands."""
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


def weighted_medians(stake_N: Sequence[int], weights_NN: Sequence[Row], kappa: int, n: int) -> list[int]:
    rows = [uid for uid in range(n) if stake_N[uid] > 0]
    stake = normalize([stake_N[uid] for uid in rows])
    everything = total(stake)
    return [
        weighted_median(stake, [weights_NN[uid].get(column, 0) for uid in rows], everything - kappa, everything)
        for column in range(n)
    ]


def stake_shares(inputs: EpochInput) -> list[int]:
    fraction = inputs.stake_fraction or (0,) * inputs.n
    exempt = inputs.owner_uid if inputs.owner_permit else -1
    counted = [
        (stake << 32) + fraction[uid] if stake >= inputs.stake_threshold or uid == exempt else 0
        for uid, stake in enumerate(inputs.stake)
    ]
    everything = sum(counted)
    return [(stake << 32) // everything for stake in counted] if everything else counted


def next_permits(inputs: EpochInput, stake_N: Sequence[int]) -> tuple[bool, ...]:
    lost = set(sorted(range(inputs.n), key=lambda uid: stake_N[uid])[: max(0, inputs.n - inputs.max_validators)])
    owner = inputs.owner_uid if inputs.owner_permit else -1
    return tuple(uid == owner or (stake_N[uid] != 0 and uid not in lost) for uid in range(inputs.n))


def usable_weights(inputs: EpochInput, permit: Sequence[bool]) -> list[Row]:
    committed = dict(inputs.pending_commits)

    def counts(row: int, uid: int) -> bool:
        if uid >= inputs.n or (row == uid and row != inputs.owner_uid):
            return False
        registered = inputs.block_at_registration[uid]
        return inputs.last_update[row] > registered and committed.get(row, registered) >= registered

    return normalize_rows(
        [
            {uid: w << 32 for uid, w in inputs.weights[row] if counts(row, uid)} if permit[row] else {}
            for row in range(inputs.n)
        ]
    )


def old_bonds(inputs: EpochInput) -> list[Row]:
    since = inputs.last_step_block + 1 if inputs.last_step_block else inputs.block - inputs.tempo
    return [
        {c: b << 32 for c, b in row if c < inputs.n and inputs.block_at_registration[c] < since} for row in inputs.bonds
    ]


def bonds_and_dividends(
    inputs: EpochInput,
    stake_N: Sequence[int],
    target_NN: Sequence[Row],
    consensus_N: Sequence[int],
    incentive_N: Sequence[int],
) -> tuple[list[Row], list[int]]:
    old_NN = old_bonds(inputs)
    rate = ONE - saturate((inputs.bonds_moving_average << 32) // 1_000_000)
    if not inputs.yuma3:
        old_NN = normalize_columns(old_NN, inputs.n)
        delta_NN = normalize_columns(scale_rows(target_NN, stake_N), inputs.n)
        bonds_NN = normalize_columns(moving_average(delta_NN, old_NN, rate), inputs.n)
        return upscale_columns(bonds_NN, inputs.n), normalize(row_products(bonds_NN, incentive_N))
    old_NN = [{uid: div(b, U16_MAX << 32) for uid, b in row.items()} for row in old_NN]
    if inputs.liquid_alpha and any(consensus_N):
        bonds_NN = [liquid_row(inputs, target, old, consensus_N) for target, old in zip(target_NN, old_NN, strict=True)]
    else:
        bonds_NN = moving_average(target_NN, old_NN, rate)
    returns_N = row_products(normalize_columns(bonds_NN, inputs.n), incentive_N)
    return bonds_NN, normalize([mul(stake, value) for stake, value in zip(stake_N, returns_N, strict=True)])


def seen_by_the_walk(row: Row) -> Row:
    """The chain walks rows as if sorted: an entry after one of a higher column is not seen."""
    seen, highest = {}, -1
    for column, value in row.items():
        if column > highest:
            seen[column], highest = value, column
    return seen


def liquid_row(inputs: EpochInput, target: Row, old: Row, consensus_N: Sequence[int]) -> Row:
    low, high = (u16_proportion(value) for value in inputs.alpha_values)
    steepness = div(inputs.steepness << 32, -100 << 32)
    seen_target, seen_old = seen_by_the_walk(target), seen_by_the_walk(old)
    result = {}
    for column, value in target.items():
        weight, bond = seen_target.get(column, 0), seen_old.get(column, 0)
        distance = weight - consensus_N[column] if weight >= bond else bond - weight
        exponent = mul(steepness, max(0, min(ONE, distance)) - ONE // 2)
        if inputs.clamped_exponent:
            exponent = max(-20 * ONE, min(20 * ONE, exponent))
        sigmoid = div(ONE, add(ONE, exp(exponent) or 0))
        rate = max(low, min(high, add(low, mul(sigmoid, high - low))))
        bond = min(ONE, add(mul(ONE - rate, old.get(column, 0)), max(0, mul(rate, value))))
        if bond > 0:
            result[column] = bond
    return result


def emission_shares(
    incentive_N: Sequence[int], dividends_N: Sequence[int], active_N: Sequence[int], stake_N: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    combined_N = [add(i, d) for i, d in zip(incentive_N, dividends_N, strict=True)]
    everything = total(combined_N)
    if everything:
        shares = [normalize(values, everything) for values in (incentive_N, dividends_N, combined_N)]
        return shares[0], shares[1], shares[2]
    by_stake = list(active_N) if any(active_N) else list(stake_N)
    return [0] * len(by_stake), by_stake, by_stake


def stored_bonds(inputs: EpochInput, rows: Sequence[Row], had: Sequence[bool], gets: Sequence[bool]) -> list[Row]:
    left = [{} if inputs.clears_bonds or had[uid] else dict(row) for uid, row in enumerate(inputs.bonds)]
    return [{c: to_u16(value) for c, value in row.items()} if gets[uid] else left[uid] for uid, row in enumerate(rows)]


def run_epoch(inputs: EpochInput) -> EpochOutput:
    active = tuple(update + inputs.activity_cutoff >= inputs.block for update in inputs.last_update)
    permit = [had or (inputs.owner_permit and uid == inputs.owner_uid) for uid, had in enumerate(inputs.permit)]
    stake_N = stake_shares(inputs)
    stake_of_active_N = normalize([s if a and p else 0 for s, a, p in zip(stake_N, active, permit, strict=True)])
    weights_NN = usable_weights(inputs, permit)
    consensus_N = weighted_medians(stake_of_active_N, weights_NN, u16_proportion(inputs.kappa), inputs.n)
    clipped_NN = clip_columns(weights_NN, consensus_N)
    rank_N = column_sums(scale_rows(clipped_NN, stake_of_active_N), inputs.n)
    prerank_N = column_sums(scale_rows(weights_NN, stake_of_active_N), inputs.n)
    incentive_N = normalize(rank_N)
    target_NN = interpolate(weights_NN, clipped_NN, u16_proportion(inputs.bonds_penalty))
    bonds_NN, dividends_N = bonds_and_dividends(inputs, stake_of_active_N, target_NN, consensus_N, incentive_N)
    gets_permit = next_permits(inputs, stake_N)
    shares = emission_shares(incentive_N, dividends_N, stake_of_active_N, stake_N)
    server_N, validator_N, combined_N = shares
    bonds = stored_bonds(inputs, bonds_NN, permit, gets_permit)
    return EpochOutput(
        active=active,
        rank=u16s(incentive_N),
        trust=u16s([div(after, before) for after, before in zip(rank_N, prerank_N, strict=True)]),
        consensus=u16s(consensus_N),
        incentive=u16s(incentive_N),
        dividends=u16s(dividends_N),
        emission=rao(combined_N, inputs.emission_rao),
        server_emission=rao(server_N, inputs.emission_rao),
        validator_emission=rao(validator_N, inputs.emission_rao),
        validator_trust=u16s([total(row.values()) for row in clipped_NN]),
        permit=gets_permit,
        pruning=tuple(max_upscale_u16(combined_N)),
        stake_weight=u16s(stake_N),
        bonds=tuple(tuple(row.items()) for row in bonds),
    )


def u16s(fractions: Sequence[int]) -> tuple[int, ...]:
    return tuple(to_u16(fraction) for fraction in fractions)


def rao(shares: Sequence[int], emission_rao: int) -> tuple[int, ...]:
    return tuple((share * emission_rao) >> 32 for share in shares)


def consensus(
    stake: Sequence[int], permit: Sequence[bool], weights: Mapping[int, Mapping[int, int]], kappa: int, n: int
) -> list[float]:
    counted = [s if p else 0 for s, p in zip(stake, permit, strict=True)]
    everything = sum(counted)
    shares_N = [(s << 32) // everything for s in counted] if everything else counted
    given = [weights.get(row, {}) if permit[row] else {} for row in range(n)]
    rows = [{uid: w << 32 for uid, w in given[row].items() if uid != row} for row in range(n)]
    medians_N = weighted_medians(normalize(shares_N), normalize_rows(rows), u16_proportion(kappa), n)
    return [median / ONE for median in medians_N]


def crowd(n: int, validators: int, **changes: object) -> EpochInput:
    """An epoch to measure and compare by: few validators with full rows of weights and bonds among many miners."""
    random = Random(n)
    rows: SparseRows = tuple(
        tuple((column, random.randrange(65536)) for column in range(n)) if uid < validators else () for uid in range(n)
    )
    settings: dict[str, object] = dict(
        n=n, block=10**6, tempo=360, stake=tuple(random.randrange(10**13) for _ in range(n)), weights=rows,
        bonds=rows[1:] + rows[:1], last_update=(10**6 - 1,) * n,
        block_at_registration=tuple(random.randrange(10**6) for _ in range(n)), activity_cutoff=5000,
        permit=(True,) * validators + (False,) * (n - validators), max_validators=validators, kappa=32767,
        bonds_penalty=65535, bonds_moving_average=900_000, yuma3=True, liquid_alpha=True, alpha_values=(45875, 58982),
        steepness=1000, stake_threshold=0, owner_uid=0, emission_rao=360 * 10**9,
    )  # fmt: skip
    return EpochInput(**(settings | changes))  # type: ignore[arg-type]
