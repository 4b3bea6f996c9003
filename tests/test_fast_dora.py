"""The fast DoRA layer against PEFT's and against plain autograd in double precision."""

import math
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hivetune.errors import ConfigError
from hivetune.records import AdapterLayout, Target
from miner.attach import attach, dense_weight
from miner.dora_layer import DoraLinear, Form

RANK = 3
ALPHA = 7.0


def linear(in_features: int, out_features: int, *, bias: bool, transposed: bool, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer = Conv1D(out_features, in_features) if transposed else nn.Linear(in_features, out_features, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / in_features**0.5)
    return layer.requires_grad_(False)


def layout_of(layer: nn.Module, *, rslora: bool = False, transposed: bool = False) -> AdapterLayout:
    shape = layer.weight.T.shape if transposed else layer.weight.shape
    target = Target(module="layer", out_features=shape[0], in_features=shape[1], transposed=transposed)
    return AdapterLayout(rank=RANK, alpha=ALPHA, rslora=rslora, targets=(target,))


def ours(layer: nn.Module, layout: AdapterLayout, **options: Any) -> DoraLinear:
    return attach(nn.ModuleDict({"layer": layer}), layout, seed=0, **options)["layer"]


def theirs(layer: nn.Module, layout: AdapterLayout, *, dropout: float = 0.0) -> nn.Module:
    config = peft.LoraConfig(
        r=layout.rank, lora_alpha=layout.alpha, use_rslora=layout.rslora, use_dora=True, target_modules=["layer"],
        fan_in_fan_out=layout.targets[0].transposed, lora_dropout=dropout,
    )  # fmt: skip
    return peft.get_peft_model(nn.ModuleDict({"layer": layer}), config).base_model.model["layer"]


def parts(layer: nn.Module) -> list[nn.Parameter]:
    if isinstance(layer, DoraLinear):
        return [layer.lora_A, layer.lora_B, layer.magnitude]
    named = dict(layer.named_parameters())
    return [named[f"{name}.default.weight"] for name in ("lora_A", "lora_B", "lora_magnitude_vector")]


def perturb(layers: list[nn.Module], *, size: float = 0.3, seed: int = 1) -> None:
    """The same factors for all, well away from where training starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameters in zip(*map(parts, layers), strict=True):
            value = parameters[0].clone()
            value += size * value.abs().mean().clamp_min(0.1) * torch.randn(value.shape, generator=generator)
            for parameter in parameters:
                parameter.copy_(value)
    for layer in layers:
        if isinstance(layer, DoraLinear):
            layer.refresh()


def outcome(layer: nn.Module, inputs: Tensor, outer: Tensor) -> list[Tensor]:
    """Outputs and the gradients of inputs, A, B and m."""
    inputs = inputs.clone().requires_grad_()
    outputs = layer(inputs)
    return [outputs.detach(), *torch.autograd.grad(outputs, [inputs, *parts(layer)], outer)]


def error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def plain(
    layer: DoraLinear, weight_OI: Tensor, bias: Tensor | None, scale: float, inputs: Tensor, outer: Tensor
) -> Any:
    """The same in double precision by autograd, with the norm held constant; a row without a direction is zero."""
    inputs = inputs.detach().double().requires_grad_()
    down_RI, up_OR, magnitude_O = (p.detach().double().requires_grad_() for p in parts(layer))
    direction_OI = weight_OI.double() + scale * up_OR @ down_RI
    norm_O = direction_OI.norm(dim=1).detach()
    gain_O = torch.where(norm_O > 0, magnitude_O / norm_O.where(norm_O > 0, 1.0), 0.0)
    outputs = inputs @ (gain_O.unsqueeze(1) * direction_OI).T + (0.0 if bias is None else bias.double())
    return [outputs.detach(), *torch.autograd.grad(outputs, [inputs, down_RI, up_OR, magnitude_O], outer.double())]


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from(["auto", "factored", "merged"]),
)  # fmt: skip
@settings(max_examples=60)
def test_outputs_and_gradients_are_pefts(
    in_features: int, out_features: int, tokens: int, bias: bool, rslora: bool, transposed: bool, form: Form
) -> None:
    layer = linear(in_features, out_features, bias=bias, transposed=transposed)
    layout = layout_of(layer, rslora=rslora, transposed=transposed)
    pair = [ours(layer, layout, form=form), theirs(layer, layout)]
    perturb(pair)
    generator = torch.Generator().manual_seed(tokens)
    inputs = torch.randn(2, tokens, in_features, generator=generator)
    outer = torch.randn(2, tokens, out_features, generator=generator)
    for found, expected in zip(*(outcome(one, inputs, outer) for one in pair), strict=True):
        assert found.shape == expected.shape
        assert error(found, expected) < 1e-5


@pytest.mark.parametrize("form", ["factored", "merged"])
@pytest.mark.parametrize("bias", [False, True])
def test_rows_without_magnitude_or_direction_are_exact_too(bias: bool, form: Form) -> None:
    layer = linear(8, 6, bias=bias, transposed=False)
    layer.weight[2] = 0  # its B stays zero with it: no direction at all
    adapted = ours(layer, layout_of(layer), form=form)
    perturb([adapted])
    with torch.no_grad():
        adapted.lora_B[2] = 0
        adapted.magnitude[torch.tensor([0, 2])] = 0
        adapted.magnitude[1] *= 1e-4
        adapted.magnitude[3] *= 30
    adapted.refresh()
    inputs, outer = torch.randn(5, 8), torch.randn(5, 6)
    expected = plain(adapted, layer.weight, layer.bias, ALPHA / RANK, inputs, outer)
    for got, want in zip(outcome(adapted, inputs, outer), expected, strict=True):
        torch.testing.assert_close(got, want.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("smallest", [0.9, 0.01])
@pytest.mark.parametrize("bias", [False, True])
def test_bfloat16_is_as_near_to_the_truth_as_peft(bias: bool, smallest: float) -> None:
    layer = linear(96, 64, bias=bias, transposed=False).bfloat16()
    pair = [ours(layer, layout_of(layer)), theirs(layer, layout_of(layer))]
    perturb(pair, size=0.05)
    with torch.no_grad():
        for one in pair:
            parts(one)[2][0] *= smallest
    pair[0].refresh()
    inputs, outer = torch.randn(300, 96).bfloat16(), torch.randn(300, 64).bfloat16()
    truth = plain(pair[0], layer.weight, layer.bias, ALPHA / RANK, inputs, outer)
    for got, peft_got, want in zip(*(outcome(one, inputs, outer) for one in pair), truth, strict=True):
        assert error(got, want) < max(1.6 * error(peft_got, want), 6e-3)
    rows = [error(outcome(pair[0], inputs, outer)[0][:, 0], truth[0][:, 0])]
    assert rows[0] < 2e-2


def test_dropout_is_pefts() -> None:
    layer = linear(24, 16, bias=True, transposed=False)
    pair = [ours(layer, layout_of(layer), dropout=0.3), theirs(layer, layout_of(layer), dropout=0.3)]
    perturb(pair)
    inputs, outer = torch.randn(20, 24), torch.randn(20, 16)
    found = []
    for one in pair:
        torch.manual_seed(5)
        found.append(outcome(one.train(), inputs, outer))
    for got, want in zip(*found, strict=True):
        assert error(got, want) < 1e-5
    for one in pair:
        one.eval()
    assert error(*(one(inputs) for one in pair)) < 1e-5


def test_the_first_values_are_pefts_to_the_bit() -> None:
    layers = {"a": linear(8, 12, bias=True, transposed=False), "b": linear(12, 8, bias=False, transposed=False)}
    targets = tuple(
        Target(module=name, out_features=len(layer.weight), in_features=layer.weight.shape[1], transposed=False)
        for name, layer in layers.items()
    )
    layout = AdapterLayout(rank=RANK, alpha=ALPHA, rslora=False, targets=targets[::-1])
    torch.manual_seed(11)
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, use_dora=True, target_modules=["a", "b"])
    expected = peft.get_peft_model(nn.ModuleDict(dict(layers)), config).base_model.model
    found = attach(nn.ModuleDict(dict(layers)), layout, seed=11)
    for name, layer in found.items():
        assert all(torch.equal(*pair) for pair in zip(parts(layer), parts(expected[name]), strict=True))


def saved_bytes(layer: nn.Module, inputs: Tensor) -> int:
    """What one call keeps for its backward pass beside parameters and its input."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), inputs)}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = layer(inputs)
    assert kept.requires_grad
    return sum(storages.values())


@pytest.mark.parametrize(("form", "floats_per_token"), [("factored", 64 + RANK), ("merged", 64)])
def test_it_keeps_little(form: Form, floats_per_token: int) -> None:
    """Its output and A x; the factors of one small layer come on top in neither form."""
    layer = linear(32, 64, bias=False, transposed=False)
    inputs = torch.randn(100, 32, requires_grad=True)
    assert saved_bytes(ours(layer, layout_of(layer), form=form), inputs) == 4 * 100 * floats_per_token
    assert saved_bytes(theirs(layer, layout_of(layer)), inputs) > 2 * 4 * 100 * floats_per_token


class Quantised(nn.Module):
    """Stands as HQQ's layer does: integers, and a way back."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.step = layer.weight.abs().max() / 127
        self.W_q = nn.Parameter((layer.weight / self.step).round().to(torch.int8), requires_grad=False)
        self.bias = layer.bias

    def dequantize(self) -> Tensor:
        return self.W_q * self.step


def test_a_quantised_base_is_used_through_its_dense_weight() -> None:
    layer = linear(16, 24, bias=True, transposed=False)
    quantised, layout = Quantised(layer), layout_of(layer)
    dense = linear(16, 24, bias=True, transposed=False)
    dense.weight.copy_(quantised.dequantize())
    pair = [ours(quantised, layout), ours(dense, layout)]
    perturb(pair)
    inputs, outer = torch.randn(10, 16), torch.randn(10, 24)
    for got, want in zip(*(outcome(one, inputs, outer) for one in pair), strict=True):
        assert torch.equal(got, want)
    assert saved_bytes(pair[0], inputs) < quantised.dequantize().nbytes + 4 * 10 * 2 * (24 + RANK)


def test_a_base_without_a_dense_weight_is_refused() -> None:
    layer = linear(16, 24, bias=False, transposed=False)
    target = layout_of(layer).targets[0]
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"cannot train on a Linear of torch\.int8"):
        dense_weight(layer, target)
    with pytest.raises(ConfigError, match="cannot train on a Identity"):
        dense_weight(nn.Identity(), target)
    with pytest.raises(ConfigError, match=r"want floating point \(24, 16\)"):
        dense_weight(linear(24, 16, bias=False, transposed=False), target)
    with pytest.raises(ConfigError, match="the release adapts layer"):
        attach(nn.ModuleDict(), layout_of(linear(2, 2, bias=False, transposed=False)), seed=0)


def test_the_norm_survives_terms_that_cancel() -> None:
    """B A takes the base away almost wholly: what is left of the norm is a thousandth of each term."""
    layer = linear(32, 8, bias=False, transposed=False)
    adapted = ours(layer, AdapterLayout(rank=32, alpha=32.0, rslora=False, targets=layout_of(layer).targets))
    with torch.no_grad():
        adapted.lora_A.copy_(torch.eye(32))
        adapted.lora_B.copy_(-0.999 * layer.weight)
    adapted.refresh()
    inputs = torch.randn(4, 32)
    expected = inputs @ layer.weight.T * (adapted.magnitude / layer.weight.norm(dim=1))
    torch.testing.assert_close(adapted(inputs), expected, rtol=2e-2, atol=1e-3)
    assert math.isfinite(float(adapted(inputs).detach().sum()))
