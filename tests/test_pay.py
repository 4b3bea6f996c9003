"""Pay over rounds: a mean of shares that follows the registration and never outlives the work."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivetune.records import Receipt
from tests.test_receipt_check import entry, receipt
from validator.pay import Earlier, average_shares

HOTKEYS = ("5Alice", "5Bob", "5Carol", "5Dave")
SHARES = st.dictionaries(st.sampled_from(HOTKEYS), st.floats(0.01, 1))
BLOCKS = st.fixed_dictionaries({hotkey: st.integers(0, 60) for hotkey in HOTKEYS})


def told(shares: dict[str, float]) -> Receipt:
    return receipt(entries=tuple(entry(hotkey, share=share, weight=share) for hotkey, share in shares.items()))


def rounds(*shares: dict[str, float]) -> list[Earlier]:
    """The newest first; round n before has its deadline at block 60 - 20 n."""
    return [Earlier(deadline=60 - 20 * back, receipt=told(one)) for back, one in enumerate(shares, start=1)]


@given(SHARES, BLOCKS, st.lists(SHARES, max_size=3))
def test_weights_are_the_means_of_a_plain_count(
    shares: dict[str, float], registered_at: dict[str, int], before: list[dict[str, float]]
) -> None:
    means = {}
    for hotkey, share in shares.items():
        counted = [Fraction(share)]
        for back, one in enumerate(before, start=1):
            if one and registered_at[hotkey] <= 60 - 20 * back:
                counted.append(Fraction(one.get(hotkey, 0)))
        means[hotkey] = sum(counted, Fraction(0)) / len(counted)
    found = average_shares(shares, registered_at, rounds(*before))
    assert found == pytest.approx({hotkey: float(mean / sum(means.values())) for hotkey, mean in means.items()})


@given(SHARES, BLOCKS)
def test_without_earlier_rounds_a_weight_is_a_share(shares: dict[str, float], registered_at: dict[str, int]) -> None:
    total = sum(shares.values())
    assert average_shares(shares, registered_at, []) == pytest.approx({h: s / total for h, s in shares.items()})


def test_a_reputation_pays_nobody_who_is_not_paid_now() -> None:
    assert average_shares({"5Bob": 1.0}, {"5Bob": 0}, rounds({"5Alice": 1.0})) == {"5Bob": 1.0}
    assert average_shares({}, {}, rounds({"5Alice": 1.0})) == {}


def test_a_hotkey_that_registers_anew_starts_anew() -> None:
    now, before = {"5Alice": 0.5, "5Bob": 0.5}, rounds({"5Alice": 0.8, "5Bob": 0.2})
    assert average_shares(now, {"5Alice": 0, "5Bob": 0}, before) == pytest.approx({"5Alice": 0.65, "5Bob": 0.35})
    anew = average_shares(now, {"5Alice": 50, "5Bob": 0}, before)
    assert anew == pytest.approx({"5Alice": 0.5 / 0.85, "5Bob": 0.35 / 0.85})


def test_absence_counts_as_nothing_and_a_round_that_paid_nobody_not_at_all() -> None:
    now, registered = {"5Alice": 0.5, "5Bob": 0.5}, {"5Alice": 0, "5Bob": 0}
    assert average_shares(now, registered, rounds({"5Alice": 1.0})) == pytest.approx({"5Alice": 0.75, "5Bob": 0.25})
    assert average_shares(now, registered, rounds({"5Carol": 0.0})) == now


def test_splitting_one_s_work_over_hotkeys_changes_no_total() -> None:
    one = average_shares({"5Alice": 0.6, "5Bob": 0.4}, {"5Alice": 0, "5Bob": 0}, rounds({"5Alice": 0.5, "5Bob": 0.5}))
    two = average_shares(
        {"5Alice": 0.25, "5Carol": 0.35, "5Bob": 0.4},
        dict.fromkeys(HOTKEYS, 0),
        rounds({"5Alice": 0.1, "5Carol": 0.4, "5Bob": 0.5}),
    )
    assert two["5Alice"] + two["5Carol"] == pytest.approx(one["5Alice"])
