"""Yuma Consensus of one epoch, in the chain's own integer arithmetic: who is paid how much, recomputable by anybody.

`python -m chain.yuma FILE.json` recomputes recorded epochs and tells where they differ. N below stands for all uids.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chain import fixedpoint as fx
from chain.fixedpoint import ONE, Row, div, mul
from hivetune.errors import ConfigError

SparseRows = tuple[tuple[tuple[int, int], ...], ...]
MILLION = 1_000_000
LAST_SPEC_WITHOUT_OWNER_PERMIT = 300  # the recorded epochs; later runtimes always give the owner a permit
EMISSION_SLACK_RAO = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochInput:
    """What the chain holds when an epoch begins; sequences have one element per uid."""

    n: int
    block: int
    tempo: int  # bonds to uids registered at `block - tempo` or later are forgotten
    stake: tuple[int, ...]  # rao
    weights: (
        SparseRows  # per uid (uid, u16); an explicit zero lets a bond decay, a missing entry drops it (liquid alpha)
    )
    bonds: SparseRows
    last_update: tuple[int, ...]
    block_at_registration: tuple[int, ...]
    activity_cutoff: int  # blocks
    permit: tuple[bool, ...]  # of the epoch before
    max_validators: int
    kappa: int  # u16 proportion
    bonds_penalty: int  # u16 proportion
    bonds_moving_average: int  # millionths
    yuma3: bool
    liquid_alpha: bool
    alpha_values: tuple[int, int]  # u16 proportions: lowest, highest
    steepness: int  # hundredths
    stake_threshold: int  # rao; less counts as none
    owner_uid: int  # -1 for none
    emission_rao: int
    owner_permit: bool = True  # the owner keeps a permit and is exempt from the threshold; False up to spec 300
    pending_commits: tuple[tuple[int, int], ...] = ()  # (uid, block of its oldest unrevealed weights commit)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochOutput:
    """What the chain stores at the end of an epoch, per uid; u16 where no unit stands."""

    active: tuple[bool, ...]
    rank: tuple[int, ...]
    trust: tuple[int, ...]
    consensus: tuple[int, ...]
    incentive: tuple[int, ...]
    dividends: tuple[int, ...]
    emission: tuple[int, ...]  # rao, its share of the sum of server and validator emission
    server_emission: tuple[int, ...]  # rao
    validator_emission: tuple[int, ...]  # rao
    validator_trust: tuple[int, ...]
    permit: tuple[bool, ...]  # for the next epoch
    pruning: tuple[int, ...]
    stake_weight: tuple[int, ...]
    bonds: SparseRows


def run_epoch(inputs: EpochInput) -> EpochOutput:
    """The epoch as a pure function; only permits of the epoch before count in this one."""
    active = tuple(update + inputs.activity_cutoff >= inputs.block for update in inputs.last_update)
    exempt = inputs.owner_uid if inputs.owner_permit else -1
    stake_N = stake_shares([s if s >= inputs.stake_threshold or i == exempt else 0 for i, s in enumerate(inputs.stake)])
    stake_of_active_N = fx.normalize(
        [s if a and p else 0 for s, a, p in zip(stake_N, active, inputs.permit, strict=True)]
    )
    weights_NN = usable_weights(inputs)
    consensus_N = weighted_medians(stake_of_active_N, weights_NN, fx.u16_proportion(inputs.kappa), inputs.n)
    clipped_NN = fx.clip_columns(weights_NN, consensus_N)
    rank_N = fx.column_sums(fx.scale_rows(clipped_NN, stake_of_active_N), inputs.n)
    prerank_N = fx.column_sums(fx.scale_rows(weights_NN, stake_of_active_N), inputs.n)
    incentive_N = fx.normalize(rank_N)
    bonds_NN, dividends_N = bonds_and_dividends(
        inputs, stake_of_active_N, weights_NN, clipped_NN, consensus_N, incentive_N
    )
    permit = next_permits(inputs, stake_N)
    server_N, validator_N, combined_N = emission_shares(incentive_N, dividends_N, stake_of_active_N, stake_N)
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
        validator_trust=u16s([fx.total(row.values()) for row in clipped_NN]),
        permit=permit,
        pruning=tuple(fx.max_upscale_u16(combined_N)),
        stake_weight=u16s(stake_N),
        bonds=tuple(
            tuple((uid, fx.to_u16(bond)) for uid, bond in sorted(row.items()) if bond) if keeps else ()
            for row, keeps in zip(bonds_NN, permit, strict=True)
        ),
    )


def consensus(
    stake: Sequence[int], permit: Sequence[bool], weights: Mapping[int, Mapping[int, int]], kappa: int, n: int
) -> list[float]:
    """Per uid the largest weight that `kappa` of the permitted stake supports: the chain's verdict between epochs.

    `stake` is rao, `weights` u16 by row, `kappa` u16. Self-weights do not count.
    """
    shares_N = stake_shares([s if p else 0 for s, p in zip(stake, permit, strict=True)])
    given = [weights.get(row, {}) if permit[row] else {} for row in range(n)]
    rows = [{uid: fx.from_int(w) for uid, w in given[row].items() if uid != row} for row in range(n)]
    medians_N = weighted_medians(fx.normalize(shares_N), fx.normalize_rows(rows), fx.u16_proportion(kappa), n)
    return [median / ONE for median in medians_N]


def u16s(fractions: Sequence[int]) -> tuple[int, ...]:
    return tuple(fx.to_u16(fraction) for fraction in fractions)


def rao(shares: Sequence[int], emission_rao: int) -> tuple[int, ...]:
    return tuple((share * emission_rao) >> fx.FRACTION_BITS for share in shares)


def stake_shares(stake_rao: Sequence[int]) -> list[int]:
    """Shares of the sum, divided with 64 fraction bits and cut to 32 as the chain does."""
    everything = sum(stake_rao)
    return [((stake << 64) // everything) >> 32 for stake in stake_rao] if everything else [0] * len(stake_rao)


def next_permits(inputs: EpochInput, stake_N: Sequence[int]) -> tuple[bool, ...]:
    """The `max_validators` largest with any stake; among equals the higher uid wins."""
    lost = set(sorted(range(inputs.n), key=lambda uid: stake_N[uid])[: max(0, inputs.n - inputs.max_validators)])
    owner = inputs.owner_uid if inputs.owner_permit else -1
    return tuple(uid == owner or (stake_N[uid] != 0 and uid not in lost) for uid in range(inputs.n))


def usable_weights(inputs: EpochInput) -> list[Row]:
    """Permitted rows that sum to one, without self-weights (the owner's counts) and weights for a uid's predecessor."""
    committed = dict(inputs.pending_commits)

    def counts(row: int, uid: int) -> bool:
        registered = inputs.block_at_registration[uid]
        if row == uid and row != inputs.owner_uid:
            return False
        return inputs.last_update[row] > registered and committed.get(row, registered) >= registered

    return fx.normalize_rows(
        [
            {uid: fx.from_int(w) for uid, w in inputs.weights[row] if counts(row, uid)} if inputs.permit[row] else {}
            for row in range(inputs.n)
        ]
    )


def weighted_medians(stake_N: Sequence[int], weights_NN: Sequence[Row], kappa: int, n: int) -> list[int]:
    """Per column the kappa-median over the rows with stake; a missing weight counts as zero."""
    rows = [uid for uid in range(n) if stake_N[uid] > 0]
    stake = fx.normalize([stake_N[uid] for uid in rows])
    everything = fx.total(stake)
    return [
        fx.weighted_median(stake, [weights_NN[uid].get(column, 0) for uid in rows], everything - kappa, everything)
        for column in range(n)
    ]


def bonds_and_dividends(
    inputs: EpochInput,
    stake_N: Sequence[int],
    weights_NN: Sequence[Row],
    clipped_NN: Sequence[Row],
    consensus_N: Sequence[int],
    incentive_N: Sequence[int],
) -> tuple[list[Row], list[int]]:
    """The bonds to store and what they pay, by the Yuma version of the subnet."""
    target_NN = fx.interpolate(weights_NN, clipped_NN, fx.u16_proportion(inputs.bonds_penalty))
    since = inputs.block - inputs.tempo
    old_NN = [
        {uid: fx.from_int(b) for uid, b in row if inputs.block_at_registration[uid] < since} for row in inputs.bonds
    ]
    rate = ONE - (inputs.bonds_moving_average << fx.FRACTION_BITS) // MILLION
    if not inputs.yuma3:
        old_NN = fx.normalize_columns(old_NN, inputs.n)
        delta_NN = fx.normalize_columns(fx.scale_rows(target_NN, stake_N), inputs.n)
        bonds_NN = fx.normalize_columns(fx.moving_average(delta_NN, old_NN, rate), inputs.n)
        return fx.upscale_columns(bonds_NN, inputs.n), fx.normalize(fx.row_products(bonds_NN, incentive_N))
    old_NN = [{uid: div(b, fx.from_int(fx.U16_MAX)) for uid, b in row.items()} for row in old_NN]
    if inputs.liquid_alpha and any(consensus_N):
        bonds_NN = liquid_average(inputs, target_NN, old_NN, consensus_N)
    else:
        bonds_NN = fx.moving_average(target_NN, old_NN, rate)
    returns_N = fx.row_products(fx.normalize_columns(bonds_NN, inputs.n), incentive_N)
    return bonds_NN, fx.normalize([mul(stake, value) for stake, value in zip(stake_N, returns_N, strict=True)])


def liquid_average(
    inputs: EpochInput, target_NN: Sequence[Row], old_NN: Sequence[Row], consensus_N: Sequence[int]
) -> list[Row]:
    """A rate of its own for every pair; a pair without an entry in the weights loses its bond at once."""
    low, high = (fx.u16_proportion(value) for value in inputs.alpha_values)
    steepness = div(fx.from_int(inputs.steepness), fx.from_int(100))

    def bond(target: int, old: int, median: int) -> int:
        distance = target - median if target >= old else old - target
        rate = alpha(max(0, min(ONE, distance)), steepness, low, high)
        return min(ONE, fx.add(mul(ONE - rate, old), mul(rate, target)))

    return [
        {c: bond(value, old.get(c, 0), consensus_N[c]) for c, value in target.items()}
        for target, old in zip(target_NN, old_NN, strict=True)
    ]


def alpha(distance: int, steepness: int, low: int, high: int) -> int:
    """The rate grows as a sigmoid of the distance, between `low` and `high`."""
    exponent = mul(-steepness, distance - ONE // 2)
    sigmoid = div(ONE, ONE + fx.exp(max(-20 * ONE, min(20 * ONE, exponent))))
    return max(low, min(high, low + mul(sigmoid, high - low)))


def emission_shares(
    incentive_N: Sequence[int], dividends_N: Sequence[int], active_N: Sequence[int], stake_N: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Shares of the epoch's emission for serving, for validating and of both; by stake alone if nobody earned."""
    combined_N = [fx.add(i, d) for i, d in zip(incentive_N, dividends_N, strict=True)]
    everything = fx.total(combined_N)
    if everything:
        shares = [fx.normalize(values, everything) for values in (incentive_N, dividends_N, combined_N)]
        return shares[0], shares[1], shares[2]
    by_stake = list(active_N) if any(active_N) else list(stake_N)
    return [0] * len(by_stake), by_stake, by_stake


def read_cases(path: Path) -> list[tuple[EpochInput, Mapping[str, object]]]:
    """Recorded epochs: `{spec_version, cases: [{in, out}]}` with the field names of EpochInput and EpochOutput.

    An epoch whose emission was not recorded gets the sum of what was paid.
    """
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        owner_permit = recorded["spec_version"] > LAST_SPEC_WITHOUT_OWNER_PERMIT
        cases = []
        for case in recorded["cases"]:
            paid = {"emission_rao": sum(case["out"]["emission"]), "owner_permit": owner_permit}
            cases.append((EpochInput(**{**paid, **{k: as_tuple(v) for k, v in case["in"].items()}}), case["out"]))
        return cases
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} does not hold recorded epochs: {type(error).__name__}: {error}") from error


