"""How long an adapter is measured: looks at common batches, planned in advance, and when a look suffices.

With k planned looks each interval is given the error alpha / k, so that all k hold together with confidence 1 - alpha
(Bonferroni): an interval is as true at the look where measuring stopped as anywhere else, however that was chosen.
Peeking at plain intervals instead errs in up to 60 % of cases where 5 % were meant.
"""

from hivetune.statistics import Estimate

FIRST_SEQUENCES = 64  # of the first look; fewer give no interval that a heavy tail would not break
WORTH = 0.005  # nats per token; an improvement that is surely smaller is none


def planned_looks(batches: int, batch_sequences: int) -> tuple[int, ...]:
    """Numbers of batches after which to look: those of the first sequences, then twice as many each time, then all."""
    looks = []
    look = -(-FIRST_SEQUENCES // batch_sequences)
    while look < batches:
        looks.append(look)
        look *= 2
    return (*looks, batches)


def confidence_at_each(confidence: float, looks: int) -> float:
    """What each of the looks' intervals must have for all of them to hold together with `confidence`."""
    return 1 - (1 - confidence) / looks


def is_decided(improvement: Estimate) -> bool:
    """Whether more batches would change no verdict. How much it improves may still be uncertain, who is better hardly:

    common batches leave the order of those who stop at the same look nearly as it is on the whole text.
    """
    return improvement.lower > 0 or improvement.upper < WORTH
