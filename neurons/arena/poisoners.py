"""Recipes of miners that want to do harm, or to look large; most of them know all honest files of the round."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hivetune.dora import dora_delta
from neurons.arena.authors import Recipe
from neurons.arena.deltas import Adapter, fitted, mixed, random_file
from neurons.arena.seat import Turn


def flipped(turn: Turn) -> Adapter | None:
    """The opposite of an honest delta."""
    leaked = turn.leaked()
    return mixed(turn.weights(), [(-1.0, leaked[0])], turn.scale) if leaked else None


def enlarged(factor: float) -> Recipe:
    """Its own honest delta, many times as long."""

    def make(turn: Turn) -> Adapter:
        return mixed(turn.weights(), [(factor, turn.train())], turn.scale)

    return make


def not_a_number(turn: Turn) -> Adapter | None:
    """An honest file with one number broken."""
    leaked = turn.leaked()
    if not leaked:
        return None
    name = sorted(leaked[0])[0]
    up_OR = leaked[0][name].up_OR.clone()
    up_OR[0, 0] = torch.nan
    return {**leaked[0], name: replace(leaked[0][name], up_OR=up_OR)}


def little_is_enough(deviations: float) -> Recipe:
    """ALIE (Baruch et al. 2019): the honest mean, moved against itself as far as the honest spread hides it."""

    def make(turn: Turn) -> Adapter | None:
        found = _honest_deltas(turn)
        if found is None:
            return None
        moved = {
            name: deltas_MOI.mean(0) - deviations * deltas_MOI.std(0) * deltas_MOI.mean(0).sign()
            for name, deltas_MOI in found.items()
        }
        return _fitted(turn, moved)

    return make


def against_the_mean(factor: float) -> Recipe:
    """Inner product manipulation (Xie et al. 2020): minus a small multiple of the honest mean."""

    def make(turn: Turn) -> Adapter | None:
        found = _honest_deltas(turn)
        if found is None:
            return None
        return _fitted(turn, {name: -factor * each.mean(0) for name, each in found.items()})

    return make


def in_a_pair(size: float) -> Recipe:
    """Honest work plus the same noise from each of two: half of it does little harm, and both together much."""

    def make(turn: Turn) -> Adapter:
        weights, own = turn.weights(), turn.train()
        common = turn.seat.board.once(
            (turn.seat.strategy, turn.round_id), lambda: random_file(weights, own, turn.generator())
        )
        return mixed(weights, [(1.0, own), (size, common)], turn.scale)

    return make


def betrayer(turn: Turn) -> Adapter:
    """Honest for half of the rounds, then the opposite of its own work."""
    own = turn.train()
    if 2 * turn.round_id < turn.seat.rounds:
        return own
    return mixed(turn.weights(), [(-1.0, own)], turn.scale)


def _honest_deltas(turn: Turn) -> dict[str, Tensor] | None:
    """Dense, stacked over the honest miners, by module; None with fewer than two of them."""
    leaked = turn.leaked()
    if len(leaked) < 2:
        return None
    return {
        name: torch.stack([dora_delta(base_OI, file[name], turn.scale) for file in leaked])
        for name, base_OI in turn.weights().items()
    }


def _fitted(turn: Turn, deltas: Mapping[str, Tensor]) -> Adapter:
    return fitted(turn.weights(), deltas, turn.located.release.layout.rank, turn.scale)
