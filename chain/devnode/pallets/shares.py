"""Who owns which part of a hotkey's alpha: shares, in the runtime's own arithmetic and with its roundings.

The old rules keep them as U64F64 fixed points, the new ones as floats of 21 decimal digits.
"""

from dataclasses import dataclass

from chain.devnode.pallet import State, StorageItem, rules_of
from chain.devnode.pallets import subtensor as s

U64_MAX = (1 << 64) - 1
FIXED_MAX = (1 << 128) - 1
SIGNED_MAX = (1 << 127) - 1
DIGITS = 21
MANTISSA_MAX = 10**DIGITS
DUST = int(0.00001 * 2**64)  # a share this much smaller than before is nothing
SUPPLY_MAX = 2_628_000_000_000_000 << 64  # the runtime's bound on what a hotkey may ever hold


def owned(state: State, hotkey: bytes, coldkey: bytes, netuid: int) -> int:
    """The alpha that `coldkey` owns on `hotkey`, in rao."""
    if rules_of(state).float_shares:
        share, total = _floats(state, hotkey, coldkey, netuid)
        return (Float.of(_alpha(state, hotkey, netuid)).times(share, total)).whole()
    return _fixed_value(state, hotkey, coldkey, netuid)


def credit(state: State, hotkey: bytes, coldkey: bytes, netuid: int, amount: int) -> None:
    """New alpha for one owner: it buys shares at the present value of a share."""
    staked_on = s.STAKING_HOTKEYS.get(state, coldkey)
    if amount > 0 and hotkey not in staked_on:
        s.STAKING_HOTKEYS.put(state, coldkey, [*staked_on, hotkey])
    _update(state, hotkey, coldkey, netuid, amount)


def debit(state: State, hotkey: bytes, coldkey: bytes, netuid: int, amount: int) -> int:
    """Takes alpha of an owner who has as much; returns how much went, which may be the rest of it too."""
    return -_update(state, hotkey, coldkey, netuid, -amount)


def credit_all(state: State, hotkey: bytes, netuid: int, amount: int) -> None:
    """New alpha for all who stand behind a hotkey: every share grows."""
    total = min(U64_MAX, max(0, _alpha(state, hotkey, netuid) + amount))
    _put(state, s.TOTAL_HOTKEY_ALPHA, hotkey, netuid, total)


def _alpha(state: State, hotkey: bytes, netuid: int) -> int:
    return int(s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid))


def _put(state: State, item: StorageItem, *keys_and_value: object) -> None:
    """Zeros are not stored."""
    *keys, value = keys_and_value
    if value in (0, {"bits": 0}):
        item.remove(state, *keys)
    else:
        item.put(state, *keys, value)


def _update(state: State, hotkey: bytes, coldkey: bytes, netuid: int, change: int) -> int:
    update = _update_floats if rules_of(state).float_shares else _update_fixed
    actual = update(state, hotkey, coldkey, netuid, change)
    credit_all(state, hotkey, netuid, actual)
    return actual


def _fixed(state: State, hotkey: bytes, coldkey: bytes, netuid: int) -> tuple[int, int]:
    share = s.ALPHA.get(state, hotkey, coldkey, netuid)["bits"]
    return share, s.TOTAL_HOTKEY_SHARES.get(state, hotkey, netuid)["bits"]


