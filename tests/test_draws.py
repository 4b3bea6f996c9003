"""Public draws: permutations, disjoint shards, stratified text, and golden values that no refactor may change."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivetune.draws import assign_shard, clustered, draw_sequences, permutation
from hivetune.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden" / "draws.json"
SEEDS = st.text(max_size=20)
DOMAINS = ["prose", "code", "tables", "code", "prose", "prose", "prose", "code", "tables", "prose"]
DOCUMENTS = [0, 1, 2, 1, 0, 3, 3, 4, 2, 0]


def golden_now() -> dict[str, object]:
    """Every golden value, from the code as it is."""
    return {
        "permutation": permutation("seed", 12),
        "shards": [assign_shard("ab" * 32, 3, uid, 8) for uid in range(10)],
        "sequences": draw_sequences("0x" + "cd" * 32, DOMAINS, DOCUMENTS, [4, 3, 2]),
        "batches": clustered([4, 1, 0, 5, 6, 9, 3], DOCUMENTS, 2),
    }


def test_draws_are_those_of_the_protocol() -> None:
    assert json.loads(GOLDEN.read_text()) == golden_now()


@given(SEEDS, st.integers(0, 60))
def test_a_permutation_holds_every_number_once(seed: str, count: int) -> None:
    order = permutation(seed, count)
    assert sorted(order) == list(range(count))
    assert order == permutation(seed, count)


def test_seeds_give_different_orders_and_every_number_comes_first_sometimes() -> None:
    firsts = Counter(permutation(str(seed), 5)[0] for seed in range(500))
    assert set(firsts) == set(range(5))
    assert max(firsts.values()) < 2 * min(firsts.values())


@given(SEEDS, st.integers(0, 1000), st.integers(1, 40))
def test_shards_are_disjoint_for_uids_below_their_number(release: str, round_id: int, num_shards: int) -> None:
    shards = [assign_shard(release, round_id, uid, num_shards) for uid in range(num_shards)]
    assert sorted(shards) == list(range(num_shards))
    assert assign_shard(release, round_id, num_shards, num_shards) == shards[0]


def test_shards_change_with_the_round_and_with_the_release() -> None:
    def shards(release: str, round_id: int) -> list[int]:
        return [assign_shard(release, round_id, uid, 16) for uid in range(16)]

    assert shards("a", 1) != shards("a", 2) != shards("b", 2)


@settings(max_examples=200)
@given(SEEDS, st.lists(st.sampled_from("abcd"), max_size=50), st.lists(st.integers(0, 15), max_size=4))
def test_draws_are_disjoint_stratified_and_repeatable(beacon: str, domains: list[str], counts: list[int]) -> None:
    if sum(counts) > len(domains):
        with pytest.raises(ConfigError, match=f"{len(domains)} rows"):
            draw_sequences(beacon, domains, range(len(domains)), counts)
        return
    draws = draw_sequences(beacon, domains, range(len(domains)), counts)
    assert draws == draw_sequences(beacon, domains, range(len(domains)), counts)
    assert [len(draw) for draw in draws] == counts
    drawn = [row for draw in draws for row in draw]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(range(len(domains)))


@given(SEEDS, st.integers(1, 5), st.lists(st.integers(0, 8), min_size=1, max_size=3))
def test_every_domain_is_drawn_equally_often_up_to_one(beacon: str, kinds: int, counts: list[int]) -> None:
    domains = [f"domain-{row % kinds}" for row in range(24 * kinds)]
    for draw in draw_sequences(beacon, domains, range(len(domains)), counts):
        often = Counter(domains[row] for row in draw)
        found = [often[f"domain-{kind}"] for kind in range(kinds)]
        assert max(found) - min(found) <= 1


def test_a_small_domain_runs_out_without_leaving_a_gap() -> None:
    draws = draw_sequences("beacon", ["big"] * 9 + ["small"], range(10), [10])
    assert sorted(draws[0]) == list(range(10))


def test_a_later_draw_does_not_change_an_earlier_one() -> None:
    assert draw_sequences("b", DOMAINS, DOCUMENTS, [4])[0] == draw_sequences("b", DOMAINS, DOCUMENTS, [4, 3, 2])[0]


ROWS = st.lists(st.integers(0, 6), max_size=40)  # the document of every row


@given(SEEDS, ROWS, st.data())
def test_no_document_is_drawn_twice_before_all_of_its_domain_are_drawn_once(
    beacon: str, documents: list[int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(documents)))
    (drawn,) = draw_sequences(beacon, ["one"] * len(documents), documents, [count])
    often = Counter(documents[row] for row in drawn)
    for document, total in Counter(documents).items():
        assert often[document] >= min(total, max(often.values(), default=0) - 1)


@given(ROWS, st.integers(1, 5))
def test_rows_of_one_document_share_a_batch(documents: list[int], size: int) -> None:
    batches = clustered(range(len(documents)), documents, size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(documents)))
    assert all(0 < len(batch) <= size for batch in batches)
    for document, total in Counter(documents).items():
        found = [batch for batch in batches if any(documents[row] == document for row in batch)]
        assert len(found) == -(-total // size)


def test_batches_of_single_rows_are_those_of_the_draw() -> None:
    assert clustered([5, 3, 8, 1, 7], range(10), 2) == [[5, 3], [8, 1], [7]]
