"""Weights as u16 vectors: limits that hold after rounding, hashes that the chain computes too, salts that survive."""

import json
import math
from functools import cache
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scalecodec.base import RuntimeConfigurationObject
from scalecodec.type_registry import load_type_registry_preset

from chain.devnode.pallets.weights import is_max_limited
from chain.pending import PendingReveal, PendingReveals
from chain.timelock import QUICKNET_GENESIS_S, payload, reveal_round
from chain.weights import U16_MAX, WeightRules, commit_hash, conform, encode_compact, encode_u16s, quantize
from hivetune.errors import ConfigError

UIDS = st.integers(0, 300)
SHARES = st.dictionaries(UIDS, st.floats(0, 1e6), min_size=1, max_size=80).filter(lambda w: max(w.values()) > 1e-9)
U16S = st.integers(0, U16_MAX)
VALUES = st.dictionaries(U16S, U16S, max_size=40)
LIMITS = st.integers(1, U16_MAX)


@cache
def types() -> RuntimeConfigurationObject:
    config = RuntimeConfigurationObject()
    config.update_type_registry(load_type_registry_preset("core"))
    return config


def scale(kind: str, value: Any) -> bytes:
    """As the library has it."""
    return bytes(types().create_scale_object(kind).encode(value).data)


@given(st.dictionaries(st.integers(0, 255), st.floats(1e-3, 1e3), min_size=1, max_size=50))
def test_quantized_weights_keep_their_ratios(weights: dict[int, float]) -> None:
    found = quantize(weights)
    largest = max(weights.values())
    assert max(found.values()) == U16_MAX
    assert list(found) == sorted(found)
    for uid, weight in weights.items():
        assert abs(found.get(uid, 0) - weight / largest * U16_MAX) <= 0.5 + 1e-6


@given(SHARES)
def test_quantized_weights_are_their_own_quantization(weights: dict[int, float]) -> None:
    found = quantize(weights)
    assert 0 not in found.values()
    assert quantize({uid: float(value) for uid, value in found.items()}) == found


@pytest.mark.parametrize(
    "bad", [{}, {1: 0.0}, {1: -1.0, 2: 1.0}, {1: math.nan}, {1: math.inf}, {70000: 1.0}, {-1: 1.0}]
)
@pytest.mark.parametrize("limit", [1, 10_000, 50_000, U16_MAX])
def test_impossible_weights_are_refused(bad: dict[int, float], limit: int) -> None:
    with pytest.raises(ValueError, match=r"weight|uid"):
        quantize(bad)
    with pytest.raises(ValueError, match=r"weight|uid"):
        conform(bad, count=4, fewest=1, max_limit=limit)


@settings(max_examples=150)
@given(SHARES, LIMITS)
def test_no_share_is_above_the_limit_wherever_one_can_be_kept(weights: dict[int, float], limit: int) -> None:
    found = conform(weights, count=400, fewest=0, max_limit=limit)
    named = sum(weight > 0 for weight in weights.values())
    if named * limit >= U16_MAX:
        assert is_max_limited(list(found.values()), limit)
    else:
        assert len(set(found.values())) == 1


