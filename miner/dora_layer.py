"""A linear layer with an exact DoRA adapter, built for speed.

y = g * (W0 x + s B A x) + b with g = m / ||W0 + s B A|| per output row. The norm takes no gradient (Liu et al. 2024,
arXiv:2402.09353, section 4.3; PEFT does the same), so between two optimizer steps g is a constant: `refresh` finds it
once, as |w|^2 + 2 s <w, BA> + s^2 |BA|^2, for every micro-batch and every recomputation.
Shapes: N = tokens, O = out features, I = in features, R = rank.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from miner.dora_product import Constants, FactoredProduct, MergedProduct, is_merged_cheaper

Form = Literal["auto", "factored", "merged"]
_SMALLEST_PLAIN_GAIN = 0.5  # y / g loses digits below it, and so does bfloat16(g - 1)


class DoraLinear(nn.Module):
    """A frozen linear layer `base` with trained A, B and m; `refresh` must follow every change of them.

    `weight` gives the base's weight as [O, I]: a view where the layer holds it densely, else a dense tensor made anew,
    which is then made again for the backward pass. `form` is for tests; "auto" takes what needs fewer operations.
    """

    def __init__(
        self,
        base: nn.Module,
        weight: Callable[[], Tensor],
        lora_A: Tensor,
        *,
        scale: float,
        dropout: float = 0.0,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        self.base = base
        self._weight, self._scale, self._dropout, self._form = weight, scale, dropout, form
        weight_OI = weight().detach()
        self._shape = (weight_OI.shape[0], weight_OI.shape[1])
        self._is_dense = weight().data_ptr() == weight_OI.data_ptr()
        self.lora_A = nn.Parameter(lora_A.to(weight_OI.device))
        self.lora_B = nn.Parameter(self.lora_A.new_zeros(len(weight_OI), len(lora_A)))
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(weight_OI.float(), dim=1))
        self._base_squared_O = weight_OI.double().square().sum(1)
        self._now = self._constants(weight_OI)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take A, B and m as they are now."""
        self._now = self._constants(self._weight())

    def _constants(self, weight_OI: Tensor) -> Constants:
        with torch.no_grad():
            up_OR = self._scale * self.lora_B
            norm_O = self._norms(weight_OI, up_OR)
            directed_O = norm_O > 0  # a row without a direction stays zero, where PEFT has NaN
            inverse_norm_O = torch.where(directed_O, norm_O.reciprocal(), 0.0)
            gain_O = self.magnitude * inverse_norm_O
            return Constants(
                gain_O=gain_O,
                excess_O=(gain_O - 1).to(weight_OI.dtype),
                inverse_norm_O=inverse_norm_O,
                inverse_magnitude_O=torch.where(self.magnitude > 0, self.magnitude.reciprocal(), 0.0),
                down_RI=self.lora_A.detach().to(weight_OI.dtype),
                up_OR=up_OR.to(weight_OI.dtype),
                scale=self._scale,
                is_plain=bool(((gain_O >= _SMALLEST_PLAIN_GAIN) | ~directed_O).all()),
            )

    def _norms(self, weight_OI: Tensor, up_OR: Tensor) -> Tensor:
        """||W0 + s B A|| per row; the three terms may cancel, so they are summed in float64.

        W0 A^T is taken in the base's type: the products of the layer know A and B no better than that either.
        """
        projected_OR = (weight_OI @ self.lora_A.T.to(weight_OI.dtype)).float()
        mixed_OR = torch.addmm(projected_OR, up_OR, self.lora_A @ self.lora_A.T, beta=2.0)
        change_O = (mixed_OR.double() * up_OR).sum(1)
        return (self._base_squared_O + change_O).clamp_min(0).sqrt().float()

    def forward(self, inputs: Tensor) -> Tensor:
        """The adapted output. As in PEFT, dropout acts on what the adapter adds, not on the base's own output."""
        if self._dropout and self.training:
            kept = functional.dropout(inputs, self._dropout)
            return self._product(kept) + functional.linear(inputs - kept, self._weight())
        return self._product(inputs)

    def _product(self, inputs: Tensor) -> Tensor:
        weight: Tensor | Callable[[], Tensor] = self._weight() if self._is_dense else self._weight
        out_features, in_features = self._shape
        inputs_NI = inputs.reshape(-1, in_features).to(self._now.down_RI.dtype)  # a quantised base may hold another
        function = MergedProduct if self._merges(inputs_NI) else FactoredProduct
        outputs_NO: Tensor = function.apply(  # type: ignore[no-untyped-call]
            inputs_NI, self.lora_A, self.lora_B, self.magnitude, weight, self.base.bias, self._now
        )
        return outputs_NO.view(*inputs.shape[:-1], out_features).to(inputs.dtype)

    def _merges(self, inputs_NI: Tensor) -> bool:
        if self._form == "factored" or inputs_NI.dtype != torch.float32 or not self._now.is_plain:
            return False
        if torch.compiler.is_compiling():
            return False  # a compiler would keep the merged weight for the backward pass
        return self._form == "merged" or is_merged_cheaper(len(inputs_NI), *self._shape)