def _fixed_value(state: State, hotkey: bytes, coldkey: bytes, netuid: int) -> int:
    share, total = _fixed(state, hotkey, coldkey, netuid)
    value = _alpha(state, hotkey, netuid) << 64
    if total == 0:
        return 0
    per_share = (value << 64) // total
    if per_share <= FIXED_MAX:
        return min(FIXED_MAX, per_share * share >> 64) >> 64
    return ((min(FIXED_MAX, value * share >> 64) << 64) // total) >> 64


def _shares_for(change: int, value: int, total: int) -> int:
    """U64F64 shares that an amount is worth; negative for what is sold, zero when they would not fit."""
    per_share = (value << 64) // total
    divisor = min(per_share, SIGNED_MAX) if per_share <= FIXED_MAX else value
    shares = (abs(change) << 128) // divisor if divisor else 0
    if shares > SIGNED_MAX:
        return 0
    if per_share > FIXED_MAX:
        shares = shares * total >> 64
    return shares if change >= 0 else -shares


def _update_fixed(state: State, hotkey: bytes, coldkey: bytes, netuid: int, change: int) -> int:
    share, total = _fixed(state, hotkey, coldkey, netuid)
    value = _alpha(state, hotkey, netuid) << 64
    actual = change
    if total == 0:
        new_share = new_total = max(0, change) << 64
    else:
        moved = _shares_for(change, value, total)
        new_share, new_total = max(0, share + moved), max(0, total + moved)
        if moved < 0 and _is_dust(share, new_share, value, new_total):
            actual = -_fixed_value(state, hotkey, coldkey, netuid)
            new_share, new_total = 0, max(0, total - share)
    _put(state, s.TOTAL_HOTKEY_SHARES, hotkey, netuid, {"bits": new_total})
    _put(state, s.ALPHA, hotkey, coldkey, netuid, {"bits": new_share})
    return actual


def _is_dust(before: int, after: int, value: int, total: int) -> bool:
    """Next to nothing is left of a share, or of all shares."""
    if before == 0 or total == 0:
        return True
    return (after << 64) // before < DUST or ((value + SUPPLY_MAX) << 64) // total > FIXED_MAX


@dataclass(frozen=True, slots=True)
class Float:
    """The runtime's SafeFloat: mantissa * 10**exponent, the mantissa cut to its first 21 digits."""

    mantissa: int
    exponent: int

    @classmethod
    def of(cls, mantissa: int, exponent: int = 0) -> "Float":
        if mantissa == 0:
            return cls(0, 0)
        while mantissa > MANTISSA_MAX:
            mantissa, exponent = mantissa // 10, exponent + 1
        while mantissa <= MANTISSA_MAX // 10:
            mantissa, exponent = mantissa * 10, exponent - 1
        return cls(mantissa, exponent)

    def times(self, factor: "Float", divisor: "Float") -> "Float":
        """Zero where it is divided by zero."""
        if divisor.mantissa == 0:
            return Float(0, 0)
        mantissa = self.mantissa * factor.mantissa // divisor.mantissa
        return Float.of(mantissa, self.exponent + factor.exponent - divisor.exponent)

    def plus(self, other: "Float", sign: int) -> "Float":
        """Sum or difference, at the larger of the two exponents; a difference below zero is zero."""
        if other.mantissa == 0:
            return self
        if self.mantissa == 0:
            return other if sign > 0 else self
        exponent = max(self.exponent, other.exponent)
        left, right = (one.mantissa // 10 ** min(exponent - one.exponent, DIGITS + 2) for one in (self, other))
        return Float.of(max(0, left + sign * right), exponent)

    def whole(self) -> int:
        if self.exponent >= 0:
            return min(U64_MAX, self.mantissa * int(10**self.exponent))
        return self.mantissa // int(10**-self.exponent)


def _floats(state: State, hotkey: bytes, coldkey: bytes, netuid: int) -> tuple[Float, Float]:
    share = s.ALPHA_V2.get(state, hotkey, coldkey, netuid)
    return Float(**share), Float(**s.TOTAL_HOTKEY_SHARES_V2.get(state, hotkey, netuid))


def _update_floats(state: State, hotkey: bytes, coldkey: bytes, netuid: int, change: int) -> int:
    share, total = _floats(state, hotkey, coldkey, netuid)
    if total.mantissa == 0:
        share = total = Float.of(abs(change))
    else:
        moved = Float.of(abs(change)).times(total, Float.of(_alpha(state, hotkey, netuid)))
        sign = 1 if change > 0 else -1
        share, total = share.plus(moved, sign), total.plus(moved, sign)
    for item, keys, value in (
        (s.TOTAL_HOTKEY_SHARES_V2, (hotkey, netuid), total),
        (s.ALPHA_V2, (hotkey, coldkey, netuid), share),
    ):
        if value.mantissa:
            item.put(state, *keys, {"mantissa": value.mantissa, "exponent": value.exponent})
        else:
            item.remove(state, *keys)
    return change
