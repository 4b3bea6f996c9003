"""Held-out losses in nats: the same batches in the same order for the base and for every candidate.

Shapes: B = sequences, T = tokens, V = vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hivetune.attention import BlockedAttention
from hivetune.errors import ConfigError, RejectedSubmission
from hivetune.head_loss import head_nats
from hivetune.model import BaseModel

_IGNORED = -100  # label of padding


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Right-padded sequences; causal attention keeps the padding from touching what is counted."""

    tokens_BT: Tensor
    labels_BT: Tensor  # tokens_BT shifted by one, padding ignored
    predicted: int  # tokens that count
    text_bytes: int  # UTF-8 bytes of the predicted tokens' text


@dataclass(frozen=True, kw_only=True, slots=True)
class TextReport:
    """How well a model predicts a text."""

    batch_nats: tuple[float, ...]
    batch_tokens: tuple[int, ...]
    loss: float  # nats per token
    perplexity: float
    token_accuracy: float
    bits_per_byte: float


def make_batches(tokenizer: Any, texts: Sequence[str], *, sequence_length: int, batch_sequences: int) -> list[Batch]:
    """Texts in order, `batch_sequences` to a batch; as `batches_of`."""
    starts = range(0, len(texts), batch_sequences)
    return batches_of(tokenizer, [texts[start : start + batch_sequences] for start in starts], sequence_length)


def batches_of(tokenizer: Any, groups: Sequence[Sequence[str]], sequence_length: int) -> list[Batch]:
    """A batch of every group of texts, each text cut to `sequence_length` tokens; ConfigError for one of under two."""
    return [_batch(tokenizer, [_tokens(tokenizer, text, sequence_length) for text in group]) for group in groups]


def sequences_of(batch: Batch) -> list[Batch]:
    """A batch of every sequence of a batch, with its padding; text bytes are not told apart and stay with the whole."""
    return [
        Batch(tokens_BT=tokens_BT, labels_BT=labels_BT, predicted=int((labels_BT != _IGNORED).sum()), text_bytes=0)
        for tokens_BT, labels_BT in zip(batch.tokens_BT.split(1), batch.labels_BT.split(1), strict=True)
    ]


def batch_nats(base: BaseModel, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
    """Summed loss of a batch in nats, differentiable in `weights` ([O, I] by module name) and all that feeds the head.

    Where the head is separate only a few rows of logits are held at a time, and none for padding.
    """
    head = base.separate_head
    with BlockedAttention() if torch.is_grad_enabled() else nullcontext():
        if head is None:
            return _nats(base.logits(batch.tokens_BT, weights), batch)
        hidden_BTD = base.hidden(batch.tokens_BT, weights)
    counted_BT = batch.labels_BT != _IGNORED
    return head_nats(hidden_BTD[counted_BT], head.weight, head.bias, batch.labels_BT[counted_BT])


@torch.no_grad()
def losses(base: BaseModel, batches: Sequence[Batch], weights: Mapping[str, Tensor]) -> list[float]:
    """Summed loss of every batch in nats; RejectedSubmission("broken_loss") as soon as one is not finite."""
    found = []
    for index, batch in enumerate(batches):
        nats = float(batch_nats(base, batch, weights))
        if not math.isfinite(nats):
            raise RejectedSubmission("broken_loss", f"batch {index} of {len(batches)}: {nats}")
        found.append(nats)
    return found


@torch.no_grad()
def report(base: BaseModel, batches: Sequence[Batch]) -> TextReport:
    """Loss, perplexity, token accuracy and bits per byte of a model on a text."""
    nats, right = [], 0
    for batch in batches:
        logits_BTV = base.logits(batch.tokens_BT, {})
        nats.append(float(_nats(logits_BTV, batch)))
        right += int((logits_BTV.argmax(-1) == batch.labels_BT).sum())
    tokens = sum(batch.predicted for batch in batches)
    loss = sum(nats) / tokens
    return TextReport(
        batch_nats=tuple(nats),
        batch_tokens=tuple(batch.predicted for batch in batches),
        loss=loss,
        perplexity=math.exp(min(loss, 700.0)),
        token_accuracy=right / tokens,
        bits_per_byte=sum(nats) / math.log(2) / sum(batch.text_bytes for batch in batches),
    )


def _nats(logits_BTV: Tensor, batch: Batch) -> Tensor:
    return functional.cross_entropy(
        logits_BTV.float().flatten(0, 1), batch.labels_BT.flatten(), ignore_index=_IGNORED, reduction="sum"
    )


def _tokens(tokenizer: Any, text: str, sequence_length: int) -> Sequence[int]:
    row: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"][:sequence_length]
    if len(row) < 2:
        raise ConfigError(f"evaluation text {text[:40]!r} has fewer than 2 tokens")
    return row


def _batch(tokenizer: Any, rows: Sequence[Sequence[int]]) -> Batch:
    length = max(len(row) for row in rows)
    padding = tokenizer.eos_token_id or 0
    tokens_BT = torch.tensor([[*row, *[padding] * (length - len(row))] for row in rows])
    labels_BT = torch.tensor([[*row[1:], *[_IGNORED] * (length - len(row) + 1)] for row in rows])
    return Batch(
        tokens_BT=tokens_BT,
        labels_BT=labels_BT,
        predicted=sum(len(row) - 1 for row in rows),
        text_bytes=sum(len(tokenizer.decode(row[1:]).encode()) for row in rows),
    )
