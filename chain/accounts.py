"""What a coldkey has and what things cost, read at the finalized head of a majority of the endpoints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from scalecodec.utils.ss58 import ss58_decode

from chain.metagraph import (
    PALLET,
    SS58_FORMAT,
    has_storage,
    netuids,
    read_raw,
    read_values,
    require_subnet,
    storage_key,
)
from chain.quorum import Quorum
from hivetune.errors import ConfigError

ACCOUNT_DIGITS = 64  # 32 bytes in hex
RAO = 1_000_000_000  # rao in one TAO, and in one alpha
BALANCES = "Balances"
LARGEST_EXPONENT = 64  # of a decimal share; a hostile node's could take for ever to compute


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """TAO of an account."""

    free_rao: int
    reserved_rao: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stake:
    """What a coldkey holds on a hotkey in one subnet, in rao of the subnet's alpha (of TAO on netuid 0)."""

    netuid: int
    hotkey: str
    stake_rao: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What it takes to register on a subnet."""

    price_rao: int
    allowed: bool
    existential_deposit_rao: int  # what has to stay on the account


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """When a subnet may be started."""

    block: int  # the first in which start_call works
    started: bool


def read_balance(quorum: Quorum, coldkey: str) -> Balance:
    at = quorum.head().hash

    def read(interface: Any) -> Balance:
        interface.init_runtime(block_hash=at)
        data = interface.query("System", "Account", [valid_address(coldkey)], block_hash=at).value["data"]
        return Balance(free_rao=int(data["free"]), reserved_rao=int(data["reserved"]))

    return quorum.agree(read)


def read_admission(quorum: Quorum, netuid: int) -> Admission:
    at = quorum.head().hash

    def read(interface: Any) -> Admission:
        interface.init_runtime(block_hash=at)
        require_subnet(interface, netuid, at)
        values = read_values(interface, netuid, ("Burn", "NetworkRegistrationAllowed"), at)
        deposit = interface.get_constant(BALANCES, "ExistentialDeposit", block_hash=at)
        return Admission(
            price_rao=int(values["Burn"]),
            allowed=bool(values.get("NetworkRegistrationAllowed", True)),
            existential_deposit_rao=int(deposit.value) if deposit is not None else 0,
        )

    return quorum.agree(read)


def read_start(quorum: Quorum, netuid: int) -> Start:
    at = quorum.head().hash

    def read(interface: Any) -> Start:
        interface.init_runtime(block_hash=at)
        require_subnet(interface, netuid, at)
        values = read_values(interface, netuid, ("NetworkRegisteredAt", "FirstEmissionBlockNumber"), at)
        return Start(
            block=int(values["NetworkRegisteredAt"]) + _start_delay(interface, at),
            started=values.get("FirstEmissionBlockNumber") is not None,
        )

    return quorum.agree(read)


def _start_delay(interface: Any, at: str) -> int:
    """Blocks between a subnet's creation and its start: a constant once, storage since."""
    if has_storage(interface, "StartCallDelay"):
        return int(interface.query(PALLET, "StartCallDelay", block_hash=at).value)
    constant = interface.get_constant(PALLET, "DurationOfStartCall", block_hash=at)
    return int(constant.value) if constant is not None else 0


def read_stakes(quorum: Quorum, coldkey: str) -> tuple[Stake, ...]:
    """Every stake of a coldkey, by netuid and hotkey."""
    at = quorum.head().hash
    return quorum.agree(lambda interface: _stakes(interface, valid_address(coldkey), at))


def _stakes(interface: Any, coldkey: str, at: str) -> tuple[Stake, ...]:
    interface.init_runtime(block_hash=at)
    lists = [name for name in ("StakingHotkeys", "OwnedHotkeys") if has_storage(interface, name)]
    found = (interface.query(PALLET, name, [coldkey], block_hash=at).value or () for name in lists)
    hotkeys = sorted({str(hotkey) for names in found for hotkey in names})
    places = [(hotkey, netuid) for netuid in netuids(interface, at) for hotkey in hotkeys]
    keys = [storage_key(interface, "TotalHotkeyAlpha", place) for place in places]
    totals = {
        place: int.from_bytes(raw, "little")
        for place, raw in zip(places, read_raw(interface, keys, at), strict=True)
        if raw is not None
    }
    return tuple(_held(interface, coldkey, totals, at))


def _held(interface: Any, coldkey: str, totals: Mapping[tuple[str, int], int], at: str) -> Iterator[Stake]:
    parts = _shares(interface, ("Alpha", "AlphaV2"), [(hotkey, coldkey, netuid) for hotkey, netuid in totals], at)
    wholes = _shares(interface, ("TotalHotkeyShares", "TotalHotkeySharesV2"), list(totals), at)
    for ((hotkey, netuid), total), part, whole in zip(totals.items(), parts, wholes, strict=True):
        stake = value_of(total, part, whole)
        if stake > 0:
            yield Stake(netuid=netuid, hotkey=hotkey, stake_rao=stake)


def _shares(interface: Any, names: tuple[str, str], places: list[tuple[Any, ...]], at: str) -> list[Fraction]:
    """From the old map where it holds an entry, else from the new one, as the chain itself looks them up."""
    found = [Fraction(0)] * len(places)
    for name in reversed(names):
        if has_storage(interface, name):
            keys = [storage_key(interface, name, place) for place in places]
            for index, raw in enumerate(read_raw(interface, keys, at)):
                found[index] = found[index] if raw is None else share_of(raw)
    return found


def share_of(raw: bytes) -> Fraction:
    """A U64F64 of 16 bytes, or the newer decimal: mantissa (u128) and power of ten (i64)."""
    mantissa = int.from_bytes(raw[:16], "little")
    if len(raw) == 16:
        return Fraction(mantissa, 1 << 64)
    exponent = int.from_bytes(raw[16:24], "little", signed=True)
    if abs(exponent) > LARGEST_EXPONENT:
        raise ValueError(f"a share with the exponent {exponent}")
    return mantissa * Fraction(10) ** exponent


def value_of(total_rao: int, part: Fraction, whole: Fraction) -> int:
    """A share's part of a hotkey's alpha, rounded down as the chain rounds: first the value of one share, 64 bits."""
    if whole == 0:
        return 0
    value_per_share = (total_rao * (1 << 64)) // whole
    return int(value_per_share * part) >> 64


def check_affordable(what: str, amount_rao: int, balance: Balance, deposit_rao: int) -> None:
    """ConfigError with the numbers when an account cannot pay an amount and keep what must stay on it."""
    if balance.free_rao < amount_rao + deposit_rao:
        kept = f", of which {format_tao(deposit_rao)} TAO must stay on it" if deposit_rao else ""
        raise ConfigError(
            f"{what} {format_tao(amount_rao)} TAO, and the coldkey has {format_tao(balance.free_rao)} TAO free{kept}"
        )


def format_tao(rao: int) -> str:
    """Exact, without zeros at the end."""
    whole, rest = divmod(abs(rao), RAO)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if rao < 0 else ''}{whole}{fraction}"


def valid_address(text: str) -> str:
    try:
        account = "" if text.startswith("0x") else str(ss58_decode(text, valid_ss58_format=SS58_FORMAT))
    except (ValueError, TypeError, IndexError):
        account = ""
    if len(account) != ACCOUNT_DIGITS:
        raise ConfigError(f"{text!r} is no ss58 address")
    return text
