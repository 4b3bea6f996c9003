"""Recipes of miners that do not train, or not on what they should."""

from dataclasses import replace

import torch

from hivetune.dora import Factors
from hivetune.draws import draw_sequences
from neurons.arena.authors import Recipe
from neurons.arena.deltas import Adapter, random_file
from neurons.arena.seat import Turn


def zero(turn: Turn) -> Adapter:
    """Exactly what training starts from: B = 0 and the base's own row norms."""
    return _random(turn, 0.0)


def almost_zero(turn: Turn) -> Adapter:
    """The same with a hair of noise, enough to pass for a delta."""
    return _random(turn, 1e-4)


def garbage(turn: Turn) -> Adapter:
    """Random factors behind a magnitude vector that is the base's, to the last bit."""
    return _random(turn, 0.03)


def noise(turn: Turn) -> Adapter | None:
    """Random factors as large as an honest file's."""
    leaked = turn.leaked()
    return random_file(turn.weights(), leaked[0], turn.generator()) if leaked else None


def stale(turn: Turn) -> Adapter:
    """Trains in every second round, and sends that again in the next one under the new round's name."""
    return _trained_in(turn, turn.round_id - turn.round_id % 2)


def replayed(period: int) -> Recipe:
    """Trains for so many rounds, then sends it all again and again."""

    def make(turn: Turn) -> Adapter:
        return _trained_in(turn, turn.round_id % period)

    return make


def shuffled(turn: Turn) -> Adapter:
    """Trained on its shard with the tokens in random order: the norm and the work of training, and no use."""
    sequences_NT = turn.shard()
    order = torch.randperm(sequences_NT.numel(), generator=turn.generator())
    return turn.train(sequences_NT.flatten()[order].view_as(sequences_NT))


def last_text(turn: Turn) -> Adapter:
    """Trained on the very rows that validators drew in the round before; on its shard while it knows of none."""
    drawn = turn.seat.board.drawn.get(turn.round_id - 1)
    if drawn is None:
        return turn.train()
    rows = turn.rows("evaluation")
    return turn.train(turn.sequences([rows[index] for index in drawn]))


def evaluation_file(turn: Turn) -> Adapter:
    """Trained on all text that a beacon could draw."""
    return turn.train(turn.sequences(turn.rows("evaluation")))


def forewarned(turn: Turn) -> Adapter:
    """Trained on the rows that this round's beacon would draw if it were the hash of the newest block.

    That is all that a validator can leak before the deadline: the block of the beacon comes after it.
    """
    rows = turn.rows("evaluation")
    count = turn.located.release.scoring.score_sequences
    domains, documents = [row.domain for row in rows], [row.document for row in rows]
    (drawn,) = draw_sequences(turn.seat.ledger.head().hash, domains, documents, [count])
    return turn.train(turn.sequences([rows[index] for index in drawn]))


def _trained_in(turn: Turn, round_id: int) -> Adapter:
    """What this hotkey trained in a round before, or trains in this one."""
    return turn.seat.board.once((turn.seat.name, round_id), turn.train)


def _random(turn: Turn, size: float) -> Adapter:
    """What training starts from, with random B."""
    generator, rank = turn.generator(), turn.located.release.layout.rank
    untrained = {
        name: Factors(
            down_RI=torch.randn(rank, base_OI.shape[1], generator=generator) / base_OI.shape[1] ** 0.5,
            up_OR=torch.zeros(base_OI.shape[0], rank),
            magnitude_O=base_OI.norm(dim=1),
        )
        for name, base_OI in turn.weights().items()
    }
    return {
        name: replace(layer, up_OR=size * torch.randn(layer.up_OR.shape, generator=generator))
        for name, layer in untrained.items()
    }
