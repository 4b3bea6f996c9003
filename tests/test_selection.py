"""Who is merged: what a majority of stake says, whatever a minority does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from averager.selection import approved_hotkeys
from chain.metagraph import Head, Metagraph, Neuron

KAPPA = 32767  # half of the stake
SINCE = 50


def make_neuron(uid: int, hotkey: str, stake: int, *, permit: bool) -> Neuron:
    return Neuron(
        uid=uid, hotkey=hotkey, coldkey=f"cold-{hotkey}", stake_rao=stake, incentive=0.0, dividends=0.0,
        emission_rao=0, consensus=0.0, validator_trust=0.0, permit=permit, active=True, last_update=0,
        registered_at=0,
    )  # fmt: skip


def make_metagraph(
    stakes: dict[str, int], votes: dict[str, dict[str, int]], *, updated: dict[str, int] | None = None
) -> Metagraph:
    """An owner, then validators with stake, then miners; votes and the blocks they were cast in are by name."""
    miners = ("m-a", "m-b", "m-c")
    neurons = [make_neuron(0, "owner", 0, permit=False)]
    neurons += [
        make_neuron(len(neurons) + i, name, stake, permit=True) for i, (name, stake) in enumerate(stakes.items())
    ]
    neurons += [make_neuron(len(neurons) + i, name, 0, permit=False) for i, name in enumerate(miners)]
    neurons = [replace(neuron, last_update=(updated or {}).get(neuron.hotkey, SINCE + 1)) for neuron in neurons]
    uids = {neuron.hotkey: neuron.uid for neuron in neurons}
    return Metagraph(
        netuid=1,
        head=Head(number=1, hash="0x0"),
        owner_hotkey="owner",
        tempo=10,
        kappa=KAPPA,
        commit_reveal=False,
        neurons=tuple(neurons),
        weights={uids[name]: {uids[to]: weight for to, weight in given.items()} for name, given in votes.items()},
    )


HONEST_VOTE = {"m-a": 65535, "m-b": 30000}


def test_what_the_majority_pays_is_merged_in_hotkey_order() -> None:
    metagraph = make_metagraph({"v1": 100, "v2": 100}, {"v1": HONEST_VOTE, "v2": HONEST_VOTE})
    assert approved_hotkeys(metagraph, SINCE) == ["m-a", "m-b"]


@given(st.dictionaries(st.sampled_from(["m-a", "m-b", "m-c", "owner"]), st.integers(1, 65535), max_size=4))
def test_a_minority_can_neither_add_nor_remove_anybody(vote: dict[str, int]) -> None:
    metagraph = make_metagraph({"v1": 30, "v2": 30, "bad": 40}, {"v1": HONEST_VOTE, "v2": HONEST_VOTE, "bad": vote})
    assert approved_hotkeys(metagraph, SINCE) == ["m-a", "m-b"]


def test_a_majority_of_stake_decides_not_a_majority_of_heads() -> None:
    metagraph = make_metagraph(
        {"rich": 60, "v1": 20, "v2": 20}, {"rich": {"m-c": 1}, "v1": HONEST_VOTE, "v2": HONEST_VOTE}
    )
    assert approved_hotkeys(metagraph, SINCE) == ["m-c"]


def test_the_owner_is_never_merged() -> None:
    """Burned weight goes to the owner."""
    metagraph = make_metagraph({"v1": 100, "v2": 90}, {"v1": {"owner": 65535}, "v2": {"owner": 65535, "m-a": 1000}})
    assert approved_hotkeys(metagraph, SINCE) == []


def test_weights_without_a_permit_count_for_nothing() -> None:
    metagraph = make_metagraph({"v1": 100}, {"v1": HONEST_VOTE, "m-c": {"m-c": 65535, "m-b": 65535}})
    assert approved_hotkeys(metagraph, SINCE) == ["m-a", "m-b"]


def test_a_validator_cannot_vote_for_itself() -> None:
    metagraph = make_metagraph({"v1": 900, "v2": 100}, {"v1": {"v1": 65535, "m-a": 1}, "v2": {"m-a": 1}})
    assert approved_hotkeys(metagraph, SINCE) == ["m-a"]


@pytest.mark.parametrize("votes", [{}, {"v1": {}}])
def test_without_weights_nobody_is_merged(votes: dict[str, dict[str, int]]) -> None:
    assert approved_hotkeys(make_metagraph({"v1": 100, "v2": 0}, votes), SINCE) == []


def test_without_stake_nobody_is_merged() -> None:
    assert approved_hotkeys(make_metagraph({"v1": 0}, {"v1": HONEST_VOTE}), SINCE) == []


def test_weights_of_an_earlier_round_support_nobody() -> None:
    votes = {"v1": HONEST_VOTE, "v2": HONEST_VOTE | {"m-c": 20000}}
    stakes = {"v1": 40, "v2": 60}
    assert approved_hotkeys(make_metagraph(stakes, votes, updated={"v1": SINCE}), SINCE) == ["m-a", "m-b", "m-c"]
    assert approved_hotkeys(make_metagraph(stakes, votes, updated={"v2": SINCE}), SINCE) == []


def test_weights_that_were_hidden_support_nobody() -> None:
    """With commit-reveal, weights that stand were committed in an earlier round, however new the last commit is."""
    metagraph = make_metagraph({"v1": 100, "v2": 100}, {"v1": HONEST_VOTE, "v2": HONEST_VOTE})
    assert approved_hotkeys(replace(metagraph, commit_reveal=True), SINCE) == []
