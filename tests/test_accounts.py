"""Amounts and stakes: exact arithmetic, as the chain rounds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.accounts import Balance, check_affordable, format_tao, share_of, valid_address, value_of
from chain.hyperparameters import bounds, parse_value
from hivetune.errors import ConfigError
from neurons.amounts import parse_rao

U64_MAX = 2**64 - 1


@given(st.integers(0, 10**18 - 1))
def test_amounts_are_written_and_read_without_rounding(rao: int) -> None:
    assert parse_rao(format_tao(rao), "stake") == rao


@pytest.mark.parametrize(("text", "rao"), [("0", 0), ("1", 10**9), ("0.1", 10**8), ("1.000000001", 10**9 + 1)])
def test_amounts_are_decimals_of_a_token(text: str, rao: int) -> None:
    assert parse_rao(text, "stake") == rao


@pytest.mark.parametrize(
    "text", ["", "-1", "1.", ".5", "1e3", "1,5", "1.0000000001", "0x1", "١", "inf", "1_000", "all"]
)
def test_anything_else_is_no_amount(text: str) -> None:
    with pytest.raises(ConfigError, match=r"TAO to stake .* want an amount such as 1.5"):
        parse_rao(text, "TAO to stake")


def test_shares_of_both_formats_are_read() -> None:
    assert share_of((3 << 63).to_bytes(16, "little")) == Fraction(3, 2)
    decimal = (15 * 10**20).to_bytes(16, "little") + (-21).to_bytes(8, "little", signed=True)
    assert share_of(decimal) == Fraction(3, 2)


@given(st.integers(0, U64_MAX), st.integers(0, 10**12), st.integers(1, 10**12))
def test_parts_never_add_up_to_more_than_the_whole(total: int, part: int, rest: int) -> None:
    whole = Fraction(part + rest, 1000)
    found = [value_of(total, Fraction(share, 1000), whole) for share in (part, rest)]
    assert sum(found) <= total
    assert value_of(total, whole, whole) in (total, max(0, total - 1))


def test_nothing_is_a_share_of_nothing() -> None:
    assert value_of(5, Fraction(0), Fraction(0)) == 0


def test_what_cannot_be_paid_is_said_with_the_numbers() -> None:
    balance = Balance(free_rao=10**9, reserved_rao=0)
    check_affordable("registration costs", 10**9 - 500, balance, 500)
    with pytest.raises(ConfigError, match=r"costs 1 TAO, and the coldkey has 1 TAO free, of which 0\.0000005 TAO must"):
        check_affordable("registration costs", 10**9, balance, 500)


@pytest.mark.parametrize("text", ["", "5X", "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQZ", "0x12", "ü"])
def test_a_bad_address_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no ss58 address"):
        valid_address(text)


def test_values_are_read_by_their_type() -> None:
    assert parse_value("tempo", ["u16"], "360") == [360]
    assert parse_value("yuma3_enabled", ["bool"], "True") == [True]
    assert parse_value("alpha_values", ["u16", "u16"], "45875, 58982") == [45875, 58982]
    assert parse_value("alpha_sigmoid_steepness", ["i16"], "-5") == [-5]
    assert bounds("u64") == (0, U64_MAX)


@pytest.mark.parametrize(
    ("types", "text", "message"),
    [
        (["u16"], "65536", "want a whole number from 0 to 65535"),
        (["u16"], "-1", "want a whole number from 0 to 65535"),
        (["u16"], "1.5", "want a whole number"),
        (["u16"], "", "want a whole number"),
        (["u16"], "9" * 5000, "want a whole number"),
        (["bool"], "1", "want true or false"),
        (["u16", "u16"], "5", "has 1 values, want 2"),
        (["u16"], "5,6", "has 2 values, want 1"),
        (["other"], "5", "set it with btcli"),
    ],
)
def test_a_value_that_does_not_fit_is_named(types: list[str], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_value("name", types, text)
