"""Time: block heights to rounds and phases, as pure functions of the plan that stands in the release."""

from dataclasses import dataclass
from enum import StrEnum

from hivetune.records import RoundPlan


class Phase(StrEnum):
    """What a round is doing at a block."""

    TRAIN = "train"
    REVEAL = "reveal"
    SCORE = "score"
    MERGE = "merge"


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One round's blocks, all absolute heights."""

    round_id: int
    first_block: int
    deadline: int  # last block in which a commitment counts
    beacon_block: int  # its hash seeds every draw of the round
    reveal_end: int
    score_end: int
    last_block: int

    def phase(self, block: int) -> Phase:
        """The phase at a block of this round."""
        if block <= self.deadline:
            return Phase.TRAIN
        if block <= self.reveal_end:
            return Phase.REVEAL
        return Phase.SCORE if block <= self.score_end else Phase.MERGE


def round_at(plan: RoundPlan, block: int) -> Round | None:
    """The round a block belongs to; None before round 0."""
    if block < plan.first_block:
        return None
    return round_by_id(plan, (block - plan.first_block) // plan.blocks_per_round)


def round_by_id(plan: RoundPlan, round_id: int) -> Round:
    """The blocks of a round."""
    first = plan.first_block + round_id * plan.blocks_per_round
    return Round(
        round_id=round_id,
        first_block=first,
        deadline=first + plan.deadline,
        beacon_block=first + plan.deadline + 1,
        reveal_end=first + plan.reveal_end,
        score_end=first + plan.score_end,
        last_block=first + plan.blocks_per_round - 1,
    )


def check_plan(plan: RoundPlan) -> None:
    """ValueError unless the phases stand in order inside the round, each with at least one block."""
    if not plan.deadline + 1 < plan.reveal_end < plan.score_end < plan.blocks_per_round - 1:
        raise ValueError(
            f"round of {plan.blocks_per_round} blocks: want deadline + 1 < reveal_end < score_end < last block, "
            f"got {plan.deadline}, {plan.reveal_end}, {plan.score_end}"
        )
