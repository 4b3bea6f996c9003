"""Putting DoRA layers into a base model: the same places and, for the same seed, the same first values as PEFT's.

Shapes: O = out features, I = in features, R = rank.
"""

import math
from collections.abc import Callable

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from hivetune.errors import ConfigError
from hivetune.records import AdapterLayout, Target
from miner.dora_layer import DoraLinear, Form


def attach(
    model: nn.Module, layout: AdapterLayout, *, seed: int, dropout: float = 0.0, form: Form = "auto"
) -> dict[str, DoraLinear]:
    """Replace every adapted layer of `model`; the layers by module name."""
    generator = torch.Generator().manual_seed(seed)
    targets = {target.module: target for target in layout.targets}
    if missing := targets.keys() - dict(model.named_modules()).keys():
        raise ConfigError(f"the release adapts {min(missing)}, which the model does not have")
    layers = {}
    # In the model's order, because PEFT draws in it.
    for name, module in [(name, module) for name, module in model.named_modules() if name in targets]:
        layers[name] = DoraLinear(
            module,
            dense_weight(module, targets[name]),
            _first_down(layout.rank, targets[name], generator),
            scale=layout.scale,
            dropout=dropout,
            form=form,
        )
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layers[name])
    return layers


def dense_weight(module: nn.Module, target: Target) -> Callable[[], Tensor]:
    """Gives the layer's weight as [O, I]; made anew at each call where it is quantised in a way that PEFT can undo."""
    shape = (target.out_features, target.in_features)

    def get() -> Tensor:
        weight: Tensor = module.weight if _is_floating(module) else dequantize_module_weight(module)  # type: ignore[assignment]
        return weight.T if target.transposed else weight

    try:
        weight_OI = get()
    except (AttributeError, TypeError, ImportError) as error:
        raise ConfigError(f"{target.module}: cannot train on a {type(module).__name__}: {error}") from error
    if not weight_OI.is_floating_point() or weight_OI.shape != shape:
        found = f"{type(module).__name__} of {weight_OI.dtype} {tuple(weight_OI.shape)}"
        raise ConfigError(f"{target.module}: cannot train on a {found}, want floating point {shape}")
    return get


def _is_floating(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return type(weight) is nn.Parameter and weight.is_floating_point()


def _first_down(rank: int, target: Target, generator: torch.Generator) -> Tensor:
    """What PEFT's A starts from, including what its linear layers draw first and then throw away."""
    down_RI = torch.empty(rank, target.in_features)
    for thrown in (down_RI, torch.empty(target.out_features, rank)):
        nn.init.kaiming_uniform_(thrown, a=math.sqrt(5), generator=generator)
    return nn.init.kaiming_uniform_(down_RI, a=math.sqrt(5), generator=generator)
