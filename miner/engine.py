"""How a DoRA adapter is trained: the small interface, and PEFT behind it as the reference.

Shapes: B = sequences, T = tokens, V = vocabulary.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import peft
import torch
from torch import Tensor
from torch.nn import functional

from hivetune.dora import Factors
from hivetune.model import BaseModel
from hivetune.records import AdapterLayout
from miner.optimizer import AdapterOptimizer

_PEFT_PARTS = ("lora_A.default", "lora_B.default", "lora_magnitude_vector.default")


class Engine(Protocol):
    """Trains one adapter step by step; its state is a flat dict of tensors, so a checkpoint needs no pickle."""

    def step(self, micro_batches: Iterable[Tensor], learning_rate: float) -> float:
        """One optimizer step over token tensors [B, T]; the mean loss in nats per token before it."""
        ...

    def factors(self) -> dict[str, Factors]:
        """The adapter now, by module name."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything a restart needs."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state()` of the same layout."""
        ...


class PeftEngine:
    """PEFT's DoRA with AdamW, the reference engine.

    Computes in the type that the base was loaded in; the adapter stays fp32. Takes the model over: load a fresh one
    for anything else.
    """

    def __init__(self, base: BaseModel, layout: AdapterLayout, *, seed: int, device: str) -> None:
        torch.manual_seed(seed)  # PEFT draws A from the global generator
        self._device = torch.device(device)
        self._model = peft.get_peft_model(base.model.to(self._device), _config(layout))
        self._model.eval()  # the base's own dropout would make a resumed run another one
        self._optimizer = AdapterOptimizer(_parameters(self._model, layout))

    def step(self, micro_batches: Iterable[Tensor], learning_rate: float) -> float:
        """One optimizer step; gradients of the micro-batches are weighted by their tokens."""
        batches = [batch.to(self._device, torch.long) for batch in micro_batches]
        predicted = sum(batch[:, 1:].numel() for batch in batches)
        total = 0.0
        self._optimizer.zero_gradients()
        for tokens_BT in batches:
            logits_BTV = self._model(input_ids=tokens_BT, use_cache=False).logits
            loss = functional.cross_entropy(
                logits_BTV[:, :-1].float().flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="sum"
            )
            (loss / predicted).backward()
            total += float(loss.detach())
        self._optimizer.step(learning_rate)
        return total / predicted

    def factors(self) -> dict[str, Factors]:
        """Copies of A, B and m on the CPU, fp32."""
        return self._optimizer.factors()

    def state(self) -> dict[str, Tensor]:
        """Parameters and AdamW's moments."""
        return self._optimizer.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Parameters and moments of an earlier process."""
        self._optimizer.restore(state)


def _parameters(
    model: torch.nn.Module, layout: AdapterLayout
) -> dict[str, tuple[torch.nn.Parameter, torch.nn.Parameter, torch.nn.Parameter]]:
    named = dict(model.named_parameters())
    found = {}
    for target in layout.targets:
        down, up, magnitude = (named[f"base_model.model.{target.module}.{part}.weight"] for part in _PEFT_PARTS)
        found[target.module] = (down, up, magnitude)
    return found


def _config(layout: AdapterLayout) -> peft.LoraConfig:
    return peft.LoraConfig(
        r=layout.rank,
        lora_alpha=layout.alpha,
        use_rslora=layout.rslora,
        use_dora=True,
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=any(target.transposed for target in layout.targets),
        target_modules=[target.module for target in layout.targets],
        task_type="CAUSAL_LM",
    )
