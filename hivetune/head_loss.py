"""Cross-entropy over a frozen output head, a few rows of logits at a time.

The gradient by the hidden states is found in the forward pass, while the logits are at hand, so neither pass ever
holds all of them: at 49152 words and 1024 tokens they are 200 MB in float32.
Shapes: B = sequences, T = tokens, N = predicted tokens, D = hidden size, V = vocabulary, C = rows at a time.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_LOGITS_AT_ONCE = 1 << 24  # of a product with the head
_ROWS_MULTIPLE = 16  # fills the registers of a product
_LOGITS_IN_CACHE = 1 << 20  # of a softmax


def head_nats(
    hidden_ND: Tensor,
    head_VD: Tensor,
    bias_V: Tensor | None,
    labels_N: Tensor,
    *,
    logits_at_once: int = _LOGITS_AT_ONCE,
) -> Tensor:
    """Summed loss in nats, differentiable in `hidden_ND` alone."""
    rows = max(1, logits_at_once // len(head_VD) // _ROWS_MULTIPLE) * _ROWS_MULTIPLE
    nats: Tensor = _HeadNats.apply(hidden_ND, head_VD, bias_V, labels_N, rows)  # type: ignore[no-untyped-call]
    return nats


class _HeadNats(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, bias_V: Tensor | None, labels_N: Tensor, rows: int
    ) -> Tensor:
        gradient_ND = torch.empty_like(hidden_ND) if ctx.needs_input_grad[0] else None
        nats = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
        buffer_CV = hidden_ND.new_empty(min(rows, len(hidden_ND)), len(head_VD))  # fresh pages for each part cost 10 %
        for start in range(0, len(hidden_ND), rows):
            part = slice(start, start + rows)
            logits_CV = buffer_CV[: len(hidden_ND[part])]
            torch.mm(hidden_ND[part], head_VD.T, out=logits_CV)
            if bias_V is not None:
                logits_CV += bias_V
            nats += _summed_nats(logits_CV, labels_N[part], leave_errors=gradient_ND is not None)
            if gradient_ND is not None:
                torch.mm(logits_CV, head_VD, out=gradient_ND[part])
        ctx.save_for_backward(gradient_ND)
        return nats.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * gradients[0].to(gradient_ND.dtype), None, None, None, None


def _summed_nats(logits_CV: Tensor, labels_C: Tensor, *, leave_errors: bool) -> Tensor:
    """Loss of some rows in blocks that stay in the cache; if asked, their logits become softmax minus one-hot."""
    rows = max(1, _LOGITS_IN_CACHE // logits_CV.shape[1])
    nats = torch.zeros((), dtype=torch.float64, device=logits_CV.device)
    for logits, labels in zip(logits_CV.split(rows), labels_C.split(rows), strict=True):
        log_probabilities = torch.log_softmax(logits, dim=1, dtype=torch.float32)
        at_labels = labels.unsqueeze(1)
        nats -= log_probabilities.gather(1, at_labels).sum(dtype=torch.float64)
        if leave_errors:
            errors = log_probabilities.exp_()
            errors.scatter_add_(1, at_labels, errors.new_full(at_labels.shape, -1.0))
            logits.copy_(errors)
    return nats
