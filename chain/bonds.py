"""Bonds of validators to miners and the dividends they pay, by the Yuma version of the subnet."""

import numpy as np

from chain.epochs import EpochInput
from chain.fixedpoint import FRACTION_BITS, ONE, U16_MAX, Array, div, exp, mul, normalize, saturate, u16_proportion
from chain.sparse import (
    Sparse,
    from_rows,
    moving_average,
    normalize_columns,
    row_products,
    scale_rows,
    seen_by_the_walk,
    upscale_columns,
    values_at,
)

MILLION = 1_000_000
CLAMP = 20 * ONE


def bonds_and_dividends(
    inputs: EpochInput, stake_N: Array, target: Sparse, consensus_N: Array, incentive_N: Array
) -> tuple[Sparse, Array]:
    """The bonds to store and each validator's share; `target` are the weights that bonds move to."""
    old = remembered_bonds(inputs)
    rate = ONE - saturate((inputs.bonds_moving_average << FRACTION_BITS) // MILLION)
    if not inputs.yuma3:
        delta = normalize_columns(scale_rows(target, stake_N))
        bonds = normalize_columns(moving_average(delta, normalize_columns(old), rate))
        return upscale_columns(bonds), normalize(row_products(bonds, incentive_N))
    old = old.with_values((old.values << FRACTION_BITS) // U16_MAX)
    if inputs.liquid_alpha and consensus_N.any():
        bonds = liquid_average(inputs, target, old, consensus_N)
    else:
        bonds = moving_average(target, old, rate)
    return bonds, normalize(mul(row_products(normalize_columns(bonds), incentive_N), stake_N))


def remembered_bonds(inputs: EpochInput) -> Sparse:
    """The stored bonds as plain u16, without those to uids that registered since the epoch before."""
    bonds = from_rows(inputs.bonds, inputs.n)
    since = inputs.last_step_block + 1 if inputs.last_step_block else inputs.block - inputs.tempo
    known = np.array([registered < since for registered in inputs.block_at_registration], dtype=np.bool_)
    return bonds.kept(known[bonds.columns])


def liquid_average(inputs: EpochInput, target: Sparse, old: Sparse, consensus_N: Array) -> Sparse:
    """A rate of its own for every pair; a pair without an entry in the weights loses its bond at once."""
    places = target.places
    old_values = values_at(old, old.values, places)
    weight = np.where(seen_by_the_walk(target), target.values, 0)
    bond = values_at(old, np.where(seen_by_the_walk(old), old.values, 0), places)
    distance = np.where(weight >= bond, weight - consensus_N[target.columns], bond - weight)
    rate = liquid_rate(inputs, np.clip(distance, 0, ONE))
    kept_of_old = mul(old_values, ONE - rate)
    bonds = target.with_values(np.minimum(kept_of_old + mul(target.values, rate), ONE))
    return bonds.kept(bonds.values > 0)


def liquid_rate(inputs: EpochInput, distance: Array) -> Array:
    """Grows as a sigmoid of the distance, between the subnet's two alpha values."""
    low, high = (u16_proportion(value) for value in inputs.alpha_values)
    steepness = (abs(inputs.steepness) << FRACTION_BITS) // 100
    exponent = mul(distance - (ONE >> 1), -steepness if inputs.steepness > 0 else steepness)
    if inputs.clamped_exponent:
        exponent = np.clip(exponent, -CLAMP, CLAMP)
    sigmoid = div(np.full_like(exponent, ONE), exp(exponent) + ONE)
    return np.maximum(low, np.minimum(high, mul(sigmoid, high - low) + low))
