"""The engine that miners train with: PEFT's adapter, exactly, in less time and memory.

Shapes: B = sequences, T = tokens, N = predicted tokens, D = hidden size, V = vocabulary.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.nn import functional

from hivetune.dora import Factors
from hivetune.head_loss import head_nats
from hivetune.model import BaseModel
from hivetune.records import AdapterLayout
from miner.attach import attach
from miner.blocks import find_blocks, wrap_block
from miner.dora_layer import Form
from miner.optimizer import AdapterOptimizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FastOptions:
    """How the fast engine computes; but for dropout, what it computes stays the same."""

    dropout: float = 0.0  # of what the adapter adds to, as PEFT's lora_dropout
    checkpointed: bool = False  # keep only what enters each decoder block and compute the rest again
    backend: str = ""  # of torch.compile, for each decoder block; empty: not compiled
    blocked_attention: bool = True  # own causal attention, on CPUs
    form: Form = "auto"


DEFAULT_OPTIONS = FastOptions()


class FastEngine:
    """DoRA layers of our own with AdamW: what PEFT's engine does from the same seed, up to rounding.

    Computes in the type that the base was loaded in; the adapter stays fp32. Takes the model over: load a fresh one
    for anything else.
    """

    def __init__(
        self,
        base: BaseModel,
        layout: AdapterLayout,
        *,
        seed: int,
        device: str,
        options: FastOptions = DEFAULT_OPTIONS,
    ) -> None:
        self._device = torch.device(device)
        self._seed, self._options = seed, options
        self._model: Any = base.model.to(self._device)
        self._model.eval()  # the base's own dropout would make a resumed run another one
        self._head = base.separate_head
        self._layers = attach(self._model, layout, seed=seed, dropout=options.dropout, form=options.form)
        self._optimizer = AdapterOptimizer(
            {name: (layer.lora_A, layer.lora_B, layer.magnitude) for name, layer in self._layers.items()}
        )
        self._wrap_blocks(options.backend)

    def _wrap_blocks(self, backend: str) -> None:
        self._backend = backend
        for index, block in enumerate(find_blocks(self._model, list(self._layers))):
            wrap_block(
                block,
                blocked_attention=self._options.blocked_attention and self._device.type == "cpu",
                # Nothing before the first block takes a gradient, so it would be compiled for itself alone.
                backend=backend if index > 0 else "",
                checkpointed=self._options.checkpointed,
            )

    def step(self, micro_batches: Iterable[Tensor], learning_rate: float) -> float:
        """One optimizer step; gradients of the micro-batches are weighted by their tokens."""
        batches = [batch.to(self._device, torch.long) for batch in micro_batches]
        try:
            loss = self._accumulate(batches)
        except TorchDynamoException as error:
            if not self._backend:
                raise
            log.warning("training goes on uncompiled: %s", " ".join(str(error).split())[:200])
            self._wrap_blocks("")
            loss = self._accumulate(batches)
        self._optimizer.step(learning_rate)
        self._refresh()
        return loss

    def _refresh(self) -> None:
        for layer in self._layers.values():
            layer.refresh()

    def _accumulate(self, batches: Sequence[Tensor]) -> float:
        predicted = sum(batch[:, 1:].numel() for batch in batches)
        total = 0.0
        self._optimizer.zero_gradients()
        with self._drawing():
            for tokens_BT in batches:
                nats = self._nats(tokens_BT)
                (nats / predicted).backward()
                total += float(nats.detach())
        return total / predicted

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """What dropout draws in a step depends on the step's number alone, so a resumed run is the same run."""
        if not self._options.dropout:
            yield
            return
        with torch.random.fork_rng():
            torch.manual_seed(self._seed + (self._optimizer.steps() << 32))
            yield

    def _nats(self, tokens_BT: Tensor) -> Tensor:
        labels_N = tokens_BT[:, 1:].flatten()
        if self._head is None:
            logits_BTV = self._model(input_ids=tokens_BT, use_cache=False).logits
            return functional.cross_entropy(logits_BTV[:, :-1].float().flatten(0, 1), labels_N, reduction="sum")
        hidden_BTD = self._model.base_model(input_ids=tokens_BT, use_cache=False)[0]
        return head_nats(hidden_BTD[:, :-1].flatten(0, 1), self._head.weight, self._head.bias, labels_N)

    def factors(self) -> dict[str, Factors]:
        """Copies of A, B and m on the CPU, fp32."""
        return self._optimizer.factors()

    def state(self) -> dict[str, Tensor]:
        """Parameters and AdamW's moments."""
        return self._optimizer.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Parameters and moments of an earlier process, whichever engine it used."""
        self._optimizer.restore(state)
        self._refresh()
