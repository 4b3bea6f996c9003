"""Causal attention on a CPU that keeps its inputs alone and skips most of what the mask would hide.

torch's own kernel for CPUs takes long over the backward pass, and plain attention keeps every probability. Here the
probabilities are made again, and queries go in blocks that see only the keys up to their last.
Shapes: B = sequences, H = heads of keys and values, G = query heads to each, T = tokens, Q = queries of a block,
S = keys that the block sees, D = head size, P = B * H, M = G * Q.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

_BLOCK = 64  # queries; smaller blocks skip more but multiply less well


class BlockedAttention(TorchFunctionMode):
    """While open, plain causal self-attention on a CPU goes through `causal_attention`, all else where it did."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """What torch calls in place of `func`."""
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and len(args) == 3 and _is_plain(*args, **kwargs):
            query, key, value = args
            return causal_attention(query, key, value, kwargs.get("scale"))
        return func(*args, **kwargs)


def _is_plain(query: Tensor, key: Tensor, value: Tensor, **named: Any) -> bool:
    return (
        bool(named.get("is_causal"))
        and named.get("attn_mask") is None
        and not named.get("dropout_p")
        and query.device.type == "cpu"
        and query.dim() == 4
        and query.shape[-2] == key.shape[-2]
        and query.shape[-1] == key.shape[-1] == value.shape[-1]
    )


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """What `scaled_dot_product_attention` gives for queries [B, H * G, T, D] over keys and values [B, H, T, D]."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    result: Tensor = _CausalAttention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return result


class _CausalAttention(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        outputs = torch.empty_like(query)
        value_PTD = value.reshape(-1, *value.shape[-2:])
        for part, seen, _, probabilities_PMS in _blocks(query, key, scale):
            _put(outputs, key, part, torch.bmm(probabilities_PMS, value_PTD[:, :seen]))
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        key_PTD, value_PTD = key.reshape(-1, *key.shape[-2:]), value.reshape(-1, *value.shape[-2:])
        query_gradient = torch.empty_like(query)
        key_gradient_PTD = torch.zeros_like(key_PTD, dtype=torch.float32)
        value_gradient_PTD = torch.zeros_like(value_PTD, dtype=torch.float32)
        for part, seen, query_PMD, probabilities_PMS in _blocks(query, key, ctx.scale):
            outer_PMD = _take(gradients[0], key, part)
            value_gradient_PTD[:, :seen] += torch.bmm(probabilities_PMS.mT, outer_PMD)
            errors_PMS = torch.bmm(outer_PMD, value_PTD[:, :seen].mT)
            errors_PMS = torch.ops.aten._softmax_backward_data(errors_PMS, probabilities_PMS, -1, errors_PMS.dtype)
            _put(query_gradient, key, part, torch.bmm(errors_PMS, key_PTD[:, :seen]).mul_(ctx.scale))
            key_gradient_PTD[:, :seen] += torch.bmm(errors_PMS.mT, query_PMD)
        return (
            query_gradient,
            key_gradient_PTD.to(key.dtype).view(key.shape),
            value_gradient_PTD.to(value.dtype).view(value.shape),
            None,
        )


def _blocks(query: Tensor, key: Tensor, scale: float) -> Iterator[tuple[slice, int, Tensor, Tensor]]:
    """For each block: its queries, the number of keys it sees, its scaled queries [P, M, D], its probabilities."""
    key_PTD = key.reshape(-1, *key.shape[-2:])
    tokens = query.shape[-2]
    for start in range(0, tokens, _BLOCK):
        seen = min(start + _BLOCK, tokens)
        part = slice(start, seen)
        query_PMD = _take(query, key, part) * scale
        scores_PMS = torch.bmm(query_PMD, key_PTD[:, :seen].mT)
        size = seen - start
        hidden_QQ = torch.ones(size, size, dtype=torch.bool, device=query.device).triu(1)
        scores_PMS.unflatten(1, (-1, size))[..., start:].masked_fill_(hidden_QQ, -torch.inf)
        yield part, seen, query_PMD, torch.softmax(scores_PMS, dim=-1)


def _take(heads: Tensor, key: Tensor, part: slice) -> Tensor:
    """Some tokens of [B, H * G, T, D] as [P, M, D]: query heads that share keys stand below one another."""
    block_PMD: Tensor = heads.unflatten(1, (key.shape[1], -1))[..., part, :].flatten(2, 3).flatten(0, 1)
    return block_PMD


def _put(heads: Tensor, key: Tensor, part: slice, block_PMD: Tensor) -> None:
    into = heads.unflatten(1, (key.shape[1], -1))[..., part, :]
    into.copy_(block_PMD.view(into.shape))
