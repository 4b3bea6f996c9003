"""Own causal attention against torch's, and what of torch's calls it takes over."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from hivetune.attention import BlockedAttention, causal_attention


def heads(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[B, heads, T, D] as a model has it: a view of [B, T, heads, D]."""
    batch, count, tokens, size = shape
    values = torch.randn(batch, tokens, count, size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.transpose(1, 2).requires_grad_()


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 150), st.sampled_from([1, 8, 24]),
    st.sampled_from([None, 0.3]),
)  # fmt: skip
@settings(max_examples=40)
def test_it_is_torchs_attention(
    batch: int, groups: int, keys: int, tokens: int, size: int, scale: float | None
) -> None:
    query = heads(0, batch, groups * keys, tokens, size)
    key, value = heads(1, batch, keys, tokens, size), heads(2, batch, keys, tokens, size)
    outer = heads(3, batch, groups * keys, tokens, size).detach()
    expected = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=True)
    found = causal_attention(query, key, value, scale)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    pairs = zip(*(torch.autograd.grad(one, (query, key, value), outer) for one in (found, expected)), strict=True)
    for got, want in pairs:
        torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5)


def test_bfloat16_is_as_near_to_the_truth_as_torch() -> None:
    tensors = [heads(seed, 2, count, 100, 16, dtype=torch.bfloat16) for seed, count in enumerate((6, 2, 2))]
    outer = heads(3, 2, 6, 100, 16).detach()
    doubles = [tensor.detach().double().requires_grad_() for tensor in tensors]
    truth = torch.autograd.grad(
        scaled_dot_product_attention(*doubles, is_causal=True, enable_gqa=True), doubles, outer.double()
    )
    errors = []
    for one in (
        causal_attention(*tensors),
        scaled_dot_product_attention(*tensors, is_causal=True, enable_gqa=True),
    ):
        found = torch.autograd.grad(one, tensors, outer.bfloat16())
        errors.append([float((a.double() - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True)])
    assert all(mine < max(1.5 * torchs, 0.01) for mine, torchs in zip(*errors, strict=True))


def test_it_keeps_its_inputs_alone() -> None:
    tensors = [heads(seed, 1, 2, 200, 8) for seed in range(3)]
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        causal_attention(*tensors)
    assert {one.untyped_storage().data_ptr() for one in kept} == {one.untyped_storage().data_ptr() for one in tensors}


class Calls(TorchFunctionMode):
    """Notes whether torch's own attention was reached."""

    reached = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.reached |= func is scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("options", "is_own"),
    [
        ({"is_causal": True}, True),
        ({"is_causal": True, "attn_mask": None, "dropout_p": 0.0, "scale": 0.5}, True),
        ({}, False),
        ({"is_causal": True, "dropout_p": 0.5}, False),
        ({"attn_mask": torch.ones(9, 9, dtype=torch.bool)}, False),
    ],
)  # fmt: skip
def test_only_plain_causal_attention_is_taken_over(options: dict[str, object], is_own: bool) -> None:
    tensors = [heads(seed, 1, 2, 9, 8) for seed in range(3)]
    with Calls() as calls, BlockedAttention():
        scaled_dot_product_attention(*tensors, **options)
    assert calls.reached is not is_own


def test_more_keys_than_queries_are_left_to_torch() -> None:
    with Calls() as calls, BlockedAttention():
        scaled_dot_product_attention(heads(0, 1, 2, 3, 8), heads(1, 1, 2, 9, 8), heads(2, 1, 2, 9, 8), is_causal=True)
    assert calls.reached
