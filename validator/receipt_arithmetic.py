"""What a receipt says must follow from what it says: bounds from batches, shares from credits, weights from shares.

No model is needed for it, and nothing is measured. Whether the batches' losses and credits are true is another matter
(receipt_sample.py, receipt_check.py).
"""

import math
from collections.abc import Mapping, Sequence

from hivetune.credit import NODES
from hivetune.records import Entry, Receipt, ScoringPlan
from hivetune.statistics import Estimate, token_mean
from validator.looks import confidence_at_each, planned_looks
from validator.pay import Earlier, average_shares
from validator.scoring import completeness_error, least_credit

_RELATIVE, _ABSOLUTE = 1e-6, 1e-9  # of sums of doubles in another order


def first_contradiction(receipt: Receipt, plan: ScoringPlan, earlier: Sequence[Earlier]) -> str:
    """The first number that does not follow from the others, "" for none."""
    batches = len(receipt.batch_tokens)
    if len(receipt.base_batch_nats) != batches or not batches:
        return f"base_batch_nats has {len(receipt.base_batch_nats)} batches, batch_tokens {batches}"
    if receipt.nodes not in (0, *NODES):
        return f"nodes {receipt.nodes}, there are {', '.join(map(str, NODES))}"
    loss = sum(receipt.base_batch_nats) / sum(receipt.batch_tokens)
    if not _close(receipt.base_loss, loss):
        return f"base_loss {receipt.base_loss}, its batches give {loss}"
    looks = planned_looks(batches, plan.batch_sequences)
    confidence = confidence_at_each(plan.confidence, len(looks))
    for entry in receipt.entries:
        if found := _of_entry(entry, receipt, looks, confidence):
            return f"{entry.hotkey}: {found}"
    return _of_merge(receipt) or _of_pay(receipt, earlier)


def _of_merge(receipt: Receipt) -> str:
    if outside := [entry.hotkey for entry in receipt.entries if entry.verdict == "paid" and not entry.merged]:
        return f"{outside[0]}: paid and not in the merge"
    if receipt.merged_loss is None or receipt.completeness_error is None:
        return "" if receipt.merged_loss is receipt.completeness_error else "a merged loss or its credits are missing"
    total = sum(entry.credit or 0.0 for entry in receipt.entries if entry.merged)
    expected = completeness_error(total, receipt.base_loss - receipt.merged_loss)
    if not _close(receipt.completeness_error, expected):
        return f"completeness_error {receipt.completeness_error}, its credits give {expected}"
    return ""


def _of_entry(entry: Entry, receipt: Receipt, looks: Sequence[int], confidence: float) -> str:
    if found := _lengths(entry, looks):
        return found
    tokens = receipt.batch_tokens
    gained = [base - nats for base, nats in zip(receipt.base_batch_nats, entry.batch_nats, strict=False)]
    alone = {"improvement": "mean", "improvement_lower": "lower", "improvement_upper": "upper"}
    in_merge = {"credit": "mean", "lower": "lower", "upper": "upper"}
    for nats, names in ((gained, alone), (list(entry.credit_nats), in_merge)):
        estimate = token_mean(nats, tokens[: len(nats)], confidence) if nats else None
        if found := _estimate_differs(entry, estimate, names):
            return found
    lower = entry.lower if entry.lower is not None and len(entry.credit_nats) == len(tokens) else 0.0
    merged = [one.credit or 0.0 for one in receipt.entries if one.merged]
    if entry.verdict == "paid" and not lower > least_credit(merged):
        return f"paid with a lower bound of {entry.lower} on {len(entry.credit_nats)} of {len(tokens)} batches"
    if entry.reason == "not_proven" and lower > least_credit([max([0.0, *merged])]):
        return f"{entry.reason} with a lower bound of {entry.lower}"
    return ""


def _lengths(entry: Entry, looks: Sequence[int]) -> str:
    """A measurement ends at a look."""
    for name, found in (("batch_nats", len(entry.batch_nats)), ("credit_nats", len(entry.credit_nats))):
        if found and found not in looks:
            return f"{name} ends after {found} batches, looks are after {', '.join(map(str, looks))}"
    return ""


def _estimate_differs(entry: Entry, estimate: Estimate | None, names: Mapping[str, str]) -> str:
    for field, part in names.items():
        told: float | None = getattr(entry, field)
        expected: float | None = getattr(estimate, part) if estimate else None
        if told is not expected and (told is None or expected is None or not _close(told, expected)):
            return f"{field} {told}, its batches give {expected}"
    return ""


def _of_pay(receipt: Receipt, earlier: Sequence[Earlier]) -> str:
    credits = {entry.hotkey: entry.credit or 0.0 for entry in receipt.entries if entry.verdict == "paid"}
    total = sum(credits.values())
    if not math.isfinite(total):
        return f"the paid have {total} nats of credit"
    shares = {hotkey: credit / total for hotkey, credit in credits.items()}
    weights = average_shares(shares, {entry.hotkey: entry.registered_at for entry in receipt.entries}, earlier)
    for entry in receipt.entries:
        for name, expected in (("share", shares), ("weight", weights)):
            told = getattr(entry, name)
            if not _close(told, expected.get(entry.hotkey, 0.0)):
                return f"{entry.hotkey}: {name} {told}, its credit gives {expected.get(entry.hotkey, 0.0)}"
    return ""


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
