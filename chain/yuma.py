"""Yuma Consensus of one epoch, in the chain's own integer arithmetic: who is paid how much, recomputable by anybody.

`python -m chain.yuma FILE.json` recomputes recorded epochs and tells where they differ. N below stands for all uids.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chain.bonds import bonds_and_dividends
from chain.epochs import EpochInput as EpochInput
from chain.epochs import EpochOutput as EpochOutput
from chain.epochs import SparseRows
from chain.fixedpoint import (
    FRACTION_BITS,
    ONE,
    Array,
    div,
    max_upscale_u16,
    mul,
    normalize,
    to_u16,
    total,
    u16_proportion,
)
from chain.sparse import Sparse, column_sums, from_rows, normalize_rows, row_sums, scale_rows, to_rows, weighted_medians
from hivetune.errors import ConfigError

log = logging.getLogger(__name__)

OLD_SPEC = 300
LATER_RULES = {"owner_permit": True, "clamped_exponent": True, "clears_bonds": True}  # of every runtime after it
MOST_STAKE_RAO = (1 << 63) - 1  # the chain's sum wraps around beyond; nobody can own that much
WHOLE = 1 << FRACTION_BITS  # of an emission of this many rao a share is paid its own number
INPUTS = {field.name for field in fields(EpochInput)}
OUTPUTS = {field.name for field in fields(EpochOutput)}
# What input of a wrong shape or size may run into.
IMPOSSIBLE = (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)


def run_epoch(inputs: EpochInput) -> EpochOutput:
    """The epoch as a pure function; only permits of the epoch before count in this one."""
    check(inputs)
    owner = inputs.owner_uid if inputs.owner_permit else -1
    permit = tuple(had or uid == owner for uid, had in enumerate(inputs.permit))
    active = tuple(update + inputs.activity_cutoff >= inputs.block for update in inputs.last_update)
    stake_N = stake_shares(counted_stake(inputs, owner))
    active_stake_N = normalize(np.where(np.logical_and(active, permit), stake_N, 0))
    weights = usable_weights(inputs, permit)
    consensus_N = consensus_weights(weights, active_stake_N, inputs.kappa)
    clipped = weights.with_values(np.minimum(weights.values, consensus_N[weights.columns]))
    rank_N = column_sums(scale_rows(clipped, active_stake_N))
    prerank_N = column_sums(scale_rows(weights, active_stake_N))
    incentive_N = normalize(rank_N)
    target = weights_for_bonds(weights, clipped, u16_proportion(inputs.bonds_penalty))
    bonds, dividends_N = bonds_and_dividends(inputs, active_stake_N, target, consensus_N, incentive_N)
    server_N, validator_N, combined_N = emission_shares(incentive_N, dividends_N, active_stake_N, stake_N)
    gets_permit = next_permits(stake_N, inputs.max_validators, owner)
    return EpochOutput(
        active=active,
        rank=u16s(incentive_N),
        trust=u16s(div(rank_N, prerank_N)),
        consensus=u16s(consensus_N),
        incentive=u16s(incentive_N),
        dividends=u16s(dividends_N),
        emission=rao(combined_N, inputs.emission_rao),
        server_emission=rao(server_N, inputs.emission_rao),
        validator_emission=rao(validator_N, inputs.emission_rao),
        validator_trust=u16s(row_sums(clipped)),
        permit=gets_permit,
        pruning=tuple(max_upscale_u16(combined_N).tolist()),
        stake_weight=u16s(stake_N),
        bonds=stored_bonds(inputs, bonds, permit, gets_permit),
    )


def consensus(
    stake: Sequence[int], permit: Sequence[bool], weights: Mapping[int, Mapping[int, int]], kappa: int, n: int
) -> list[float]:
    """Per uid the largest weight that `kappa` of the permitted stake supports: the chain's verdict between epochs.

    `stake` is rao, `weights` u16 by row, `kappa` u16. Self-weights do not count.
    """
    shares_N = stake_shares([s << FRACTION_BITS if p else 0 for s, p in zip(stake, permit, strict=True)])
    given = from_rows(tuple(tuple(weights.get(row, {}).items()) if permit[row] else () for row in range(n)), n)
    usable = normalize_rows(given.kept(given.rows != given.columns))
    medians_N = consensus_weights(usable, normalize(shares_N), kappa)
    return [median / ONE for median in medians_N.tolist()]


def check(inputs: EpochInput) -> None:
    """Refuse what no chain holds and arithmetic could not warn of."""
    for name in ("stake", "weights", "bonds", "last_update", "block_at_registration", "permit"):
        if len(getattr(inputs, name)) != inputs.n:
            raise ValueError(f"{name} has {len(getattr(inputs, name))} elements for {inputs.n} uids")
    if sum(inputs.stake) > MOST_STAKE_RAO or min(inputs.stake, default=0) < 0:
        raise ValueError(f"stake sums to {sum(inputs.stake)} rao, want 0 to {MOST_STAKE_RAO} and none below 0")


def u16s(fractions: Array) -> tuple[int, ...]:
    return tuple(to_u16(fractions).tolist())


def rao(shares: Array, emission_rao: int) -> tuple[int, ...]:
    return tuple((share * emission_rao) >> FRACTION_BITS for share in shares.tolist())


def counted_stake(inputs: EpochInput, owner: int) -> list[int]:
    """2**-32 rao per uid, none below the threshold."""
    fraction = inputs.stake_fraction or (0,) * inputs.n
    return [
        (stake << FRACTION_BITS) + rest if stake >= inputs.stake_threshold or uid == owner else 0
        for uid, (stake, rest) in enumerate(zip(inputs.stake, fraction, strict=True))
    ]


def stake_shares(stake: Sequence[int]) -> Array:
    """Shares of the sum. The chain divides with 64 fraction bits and cuts them to 32, which comes to the same."""
    everything = sum(stake)
    return np.array([(part << FRACTION_BITS) // everything if everything else 0 for part in stake], dtype=np.int64)


def next_permits(stake_N: Array, max_validators: int, owner: int) -> tuple[bool, ...]:
    """The `max_validators` largest with any stake; among equals the higher uid wins."""
    permits = stake_N != 0
    permits[np.argsort(stake_N, kind="stable")[: max(0, stake_N.size - max_validators)]] = False
    return tuple(permit or uid == owner for uid, permit in enumerate(permits.tolist()))


def usable_weights(inputs: EpochInput, permit: Sequence[bool]) -> Sparse:
    """Permitted rows that sum to one, without self-weights (the owner's counts) and weights for a uid's predecessor."""
    given = from_rows(tuple(row if has else () for row, has in zip(inputs.weights, permit, strict=True)), inputs.n)
    registered = np.array(inputs.block_at_registration, dtype=np.uint64)[given.columns]
    usable = (given.rows != given.columns) | (given.rows == inputs.owner_uid)
    usable &= np.array(inputs.last_update, dtype=np.uint64)[given.rows] > registered
    usable &= oldest_commits(inputs)[given.rows] >= registered
    return normalize_rows(given.kept(usable))


def oldest_commits(inputs: EpochInput) -> npt.NDArray[np.uint64]:
    """Per uid the block of its oldest pending commit, later than any block for none."""
    blocks = np.full(inputs.n, np.iinfo(np.uint64).max, dtype=np.uint64)
    for uid, block in inputs.pending_commits:
        blocks[uid] = block
    return blocks


def consensus_weights(weights: Sparse, stake_N: Array, kappa: int) -> Array:
    """Per column the kappa-median over the rows with stake; a missing weight counts as zero."""
    share_N = normalize(stake_N)
    return weighted_medians(weights, share_N, total(share_N) - u16_proportion(kappa))


def weights_for_bonds(weights: Sparse, clipped: Sparse, penalty: int) -> Sparse:
    """Weights moved by `penalty` of the way to what is left of them; at the end entries clipped to zero are gone."""
    if penalty == 0:
        return weights
    if penalty == ONE:
        return clipped.kept((weights.values == 0) | (clipped.values > 0))
    mixed = weights.values + mul(clipped.values - weights.values, penalty)
    order = np.argsort(weights.places)
    order = order[mixed[order] > 0]
    return Sparse(weights.n, weights.rows[order], weights.columns[order], mixed[order])


def emission_shares(
    incentive_N: Array, dividends_N: Array, active_stake_N: Array, stake_N: Array
) -> tuple[Array, Array, Array]:
    """Shares of the epoch's emission for serving, for validating and of both; by stake alone if nobody earned."""
    combined_N = incentive_N + dividends_N
    everything = total(combined_N)
    if everything:
        return div(incentive_N, everything), div(dividends_N, everything), div(combined_N, everything)
    by_stake = active_stake_N if active_stake_N.any() else stake_N
    return np.zeros_like(by_stake), by_stake, by_stake


def stored_bonds(inputs: EpochInput, bonds: Sparse, had: Sequence[bool], gets: Sequence[bool]) -> SparseRows:
    """The new rows of who gets a permit; who loses it has an empty one."""
    left = ((),) * inputs.n if inputs.clears_bonds else inputs.bonds
    return tuple(row if gets[uid] else () if had[uid] else left[uid] for uid, row in enumerate(to_rows(bonds)))


def read_cases(path: Path) -> list[tuple[EpochInput, Mapping[str, object]]]:
    """Recorded epochs: `{spec_version, cases: [{in, out}]}` with the field names of EpochInput and EpochOutput.

    Without a spec_version they are of 300. Fields of other names are left out, with a warning. An epoch whose emission
    was not recorded gets the least that explains what was paid.
    """
    cases: list[tuple[EpochInput, Mapping[str, object]]] = []
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        rules = LATER_RULES if recorded.get("spec_version", OLD_SPEC) > OLD_SPEC else {}
        for case in recorded["cases"]:
            cases.append(read_case(case["in"], case["out"], rules))
        unknown = {name for case in recorded["cases"] for name in [*case["in"], *case["out"]]} - INPUTS - OUTPUTS
    except (OSError, *IMPOSSIBLE) as error:
        problem = f"no recorded epoch after the first {len(cases)}: {type(error).__name__}: {error}"
        raise ConfigError(f"{path} holds {problem}") from error
    if unknown:
        log.warning("%s: fields left out: %s", path, ", ".join(sorted(unknown)))
    return cases


def read_case(
    given: Mapping[str, object], stored: Mapping[str, object], rules: Mapping[str, bool]
) -> tuple[EpochInput, Mapping[str, object]]:
    known = {name: as_tuple(value) for name, value in given.items() if name in INPUTS}
    paid = {name: as_tuple(value) for name, value in stored.items() if name in OUTPUTS}
    inputs = EpochInput(**{"emission_rao": WHOLE, **rules, **known})
    if "emission_rao" not in known:
        inputs = replace(inputs, emission_rao=least_emission(run_epoch(inputs), paid))
    return inputs, paid


def least_emission(shares: EpochOutput, paid: Mapping[str, Any]) -> int:
    """The least emission of which each gets at least what it was paid; any less pays somebody less."""
    names = [name for name in paid if name.endswith("emission")]
    pairs = [pair for name in names for pair in zip(paid[name], getattr(shares, name), strict=True)]
    return max((-(-amount * WHOLE // share) for amount, share in pairs if share), default=0)


def as_tuple(value: object) -> Any:
    """JSON's lists as tuples, of whole numbers alone."""
    if isinstance(value, list | tuple):
        return tuple(as_tuple(item) for item in value)
    if not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def first_difference(inputs: EpochInput, recorded: Mapping[str, object]) -> str | None:
    """Name of the first field that was recorded otherwise."""
    computed = run_epoch(inputs)
    return next((name for name, value in recorded.items() if getattr(computed, name) != as_tuple(value)), None)


def main(arguments: Sequence[str]) -> int:
    """0 when all recorded epochs agree, 1 when one does not, 2 when the file cannot be read."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m chain.yuma FILE.json\n")
        return 2
    index, wrong = -1, 0
    try:
        cases = read_cases(Path(arguments[0]))
        for index, case in enumerate(cases):
            if name := first_difference(*case):
                sys.stdout.write(f"case {index}: {name} differs\n")
                wrong += 1
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except IMPOSSIBLE as error:
        sys.stderr.write(f"{arguments[0]}: case {index} is impossible: {type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write(f"{len(cases) - wrong} of {len(cases)} recorded epochs agree\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
