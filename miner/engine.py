"""How a DoRA adapter is trained: the small interface, and PEFT behind it.

Shapes: B = sequences, T = tokens.
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

_WEIGHT_DECAY = 0.0
_BETAS = (0.9, 0.95)
_CLIP_NORM = 1.0
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each parameter


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
        self._layout = layout
        self._model = peft.get_peft_model(base.model.to(self._device), _config(layout))
        self._model.eval()  # the base's own dropout would make a resumed run another one
        self._named = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._named.values(), betas=_BETAS, weight_decay=_WEIGHT_DECAY, lr=0.0, fused=True
        )

    def step(self, micro_batches: Iterable[Tensor], learning_rate: float) -> float:
        """One optimizer step; gradients of the micro-batches are weighted by their tokens."""
        batches = [batch.to(self._device) for batch in micro_batches]
        predicted = sum(batch[:, 1:].numel() for batch in batches)
        total = 0.0
        self._optimizer.zero_grad(set_to_none=True)
        for tokens_BT in batches:
            logits_BTV = self._model(input_ids=tokens_BT, use_cache=False).logits
            loss = functional.cross_entropy(
                logits_BTV[:, :-1].float().flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="sum"
            )
            (loss / predicted).backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self._named.values(), _CLIP_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._keep_magnitudes_positive()
        return total / predicted

    @torch.no_grad()
    def _keep_magnitudes_positive(self) -> None:
        """A magnitude is a length. Steps can push a small one below zero, which no validator admits."""
        for name, parameter in self._named.items():
            if "lora_magnitude_vector" in name:
                parameter.clamp_(min=0)

    def factors(self) -> dict[str, Factors]:
        """Copies of A, B and m on the CPU, fp32."""
        found = {}
        for target in self._layout.targets:
            name = f"base_model.model.{target.module}"
            down_RI, up_OR, magnitude_O = (
                self._named[f"{name}.{part}.weight"].detach().to("cpu", torch.float32).clone()
                for part in ("lora_A.default", "lora_B.default", "lora_magnitude_vector.default")
            )
            found[target.module] = Factors(down_RI=down_RI, up_OR=up_OR, magnitude_O=magnitude_O)
        return found

    def state(self) -> dict[str, Tensor]:
        """Parameters and AdamW's moments."""
        tensors = {}
        for name, parameter in self._named.items():
            tensors[f"parameter:{name}"] = parameter.detach().cpu().clone()
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"{key}:{name}"] = torch.as_tensor(value).detach().cpu().clone()
        return tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Parameters and moments of an earlier process."""
        for name, parameter in self._named.items():
            parameter.copy_(state[f"parameter:{name}"])
            self._optimizer.state[parameter] = {
                key: state[f"{key}:{name}"].to(self._device) for key in _MOMENTS if f"{key}:{name}" in state
            }


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
