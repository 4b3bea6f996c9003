"""What flows through a model's linear layers in one forward and backward pass, without any weight gradient.

Shapes: B = sequences, T = tokens, N = B * T, O = out features, I = in features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trace:
    """One call of one layer."""

    inputs_NI: Tensor
    outputs_NO: Tensor  # without the bias
    gradient_NO: Tensor  # of the loss by the outputs


class LayerTaps:
    """Listens to the named layers while the context is open."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self._model = model
        self._layers = [(name, model.get_submodule(name)) for name in names]
        self._calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        """Start listening; embeddings become differentiable so that gradients reach every layer's outputs."""
        embeddings = self._model.get_input_embeddings()  # type: ignore[operator]
        self._handles.append(embeddings.register_forward_hook(lambda _m, _i, out: out.requires_grad_()))
        for name, layer in self._layers:
            self._handles.append(layer.register_forward_hook(self._listener(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
        self._calls.clear()

    def backward(self, loss: Tensor) -> list[tuple[str, Trace]]:
        """The traces of every call since the context was opened, by layer name."""
        gradients = torch.autograd.grad(loss, [outputs for _, _, _, outputs in self._calls], allow_unused=True)
        traces = []
        for (name, layer, inputs, outputs), gradient in zip(self._calls, gradients, strict=True):
            if gradient is None:
                continue
            bias = layer.bias
            plain = outputs.detach() if bias is None else outputs.detach() - bias  # type: ignore[operator]
            traces.append(
                (
                    name,
                    Trace(
                        inputs_NI=inputs.detach().flatten(0, -2),
                        outputs_NO=plain.flatten(0, -2),
                        gradient_NO=gradient.flatten(0, -2),
                    ),
                )
            )
        return traces

    def _listener(self, name: str) -> Any:
        def listen(layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
            if outputs.requires_grad:  # a call without gradients has nothing to trace
                self._calls.append((name, layer, inputs[0], outputs))

        return listen