@given(SHARES, st.integers(U16_MAX // 20, U16_MAX))
def test_what_is_below_the_limit_keeps_its_ratios(weights: dict[int, float], limit: int) -> None:
    found = conform(weights, count=400, fewest=0, max_limit=limit)
    below = [uid for uid, value in found.items() if value < U16_MAX]
    for first, second in pairwise(below):
        assert found[first] * weights[second] == pytest.approx(
            found[second] * weights[first], abs=0.51 * (weights[first] + weights[second])
        )


@given(SHARES, st.integers(1, U16_MAX))
def test_more_weight_is_never_worth_less(weights: dict[int, float], limit: int) -> None:
    found = conform(weights, count=400, fewest=0, max_limit=limit)
    for first in weights:
        for second in weights:
            if weights[first] < weights[second]:
                assert found.get(first, 0) <= found.get(second, 0)


@given(SHARES, st.integers(0, 500), st.integers(301, 400))
def test_too_few_uids_are_filled_up_with_zeros(weights: dict[int, float], fewest: int, count: int) -> None:
    found, bare = (conform(weights, count=count, fewest=least, max_limit=U16_MAX) for least in (fewest, 0))
    assert len(found) == max(len(bare), min(fewest, count))
    assert {uid: value for uid, value in found.items() if value} == bare
    assert list(found) == sorted(found)
    assert max(found) < count


@given(SHARES, LIMITS, st.integers(0, 500))
def test_conforming_twice_changes_nothing_but_rounding(weights: dict[int, float], limit: int, fewest: int) -> None:
    once = conform(weights, count=400, fewest=fewest, max_limit=limit)
    twice = conform({uid: float(value) for uid, value in once.items()}, count=400, fewest=fewest, max_limit=limit)
    assert once.keys() == twice.keys()
    assert all(abs(once[uid] - twice[uid]) <= 0.001 * U16_MAX for uid in once)


@given(st.integers(0, (1 << 30) - 1))
def test_compact_integers_are_those_of_the_library(number: int) -> None:
    assert encode_compact(number) == scale("Compact<u32>", number)


@settings(max_examples=40)
@given(st.binary(min_size=32, max_size=32), U16S, VALUES, st.lists(U16S, max_size=70), st.integers(0, (1 << 64) - 1))
def test_a_commit_is_the_hash_of_what_the_library_encodes(
    key: bytes, netuid: int, values: dict[int, int], salt: list[int], version_key: int
) -> None:
    kind = "(AccountId, u16, Vec<u16>, Vec<u16>, Vec<u16>, u64)"
    plain = scale(kind, ("0x" + key.hex(), netuid, list(values), list(values.values()), salt, version_key))
    assert commit_hash(key, netuid, values, salt, version_key) == "0x" + blake2b(plain, digest_size=32).hexdigest()
    shown = scale("(Vec<u16>, Vec<u16>, u64)", (list(values), list(values.values()), version_key))
    assert payload(values, version_key, None) == shown
    assert payload(values, version_key, key) == scale("Bytes", "0x" + key.hex()) + shown
    assert encode_u16s(salt) == scale("Vec<u16>", salt)


def rules(**changes: Any) -> WeightRules:
    """Under which {0: 1, 1: 1} may be set in the next block."""
    usual: dict[str, Any] = {
        "block": 100, "count": 4, "uid": 1, "permit": True, "last_update": 50, "weights_set": True,
        "min_allowed_weights": 1, "max_weights_limit": U16_MAX, "rate_limit": 10, "version_key": 0,
        "commit_reveal": False, "reveal_period": 1, "epoch": None, "next_epoch_block": 110, "epoch_blocks": 20,
        "commits": (), "timelocked": 0, "timelock_call": None, "timelock_version": None,
    }  # fmt: skip
    return WeightRules(**{**usual, **changes})


BROKEN = [
    ({"count": 1}, "UidsLengthExceedUidsInSubNet"),
    ({"uid": None}, "HotKeyNotRegisteredInSubNet"),
    ({"version_key": 8}, "IncorrectWeightVersionKey"),
    ({"last_update": 95}, "SettingWeightsTooFast"),
    ({"permit": False}, "NeuronNoValidatorPermit"),
    ({"min_allowed_weights": 3}, "WeightVecLengthIsLow"),
    ({"max_weights_limit": 30_000}, "MaxWeightExceeded"),
]


def test_the_first_broken_rule_is_named_in_the_order_of_the_pallet() -> None:
    values = {0: U16_MAX, 1: U16_MAX}
    assert rules().objection(values, 7) is None
    for place, (changes, name) in enumerate(BROKEN):
        assert rules(**changes).objection(values, 7) == name
        later = {key: value for more, _ in BROKEN[place + 1 :] for key, value in more.items() if key != "count"}
        assert rules(**{**later, **changes}).objection(values, 7) == name
    assert rules().objection({0: 1, 9: 1}, 7) == "UidVecContainInvalidOne"
    assert rules(last_update=95, commit_reveal=True).objection(values, 7) == "CommittingWeightsTooFast"


def test_a_weight_on_oneself_needs_no_permit_and_has_no_limits() -> None:
    assert rules(permit=False, min_allowed_weights=3, max_weights_limit=1).objection({1: 1}, 7) is None
    assert rules(permit=False).objection({0: 1}, 7) == "NeuronNoValidatorPermit"


@given(st.integers(0, 200), st.integers(0, 200))
def test_weights_are_too_fast_up_to_the_block_that_is_told(last_update: int, rate_limit: int) -> None:
    found = rules(last_update=last_update, rate_limit=rate_limit)
    too_fast = found.objection({0: 1}, 0) == "SettingWeightsTooFast"
    assert too_fast == (found.waits_until() > found.block + 1)
    assert too_fast == (last_update != 0 and found.block + 1 - last_update < rate_limit)


PENDING = st.builds(
    PendingReveal,
    netuid=U16S,
    hotkey=st.text(max_size=50),
    commit_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    values=VALUES,
    salt=st.lists(U16S, max_size=10).map(tuple),
    version_key=st.integers(0, (1 << 64) - 1),
    since=st.integers(0, 1 << 40),
)


@settings(max_examples=20)
@given(st.lists(PENDING, max_size=4, unique_by=lambda pending: pending.commit_hash))
def test_pending_reveals_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, pending: list[PendingReveal]
) -> None:
    path = tmp_path_factory.mktemp("state") / "deep" / "pending.json"
    assert PendingReveals(path).all() == []
    for one in pending:
        PendingReveals(path).add(one)
    assert PendingReveals(path).all() == pending
    for place, one in enumerate(pending):
        PendingReveals(path).remove(one.commit_hash)
        assert PendingReveals(path).all() == pending[place + 1 :]


GOOD = {"netuid": 1, "hotkey": "5", "commit_hash": "0x", "values": {"1": 1}, "salt": [1], "version_key": 0, "since": 0}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "7", "null", '"text"', "[7]", "[null]", "[[]]", "[{}]", "\ud800",
        *(json.dumps([{key: value for key, value in GOOD.items() if key != gone}]) for gone in GOOD),
        json.dumps([{**GOOD, "more": 1}]),
        json.dumps([{**GOOD, "values": {"one": 1}}]),
        json.dumps([{**GOOD, "values": [1]}]),
        json.dumps([{**GOOD, "values": {"1": None}}]),
        json.dumps([{**GOOD, "salt": "1"}]),
        json.dumps([{**GOOD, "salt": [None]}]),
        json.dumps([GOOD])[:-5],
    ],
)  # fmt: skip
def test_a_damaged_file_of_pending_reveals_stops_the_node(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pending.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match="does not hold pending reveals"):
        PendingReveals(path).all()
    assert path.exists(), "what is left of the salts is still there"


@given(st.floats(0, 4e9), st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0.1, 60))
def test_later_weights_are_locked_to_a_later_round(now_s: float, blocks: int, more: int, block_time_s: float) -> None:
    first = reveal_round(now_s=now_s, blocks=blocks, block_time_s=block_time_s)
    assert 1 <= first <= reveal_round(now_s=now_s, blocks=blocks + more, block_time_s=block_time_s)
    assert first <= reveal_round(now_s=now_s + more, blocks=blocks, block_time_s=block_time_s)
    assert QUICKNET_GENESIS_S + 3 * first <= max(now_s + blocks * block_time_s, QUICKNET_GENESIS_S + 3)
