"""The optimizer that every engine shares, so that engines differ in speed alone and read one another's checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hivetune.dora import Factors

_WEIGHT_DECAY = 0.0
_BETAS = (0.9, 0.95)
_CLIP_NORM = 1.0
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each parameter
_PARTS = ("lora_A", "lora_B", "magnitude")


class AdapterOptimizer:
    """AdamW over the A, B and m of every adapted module."""

    def __init__(self, layers: Mapping[str, tuple[nn.Parameter, nn.Parameter, nn.Parameter]]) -> None:
        self._layers = layers
        self._named = {
            f"{module}.{part}": parameter
            for module, parameters in layers.items()
            for part, parameter in zip(_PARTS, parameters, strict=True)
        }
        self._adamw = torch.optim.AdamW(
            self._named.values(), betas=_BETAS, weight_decay=_WEIGHT_DECAY, lr=0.0, fused=True
        )

    def zero_gradients(self) -> None:
        """Before the first micro-batch of a step."""
        self._adamw.zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Clip, step, and keep magnitudes lengths: a step may push one below zero, which no validator admits."""
        torch.nn.utils.clip_grad_norm_(self._named.values(), _CLIP_NORM)
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._adamw.step()
        for _, _, magnitude_O in self._layers.values():
            magnitude_O.clamp_(min=0)

    def steps(self) -> int:
        """Steps done, those before a restart included."""
        return max((int(state["step"]) for state in self._adamw.state.values()), default=0)

    def factors(self) -> dict[str, Factors]:
        """Copies of A, B and m on the CPU, fp32, by module name."""
        found = {}
        for module, parameters in self._layers.items():
            down_RI, up_OR, magnitude_O = (p.detach().to("cpu", torch.float32, copy=True) for p in parameters)
            found[module] = Factors(down_RI=down_RI, up_OR=up_OR, magnitude_O=magnitude_O)
        return found

    def state(self) -> dict[str, Tensor]:
        """Parameters and AdamW's moments."""
        tensors = {}
        for name, parameter in self._named.items():
            tensors[f"parameter:{name}"] = parameter.detach().to("cpu", copy=True)
            for key, value in self._adamw.state[parameter].items():
                tensors[f"{key}:{name}"] = torch.as_tensor(value).detach().to("cpu", copy=True)
        return tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Parameters and moments of an earlier process."""
        for name, parameter in self._named.items():
            parameter.copy_(state[f"parameter:{name}"])
            self._adamw.state[parameter] = {
                key: state[f"{key}:{name}"].to(parameter.device) for key in _MOMENTS if f"{key}:{name}" in state
            }
