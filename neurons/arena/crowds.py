"""Recipes of one hand with many hotkeys: one training, or little of it, for the pay of several."""

from dataclasses import replace

import torch

from neurons.arena.deltas import Adapter, gauged, mixed, noised
from neurons.arena.seat import Turn

_OWN_NOISE = 0.05


def split(turn: Turn) -> Adapter:
    """A part of one delta each, in other numbers each; the parts add up to the whole."""
    part = mixed(turn.weights(), [(1 / turn.seat.hotkeys, _common(turn))], turn.scale)
    return gauged(part, turn.generator())


def repeated(turn: Turn) -> Adapter:
    """The whole of it each, a little different."""
    return noised(_common(turn), turn.weights(), _OWN_NOISE, turn.generator())


def thin(turn: Turn) -> Adapter:
    """Trained by itself, with the steps of one honest miner shared among all hotkeys."""
    return turn.train(share=1 / turn.seat.hotkeys)


def by_layers(turn: Turn) -> Adapter:
    """Some layers of one training each, the others as training finds them: parts that point in no common direction."""
    whole, weights = _common(turn), turn.weights()
    mine = sorted(whole)[turn.seat.number :: turn.seat.hotkeys]
    return {
        name: layer
        if name in mine
        else replace(layer, up_OR=torch.zeros_like(layer.up_OR), magnitude_O=weights[name].norm(dim=1))
        for name, layer in whole.items()
    }


def one_step(turn: Turn) -> Adapter:
    """Trained by itself, a single step: so many small deltas that the round's median norm is theirs."""
    return turn.train(share=1 / turn.seat.steps)


def _common(turn: Turn) -> Adapter:
    return turn.seat.board.once((turn.seat.strategy, turn.round_id), turn.train)
