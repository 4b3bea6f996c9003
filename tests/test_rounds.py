"""Rounds and phases partition the blocks."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hivetune.records import RoundPlan
from hivetune.rounds import Phase, check_plan, round_at, round_by_id
from tests.conftest import make_plan

ORDER = list(Phase)


@st.composite
def plans(draw: st.DrawFn) -> RoundPlan:
    deadline = draw(st.integers(1, 30))
    reveal_end = deadline + 1 + draw(st.integers(1, 30))
    score_end = reveal_end + draw(st.integers(1, 30))
    blocks = score_end + 1 + draw(st.integers(1, 30))
    return RoundPlan(
        first_block=draw(st.integers(0, 1000)), blocks_per_round=blocks, deadline=deadline, reveal_end=reveal_end,
        score_end=score_end,
    )  # fmt: skip


@given(plans(), st.integers(0, 3))
def test_every_block_is_in_one_round_and_one_phase_in_order(plan: RoundPlan, round_id: int) -> None:
    check_plan(plan)
    now = round_by_id(plan, round_id)
    phases = []
    for block in range(now.first_block, now.last_block + 1):
        assert round_at(plan, block) == now
        phases.append(now.phase(block))
    assert sorted(phases, key=ORDER.index) == phases
    assert set(phases) == set(Phase)
    assert now.last_block + 1 == round_by_id(plan, round_id + 1).first_block


@given(plans(), st.integers(0, 5000))
def test_the_round_of_a_block_holds_it(plan: RoundPlan, block: int) -> None:
    now = round_at(plan, block)
    if now is None:
        assert block < plan.first_block
    else:
        assert now.first_block <= block <= now.last_block
        assert now.round_id >= 0


def test_the_offsets_count_from_the_first_block() -> None:
    now = round_by_id(make_plan(), 2)
    assert (now.first_block, now.deadline, now.beacon_block) == (140, 148, 149)
    assert (now.reveal_end, now.score_end, now.last_block) == (152, 156, 159)
    assert [now.phase(block) for block in (140, 148, 149, 152, 153, 156, 157, 159)] == [
        Phase.TRAIN, Phase.TRAIN, Phase.REVEAL, Phase.REVEAL, Phase.SCORE, Phase.SCORE, Phase.MERGE, Phase.MERGE,
    ]  # fmt: skip


@given(plans())
def test_the_beacon_is_made_after_the_deadline_and_inside_the_reveal(plan: RoundPlan) -> None:
    now = round_by_id(plan, 0)
    assert now.deadline < now.beacon_block < now.reveal_end


@given(st.tuples(*[st.integers(1, 30)] * 4))
def test_a_plan_is_refused_exactly_when_a_phase_is_empty_or_out_of_order(numbers: tuple[int, int, int, int]) -> None:
    deadline, reveal_end, score_end, blocks = numbers
    plan = make_plan(deadline=deadline, reveal_end=reveal_end, score_end=score_end, blocks_per_round=blocks)
    good = deadline + 1 < reveal_end < score_end < blocks - 1
    assume(not good)
    with pytest.raises(ValueError, match="want deadline"):
        check_plan(plan)


def test_there_is_no_round_before_round_zero() -> None:
    plan = make_plan()
    assert round_at(plan, 99) is None
    first = round_at(plan, 100)
    assert first is not None
    assert first.round_id == 0
