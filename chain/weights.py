"""Weights as the chain takes them: u16 vectors within the subnet's limits, and the checks it will make, in order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

U16_MAX = 65_535


def quantize(weights: Mapping[int, float]) -> dict[int, int]:
    """Shares as the u16 values that go on chain: the largest becomes 65535, zeros are dropped."""
    _check(weights)
    largest = max(weights.values(), default=0.0)
    if largest == 0:
        raise ValueError(f"none of {len(weights)} weights is above zero")
    scaled = {uid: round(weight / largest * U16_MAX) for uid, weight in sorted(weights.items())}
    return {uid: value for uid, value in scaled.items() if value > 0}


def _check(weights: Mapping[int, float]) -> None:
    for uid, weight in weights.items():
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"weight of uid {uid} is {weight}, want a finite number of 0 or more")
        if not 0 <= uid <= U16_MAX:
            raise ValueError(f"uid {uid} is outside 0..{U16_MAX}")


def conform(weights: Mapping[int, float], *, count: int, fewest: int, max_limit: int) -> dict[int, int]:
    """Quantized weights within a subnet's limits.

    `max_limit`/65535 is the largest share of the sum that one uid may have: what is above it is cut, which leaves the
    others' ratios alone. Where at least `fewest` uids of `count` must be named, the lowest others get an explicit zero.
    """
    _check(weights)
    values = quantize(_capped(weights, max_limit / U16_MAX) if max_limit < U16_MAX else weights)
    missing = min(fewest, count) - len(values)
    padding = [uid for uid in range(count) if uid not in values][: max(0, missing)]
    return dict(sorted({**values, **dict.fromkeys(padding, 0)}.items()))


def _capped(weights: Mapping[int, float], share: float) -> dict[int, float]:
    """The largest weights lowered to one ceiling, so that each has `share` of the sum; all equal where none fits."""
    descending = sorted((weight for weight in weights.values() if weight > 0), reverse=True)
    if len(descending) * share <= 1:
        return {uid: 1.0 if weight > 0 else 0.0 for uid, weight in weights.items()}
    slack = 1e-4  # rounding to u16 must not lift a share above the limit again
    share = max(share - slack, 1 / len(descending))
    for capped in range(len(descending)):
        rest = math.fsum(descending[capped:])
        ceiling = share * rest / (1 - capped * share) if capped * share < 1 else math.inf
        if descending[capped] <= ceiling:
            return {uid: min(weight, ceiling) if capped else weight for uid, weight in weights.items()}
    return {uid: 1.0 if weight > 0 else 0.0 for uid, weight in weights.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """An unrevealed commit-reveal v2 commit of this hotkey, as the chain holds it."""

    hash: str  # 0x and hex
    opens: int | None  # first block in which it may be revealed; None where the runtime counts epochs
    closes: int | None  # last one
    epoch: int | None  # in which it was made, where the runtime counts epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightRules:
    """What a subnet demands of one hotkey's weights at a block, and what it holds of them."""

    block: int
    count: int  # uids of the subnet
    uid: int | None  # None: not registered
    permit: bool  # validator permit, or the owner's hotkey
    last_update: int  # block of the last weights or commit; registration counts as one
    weights_set: bool
    min_allowed_weights: int
    max_weights_limit: int
    rate_limit: int  # blocks
    version_key: int
    commit_reveal: bool
    reveal_period: int  # epochs
    epoch: int  # that a commit or reveal in the next block would count for
    next_epoch_block: int  # after the next block
    epoch_blocks: int  # from one epoch to the next
    commits: tuple[Commit, ...]
    timelocked: int  # timelocked commits of this hotkey that wait for their beacon
    timelock_call: str | None  # this runtime's call for timelocked weights
    timelock_version: int | None  # which it wants; None where the call takes none

    def objection(self, values: Mapping[int, int], version_key: int) -> str | None:
        """The name of the error that the pallet would end with; None when nothing known speaks against it.

        Order and names are the pallet's. The stake threshold is left to the chain, which counts stake on root too.
        """
        hidden = self.commit_reveal
        checks = (
            (len(values) > self.count, "UidsLengthExceedUidsInSubNet"),
            (self.uid is None, "HotKeyNotRegisteredInSubNet"),
            (bool(self.version_key) and version_key < self.version_key, "IncorrectWeightVersionKey"),
            (self.waits_until() > self.block + 1, "CommittingWeightsTooFast" if hidden else "SettingWeightsTooFast"),
            (not self.permit and list(values) != [self.uid], "NeuronNoValidatorPermit"),
            (any(uid >= self.count for uid in values), "UidVecContainInvalidOne"),
            (self._too_few(values), "WeightVecLengthIsLow"),
            (self._too_large(list(values.values())) and list(values) != [self.uid], "MaxWeightExceeded"),
        )
        return next((name for broken, name in checks if broken), None)

    def waits_until(self) -> int:
        """The first block that the rate limit lets weights into."""
        if self.last_update == 0:
            return 0
        return self.last_update + self.rate_limit

    def _too_few(self, values: Mapping[int, int]) -> bool:
        return len(values) < min(self.count, self.min_allowed_weights) and list(values) != [self.uid]

    def _too_large(self, values: Sequence[int]) -> bool:
        if self.max_weights_limit == U16_MAX or not any(values):
            return False
        one = 1 << 32
        return max(values) * one // sum(values) > self.max_weights_limit * one // U16_MAX


def commit_hash(
    public_key: bytes, netuid: int, values: Mapping[int, int], salt: Sequence[int], version_key: int
) -> str:
    """blake2b-256 of SCALE (account, netuid, uids, values, salt, version key), as `reveal_weights` recomputes it."""
    encoded = (
        public_key
        + netuid.to_bytes(2, "little")
        + b"".join(encode_u16s(vector) for vector in (list(values), list(values.values()), salt))
        + version_key.to_bytes(8, "little")
    )
    return "0x" + blake2b(encoded, digest_size=32).hexdigest()


def encode_u16s(numbers: Sequence[int]) -> bytes:
    """SCALE's Vec<u16>."""
    return encode_compact(len(numbers)) + b"".join(number.to_bytes(2, "little") for number in numbers)


def encode_compact(number: int) -> bytes:
    """SCALE's compact integer, up to 2**30."""
    if number < 1 << 6:
        return bytes([number << 2])
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    return (number << 2 | 2).to_bytes(4, "little")
