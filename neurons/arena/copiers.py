"""Recipes of miners that hold an honest miner's file before the deadline, and send it as theirs."""

from neurons.arena.authors import Recipe
from neurons.arena.deltas import Adapter, gauged, mixed, noised
from neurons.arena.seat import Turn

_SHORT = 0.1  # of a full round's steps


def restamped(turn: Turn) -> Adapter | None:
    """The victim's numbers under another name."""
    return victim(turn)


def with_noise(size: float) -> Recipe:
    """The victim's numbers, each a little off."""

    def make(turn: Turn) -> Adapter | None:
        file = victim(turn)
        return file and noised(file, turn.weights(), size, turn.generator())

    return make


def rescaled(factor: float) -> Recipe:
    """The victim's delta, shorter or longer."""

    def make(turn: Turn) -> Adapter | None:
        file = victim(turn)
        return file and mixed(turn.weights(), [(factor, file)], turn.scale)

    return make


def turned(turn: Turn) -> Adapter | None:
    """Other factors with the victim's delta."""
    file = victim(turn)
    return file and gauged(file, turn.generator())


def trained_on(turn: Turn) -> Adapter | None:
    """The victim's file after a few steps on the copier's own shard."""
    file = victim(turn)
    return file and turn.train(share=_SHORT, start=file)


def trained_on_last(turn: Turn) -> Adapter | None:
    """The same with what the victim revealed in the round before, for which nobody has to leak."""
    file = victim(turn, back=1)
    return file and turn.train(share=_SHORT, start=file)


def averaged(turn: Turn) -> Adapter | None:
    """The mean of two victims' deltas, as well as the rank allows."""
    leaked, first = turn.leaked(), turn.seat.uid
    if len(leaked) < 2:
        return None
    pair = [(0.5, leaked[uid % len(leaked)]) for uid in (first, first + 1)]
    return mixed(turn.weights(), pair, turn.scale)


def victim(turn: Turn, *, back: int = 0) -> Adapter | None:
    """Copiers choose by their uids, so that they do not all rob the same."""
    leaked = turn.leaked(back=back)
    return leaked[turn.seat.uid % len(leaked)] if leaked else None
