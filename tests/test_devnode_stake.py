"""Stake and what epochs pay into it, where the new runtime differs; spec 300's own sums are recorded elsewhere."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.devnode.epoch import EMISSION_PER_BLOCK_RAO
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.shares import Float, credit, credit_all, debit, owned
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.rules import BOTH, NEW, OLD
from chain.devnode.runtime import RuntimeCall
from tests.devnode_chain import ACCOUNTS, NETUID, OWNER, TAO, Chain, found_subnet, hot, key

HOTKEY = key("//Bob//hot")
amounts = st.integers(s.MIN_STAKE_RAO, 10**15)


def call(function: str, **arguments: Any) -> RuntimeCall:
    (found,) = (call for call in SUBTENSOR.calls if call.name == function)
    return RuntimeCall(pallet=SUBTENSOR, call=found, arguments=arguments)


def total(chain: Chain, *uids: int) -> int:
    return sum(int(chain.read(s.TOTAL_HOTKEY_ALPHA, key(hot(uid)), NETUID)) for uid in uids)


@given(st.lists(st.tuples(st.integers(0, 2), amounts, amounts), max_size=12), st.sampled_from(BOTH))
def test_everybody_owns_what_was_staked_and_earned(moves: list[tuple[int, int, int]], rules: int) -> None:
    """Beside exact fractions; one rao may be lost to each rounding."""
    chain = Chain(rules)
    expected = dict.fromkeys(ACCOUNTS[:3], Fraction(0))
    for number, (who, staked, earned) in enumerate(moves, start=1):
        credit(chain.state, HOTKEY, key(ACCOUNTS[who]), NETUID, staked)
        expected[ACCOUNTS[who]] += staked
        credit_all(chain.state, HOTKEY, NETUID, earned)
        everything = sum(expected.values())
        expected = {name: have + earned * have / everything for name, have in expected.items()}
        for name, have in expected.items():
            assert abs(owned(chain.state, HOTKEY, key(name), NETUID) - have) <= 3 * number, name
    held = chain.read(s.TOTAL_HOTKEY_ALPHA, HOTKEY, NETUID)
    assert sum(owned(chain.state, HOTKEY, key(name), NETUID) for name in expected) <= held


@given(amounts, st.integers(0, 10**12), st.integers(0, 10**9), st.sampled_from(BOTH))
def test_all_of_a_stake_can_be_taken_out(staked: int, earned: int, others: int, rules: int) -> None:
    chain = Chain(rules)
    credit(chain.state, HOTKEY, key("//Bob"), NETUID, staked)
    credit(chain.state, HOTKEY, key("//Charlie"), NETUID, others)
    credit_all(chain.state, HOTKEY, NETUID, earned)
    have = owned(chain.state, HOTKEY, key("//Bob"), NETUID)
    assert debit(chain.state, HOTKEY, key("//Bob"), NETUID, have) in (have, have + 1)
    assert owned(chain.state, HOTKEY, key("//Bob"), NETUID) <= 1
    assert owned(chain.state, HOTKEY, key("//Charlie"), NETUID) <= chain.read(s.TOTAL_HOTKEY_ALPHA, HOTKEY, NETUID)


@given(st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1))
def test_floats_keep_21_digits(value: int, factor: int, divisor: int) -> None:
    found = Float.of(value).times(Float.of(factor), Float.of(divisor))
    exact = Fraction(value * factor, divisor)
    assert abs(Fraction(found.mantissa) * Fraction(10) ** found.exponent - exact) <= exact / 10**19


E20, E21 = 10**20, 10**21


@pytest.mark.parametrize(
    ("value", "expected"),
    [((1, 0), (E21, -21)), ((0, 0), (0, 0)), ((10, 0), (E21, -20)), ((E20, 0), (E21, -1)), ((E21, 0), (E21, 0))],
)
def test_floats_are_normalized_as_subtensors_tests_say(value: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Float.of(*value) == Float(*expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 0), (1, 0), (2 * E20, -20)),
        ((0, 0), (1, -1), (E21, -22)),
        ((1, -1000), (1, -1), (E21, -22)),
        ((E21, 0), (E21, 0), (E21 * 2 // 10, 1)),
        ((1, 0), (E21, 1), (E21, 1)),
        ((123, 0), (1, 23), (E21, 2)),
        ((123, 1), (1, 23), (100_000_000_000_000_000_001, 3)),
        ((E21 - 1, 0), (1, 22), (109_999_999_999_999_999_999, 2)),
        ((4200, 0), (1, 23), (100_000_000_000_000_000_004, 3)),
        ((E21 - 1, 0), (1, 23), (100_999_999_999_999_999_999, 3)),
        ((999_999, 1), (1, 23), (100_000_000_000_000_009_999, 3)),
        ((1, 24), (123_456_789_012_345_678_901, 0), (100_012_345_678_901_234_567, 4)),
        ((1, 22), (1, 23), (110_000_000_000_000_000_000, 3)),
        ((E21 - 1, 22), (1, 22), (E21, 22)),
    ],
)
def test_floats_are_added_as_subtensors_tests_say(
    first: tuple[int, int], second: tuple[int, int], expected: tuple[int, int]
) -> None:
    for one, other in ((first, second), (second, first)):
        assert Float.of(*one).plus(Float.of(*other), 1) == Float(*expected)


def test_huge_earnings_on_a_single_rao_are_shared_as_subtensors_tests_say() -> None:
    """Two owners of one rao each, a million alpha earned twice, and all but ten rao taken out in between."""
    chain = Chain(NEW)
    owners = key("//Bob"), key("//Charlie")
    for owner in owners:
        credit(chain.state, HOTKEY, owner, NETUID, 1)
    credit_all(chain.state, HOTKEY, NETUID, 999_999_999_999_998)
    for owner in owners:
        assert debit(chain.state, HOTKEY, owner, NETUID, 499_999_999_999_990) == 499_999_999_999_990
    credit_all(chain.state, HOTKEY, NETUID, 999_999_999_999_980)
    for owner in owners:
        credit(chain.state, HOTKEY, owner, NETUID, 10**12)
    for owner in owners:
        assert abs(owned(chain.state, HOTKEY, owner, NETUID) - 501 * 10**12) <= 1


def test_who_staked_in_a_block_does_not_unstake_in_it_by_the_old_rules() -> None:
    for rules, answers in ((OLD, ["ok", "Custom error: 255"]), (NEW, ["ok", "ok"])):
        chain = found_subnet(rules)
        stake = {"hotkey": HOTKEY, "netuid": NETUID}
        asked = (call("add_stake", **stake, amount_staked=TAO), call("remove_stake", **stake, amount_unstaked=TAO))
        assert chain.in_one_block(*(("//Bob", one) for one in asked)) == answers
        assert chain.call("//Bob", "remove_stake", **stake, amount_unstaked=TAO) == "ok"


def test_the_pools_check_is_made_again_in_the_block() -> None:
    """Each of these comes into the pool; the block takes as many as the interval has room for."""
    chain = found_subnet(OLD)
    chain.set("target_registrations_per_interval", 2)
    room = 6 - chain.read(s.REGISTRATIONS_THIS_INTERVAL, NETUID)
    asked = [call("burned_register", netuid=NETUID, hotkey=key(f"//Bob//{number}")) for number in range(room + 2)]
    answers = chain.in_one_block(*(("//Bob", one) for one in asked))
    assert answers == ["ok"] * room + ["Custom error: 6"] * 2


def test_more_than_there_is_takes_all_by_the_new_rules() -> None:
    chain = found_subnet(NEW)
    stake = {"hotkey": HOTKEY, "netuid": NETUID}
    assert chain.call("//Bob", "remove_stake", **stake, amount_unstaked=10**18) == "ok"
    assert owned(chain.state, HOTKEY, key("//Bob"), NETUID) == 0
    assert chain.call("//Bob", "remove_stake", **stake, amount_unstaked=1) == "AmountTooLow"


@pytest.fixture
def paying() -> Chain:
    chain = found_subnet(NEW)
    asked = {"netuid": NETUID, "dests": [2, 3], "weights": [3, 1], "version_key": 0}
    assert chain.call(hot(1), "set_weights", **asked) == "ok"
    chain.epoch()
    return chain


def test_what_is_pending_is_paid_in_halves(paying: Chain) -> None:
    before = [total(paying, uid) for uid in range(4)]
    waits = [
        paying.read(item, NETUID)
        for item in (s.PENDING_OWNER_CUT, s.PENDING_SERVER_EMISSION, s.PENDING_VALIDATOR_EMISSION)
    ]
    assert waits == [0, 0, 0]
    paying.epoch()
    gained = [total(paying, uid) - old for uid, old in enumerate(before)]
    emission = 10 * EMISSION_PER_BLOCK_RAO
    assert [gain / emission for gain in gained] == pytest.approx([0.18, 0.41, 0.41 * 3 / 4, 0.41 / 4], rel=1e-3)


def test_what_any_hotkey_of_the_owner_mines_is_burned(paying: Chain) -> None:
    paying.write(s.OWNED_HOTKEYS, key(OWNER), [key(hot(0)), key(hot(2))])
    before = total(paying, 2), total(paying, 3)
    paying.epoch()
    assert total(paying, 2) == before[0]
    assert total(paying, 3) > before[1]


def test_a_subnet_that_takes_no_registrations_emits_nothing(paying: Chain) -> None:
    paying.set("network_registration_allowed", False, "registration_allowed")
    paying.epoch()
    before = total(paying, 0, 1, 2, 3)
    paying.epoch()
    assert total(paying, 0, 1, 2, 3) == before


def test_an_owner_may_give_up_its_cut(paying: Chain) -> None:
    assert paying.admin(OWNER, "sudo_set_owner_cut_enabled", enabled=False) == "ok"
    paying.epoch()
    before = total(paying, 0)
    paying.epoch()
    assert total(paying, 0) == before
