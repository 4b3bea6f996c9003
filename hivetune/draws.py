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


def draw_sequences(beacon: str, domains: Sequence[str], counts: Sequence[int]) -> list[list[int]]:
    """Disjoint draws of rows, each stratified by domain, from one beacon.

    `domains[i]` is the domain of row i. Domains take turns in an order drawn by the beacon, rows within a domain
    likewise, so each draw holds every domain about equally often. ConfigError when there are too few rows.
    """
    if sum(counts) > len(domains):
        raise ConfigError(f"evaluation text has {len(domains)} rows, a round draws {sum(counts)}")
    rows: dict[str, list[int]] = {}
    for row in permutation(f"rows:{beacon}", len(domains)):
        rows.setdefault(domains[row], []).append(row)
    turns = [rows[name] for name in sorted(rows, key=lambda n: hashlib.sha256(f"{beacon}:{n}".encode()).digest())]
    dealt = [row for turn in zip_longest(*turns) for row in turn if row is not None]
    draws, start = [], 0
    for count in counts:
        draws.append(dealt[start : start + count])
        start += count
    return draws
