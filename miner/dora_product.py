"""The product of a DoRA layer, forward and backward, in two forms that give the same result.

With v = W0 x + s B A x, y = g * v + b. Factored: the base product once, then two thin ones; in any type. Merged:
g * (W0 + s B A) is built, used and dropped, and built again for the backward pass; in float32 alone, because in
bfloat16 the sum would round small updates away.
A, B and m are arguments for their gradients alone; their values come with the constants.
Shapes: N = tokens, O = out features, I = in features, R = rank.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Dense = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Constants:
    """What holds between two optimizer steps; vectors are float32 unless said otherwise."""

    gain_O: Tensor  # g
    excess_O: Tensor  # g - 1 in the type of the products
    inverse_norm_O: Tensor  # 0 for a row without a direction
    inverse_magnitude_O: Tensor  # 0 where m is 0
    down_RI: Tensor  # A in the type of the products
    up_OR: Tensor  # s B, likewise
    scale: float  # s
    is_plain: bool  # no gain is so small that y would not tell v, nor so small that `excess_O` rounds it away


def is_merged_cheaper(tokens: int, out_features: int, in_features: int) -> bool:
    """Whether building the weight twice costs fewer operations than the thin products it saves."""
    return tokens * (out_features + in_features) > 2 * out_features * in_features


class FactoredProduct(Function):
    """Keeps x, u = A x, and y; v in place of y where y does not tell it: beside a bias or a small gain."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs_NI: Tensor,
        _lora_A: Tensor,
        _lora_B: Tensor,
        _magnitude_O: Tensor,
        weight_OI: Tensor | Dense,
        bias_O: Tensor | None,
        now: Constants,
    ) -> Tensor:
        weight = weight_OI if isinstance(weight_OI, Tensor) else weight_OI()
        down_NR = inputs_NI @ now.down_RI.T
        product_NO = inputs_NI @ weight.T
        product_NO.addmm_(down_NR, now.up_OR.T)
        ctx.keeps_outputs = now.is_plain and bias_O is None
        outputs_NO = _gained(product_NO, now, in_place=ctx.keeps_outputs)
        if bias_O is not None:
            outputs_NO += bias_O
        _save_weight(ctx, weight_OI, inputs_NI, down_NR, outputs_NO if ctx.keeps_outputs else product_NO)
        ctx.now = now
        return outputs_NO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        now: Constants = ctx.now
        outer_NO = gradients[0]
        weight_OI, inputs_NI, down_NR, kept_NO = _saved(ctx)
        inverse_O = now.inverse_magnitude_O if ctx.keeps_outputs else now.inverse_norm_O
        magnitude_O = (outer_NO * kept_NO).sum(0, dtype=torch.float32) * inverse_O
        inner_NO = _gained(outer_NO, now, in_place=False)
        back_NR = inner_NO @ now.up_OR
        up_OR = (inner_NO.T @ down_NR).float().mul_(now.scale)
        down_RI = (back_NR.T @ inputs_NI).float()
        inputs = None
        if ctx.needs_input_grad[0]:
            inputs = torch.mm(inner_NO, weight_OI).addmm_(back_NR, now.down_RI)
        return inputs, down_RI, up_OR, magnitude_O, None, None, None


class MergedProduct(Function):
    """Keeps x and y; float32 and plain gains only."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs_NI: Tensor,
        _lora_A: Tensor,
        _lora_B: Tensor,
        _magnitude_O: Tensor,
        weight_OI: Tensor | Dense,
        bias_O: Tensor | None,
        now: Constants,
    ) -> Tensor:
        weight = weight_OI if isinstance(weight_OI, Tensor) else weight_OI()
        outputs_NO = torch.nn.functional.linear(inputs_NI, _merged(weight, now), bias_O)
        _save_weight(ctx, weight_OI, inputs_NI, outputs_NO)
        ctx.now, ctx.bias_O = now, bias_O
        return outputs_NO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        now: Constants = ctx.now
        outer_NO = gradients[0]
        weight_OI, inputs_NI, outputs_NO = _saved(ctx)
        along_O = (outer_NO * outputs_NO).sum(0)
        if ctx.bias_O is not None:
            along_O -= ctx.bias_O * outer_NO.sum(0)
        up_OR = now.up_OR * now.gain_O.unsqueeze(1)
        back_NR = outer_NO @ up_OR
        up_gradient_OR = (outer_NO.T @ (inputs_NI @ now.down_RI.T)).mul_(now.scale * now.gain_O.unsqueeze(1))
        inputs = outer_NO @ _merged(weight_OI, now) if ctx.needs_input_grad[0] else None
        return inputs, back_NR.T @ inputs_NI, up_gradient_OR, along_O * now.inverse_magnitude_O, None, None, None


def _gained(product_NO: Tensor, now: Constants, *, in_place: bool) -> Tensor:
    """g * v. In bfloat16 as v + (g - 1) v with one rounding: a float32 g would cost three float32 copies of v, and a
    bfloat16 g could not say 1.001."""
    if product_NO.dtype == torch.float32:
        return product_NO.mul_(now.gain_O) if in_place else product_NO * now.gain_O
    if now.is_plain:
        if in_place:
            return product_NO.addcmul_(product_NO, now.excess_O)
        return torch.addcmul(product_NO, product_NO, now.excess_O)
    return (product_NO * now.gain_O).to(product_NO.dtype)


def _merged(weight_OI: Tensor, now: Constants) -> Tensor:
    return torch.addmm(weight_OI, now.up_OR, now.down_RI).mul_(now.gain_O.unsqueeze(1))


def _save_weight(ctx: Any, weight_OI: Tensor | Dense, *tensors: Tensor) -> None:
    """A dense weight is saved for nothing, it stays anyway; another is made again."""
    ctx.dense = None if isinstance(weight_OI, Tensor) else weight_OI
    ctx.save_for_backward(*([weight_OI] if isinstance(weight_OI, Tensor) else []), *tensors)


def _saved(ctx: Any) -> tuple[Tensor, ...]:
    tensors: tuple[Tensor, ...] = ctx.saved_tensors
    return tensors if ctx.dense is None else (ctx.dense(), *tensors)
