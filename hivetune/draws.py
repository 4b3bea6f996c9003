"""Public randomness: every draw is the order of keyed hashes, so any node and any language repeats it."""

import hashlib
from collections.abc import Sequence
from itertools import zip_longest

from hivetune.errors import ConfigError


def permutation(seed: str, count: int) -> list[int]:
    """The numbers below `count`, ordered by SHA-256 of seed and number."""
    return sorted(range(count), key=lambda index: hashlib.sha256(f"{seed}:{index}".encode()).digest())


def assign_shard(release_sha256: str, round_id: int, uid: int, num_shards: int) -> int:
    """The shard of a registered neuron in a round.

    Neurons have distinct uids, so shards are disjoint as long as uids stay below `num_shards`; above, they wrap.
    """
    order = permutation(f"shard:{release_sha256}:{round_id}", num_shards)
    return order[uid % num_shards]


def draw_sequences(
    beacon: str, domains: Sequence[str], documents: Sequence[int], counts: Sequence[int]
) -> list[list[int]]:
    """Disjoint draws of rows, each stratified by domain, from one beacon.

    `domains[i]` and `documents[i]` are those of row i. Domains take turns in an order drawn by the beacon, documents
    within a domain and rows within a document likewise, so each draw holds every domain about equally often, and
    every document once before any twice. ConfigError when there are too few rows.
    """
    if sum(counts) > len(domains):
        raise ConfigError(f"evaluation text has {len(domains)} rows, a round draws {sum(counts)}")
    rows: dict[str, dict[int, list[int]]] = {}
    for row in permutation(f"rows:{beacon}", len(domains)):
        rows.setdefault(domains[row], {}).setdefault(documents[row], []).append(row)
    turns = sorted(rows, key=lambda name: hashlib.sha256(f"{beacon}:{name}".encode()).digest())
    dealt = _in_turn([_in_turn(list(rows[name].values())) for name in turns])
    draws, start = [], 0
    for count in counts:
        draws.append(dealt[start : start + count])
        start += count
    return draws


def clustered(drawn: Sequence[int], documents: Sequence[int], size: int) -> list[list[int]]:
    """Drawn rows in batches of at most `size`, in order, those of one document in one batch.

    Rows of one document are alike, so batches, and not rows, are independent of each other. A document with more
    than `size` rows in the draw fills batches of its own.
    """
    together: dict[int, list[int]] = {}
    for row in drawn:
        together.setdefault(documents[row], []).append(row)
    batches: list[list[int]] = [[]]
    for rows in together.values():
        for start in range(0, len(rows), size):
            piece = rows[start : start + size]
            if len(batches[-1]) + len(piece) > size:
                batches.append([])
            batches[-1] += piece
    return [batch for batch in batches if batch]


def _in_turn(piles: Sequence[Sequence[int]]) -> list[int]:
    """The first of each pile, then the second of each, past piles that have run out."""
    return [row for turn in zip_longest(*piles) for row in turn if row is not None]
