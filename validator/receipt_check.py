"""Holding a published receipt against the same round scored again: the first number that is not what it should be."""

import math
from collections.abc import Collection, Mapping, Sequence

from hivetune.records import Entry, Receipt

# What a Hub showed at the time cannot be seen again: the file may have come or gone since.
UNREPEATABLE = frozenset({"not_revealed", "wrong_size", "wrong_digest", "download_failed"})
# What a file of an earlier round may have decided, itself or through a copy that owned the same tensors.
_COPIES = frozenset({"near_copy", "mixture", "duplicate"})
_EXACT = ("protocol", "round_id", "release_sha256", "beacon", "sequence_ids", "batch_tokens", "nodes")
_EXACT_OF_ENTRY = ("uid", "registered_at", "shard", "verdict", "reason", "repo", "file_sha256", "merged")
_MEASURED = ("base_batch_nats", "base_loss", "merged_loss", "completeness_error", "clip", "replicate_spread")
_MEASURED_OF_ENTRY = (
    "improvement", "improvement_lower", "improvement_upper", "credit", "lower", "upper", "norm", "share", "weight",
    "batch_nats", "credit_nats"
)  # fmt: skip
# Of a value, or of a nat: what rounding may do between processors. On one machine repeated numbers are the same.
_RELATIVE, _ABSOLUTE = 1e-4, 2e-4


def unrepeatable(receipt: Receipt, missing: Collection[str] = ()) -> frozenset[str]:
    """Hotkeys whose rejection hangs on what the Hub showed at the time; they are left out of a repetition.

    `missing` are the files of earlier rounds that the repetition does not have. If the validator had one of them, whom
    it rejected as a copy may have copied that file. Leaving copies out changes nobody else's verdict: they are in no
    merge and no median.
    """
    reasons = UNREPEATABLE | (_COPIES if set(missing) - set(receipt.missing_earlier) else frozenset())
    return frozenset(entry.hotkey for entry in receipt.entries if entry.reason in reasons)


def first_difference(published: Receipt, repeated: Receipt) -> str:
    """The first thing that the receipt says and a repetition does not, "" for none."""
    if found := _difference(published, repeated, _EXACT, _MEASURED):
        return found
    if unknown := set(published.missing_earlier) - set(repeated.missing_earlier):
        return f"missing_earlier names {_short(min(unknown))}, which no earlier receipt admitted"
    left_out = unrepeatable(published, repeated.missing_earlier)
    told = {entry.hotkey: entry for entry in published.entries if entry.hotkey not in left_out}
    found_again = {entry.hotkey: entry for entry in repeated.entries}
    if found := _missing(told, found_again):
        return found
    for hotkey, entry in told.items():
        if found := _difference(entry, found_again[hotkey], _EXACT_OF_ENTRY, _MEASURED_OF_ENTRY):
            return f"{hotkey}: {found}"
    silent = [entry for entry in published.entries if entry.hotkey in left_out and entry.weight != 0]
    return f"{silent[0].hotkey}: weight {silent[0].weight} for a submission that was not there" if silent else ""


def _missing(told: Mapping[str, Entry], found_again: Mapping[str, Entry]) -> str:
    if unknown := told.keys() - found_again.keys():
        return f"{min(unknown)} has an entry, but made no submission in this round"
    if forgotten := found_again.keys() - told.keys():
        return f"{min(forgotten)} made a submission, but has no entry"
    return ""


def _difference(
    published: Receipt | Entry, repeated: Receipt | Entry, exact: Sequence[str], measured: Sequence[str]
) -> str:
    for name in exact:
        if getattr(published, name) != getattr(repeated, name):
            return f"{name} {_short(getattr(published, name))}, repeated {_short(getattr(repeated, name))}"
    for name in measured:
        if not _close(getattr(published, name), getattr(repeated, name)):
            return f"{name} {_short(getattr(published, name))}, repeated {_short(getattr(repeated, name))}"
    return ""


def _close(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(_close(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return one is other  # both None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