def as_tuple(value: object) -> object:
    return tuple(as_tuple(item) for item in value) if isinstance(value, list) else value


def first_difference(inputs: EpochInput, recorded: Mapping[str, object]) -> str | None:
    """Name of the first field that was recorded otherwise; emission may be off by `EMISSION_SLACK_RAO` per uid."""
    computed = asdict(run_epoch(inputs))
    for name, value in recorded.items():
        want, have = as_tuple(value), computed[name]
        if name.endswith("emission") and isinstance(want, tuple) and len(want) == len(have):
            if any(abs(a - b) > EMISSION_SLACK_RAO for a, b in zip(have, want, strict=True)):
                return name
        elif have != want:
            return name
    return None


def main(arguments: Sequence[str]) -> int:
    """0 when all recorded epochs agree, 1 when one does not, 2 when the file cannot be read."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m chain.yuma FILE.json\n")
        return 2
    try:
        cases = read_cases(Path(arguments[0]))
        differing = [(index, first_difference(*case)) for index, case in enumerate(cases)]
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (LookupError, ValueError, TypeError) as error:
        sys.stderr.write(f"{arguments[0]} holds an impossible epoch: {type(error).__name__}: {error}\n")
        return 2
    wrong = [(index, name) for index, name in differing if name is not None]
    for index, name in wrong:
        sys.stdout.write(f"case {index}: {name} differs\n")
    sys.stdout.write(f"{len(cases) - len(wrong)} of {len(cases)} recorded epochs agree\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
