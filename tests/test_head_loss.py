"""Cross-entropy in pieces against the whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from hivetune.head_loss import head_nats


def case(rows: int, words: int, *, bias: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    generator = torch.Generator().manual_seed(rows * words)
    hidden_ND = torch.randn(rows, 6, generator=generator).requires_grad_()
    head_VD = torch.randn(words, 6, generator=generator)
    bias_V = torch.randn(words, generator=generator) if bias else None
    return hidden_ND, head_VD, bias_V, torch.randint(words, (rows,), generator=generator)


@given(st.integers(1, 70), st.integers(1, 50), st.booleans(), st.integers(0, 2000))
def test_pieces_are_the_whole(rows: int, words: int, bias: bool, at_once: int) -> None:
    hidden_ND, head_VD, bias_V, labels_N = case(rows, words, bias=bias)
    expected = functional.cross_entropy(functional.linear(hidden_ND, head_VD, bias_V), labels_N, reduction="sum")
    found = head_nats(hidden_ND, head_VD, bias_V, labels_N, logits_at_once=at_once)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    for got, want in zip(
        torch.autograd.grad(found / rows, hidden_ND), torch.autograd.grad(expected / rows, hidden_ND), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


def test_a_certain_word_costs_nothing_and_an_impossible_one_what_it_should() -> None:
    hidden_ND = torch.tensor([[400.0], [400.0]])
    nats = head_nats(hidden_ND, torch.tensor([[1.0], [-1.0]]), None, torch.tensor([0, 1]))
    assert float(nats) == pytest.approx(800.0)


def test_the_loss_of_half_precision_is_summed_in_single() -> None:
    hidden_ND, head_VD, _, labels_N = case(60, 40, bias=False)
    hidden, head = hidden_ND.detach().bfloat16().requires_grad_(), head_VD.bfloat16()
    logits = functional.linear(hidden, head)
    expected = functional.cross_entropy(logits.float(), labels_N, reduction="sum")
    found = head_nats(hidden, head, None, labels_N)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    (got,), (want,) = torch.autograd.grad(found, hidden), torch.autograd.grad(expected, hidden)
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2)


def test_no_logits_are_kept() -> None:
    hidden_ND, head_VD, _, labels_N = case(60, 50, bias=False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes), lambda _: None):
        head_nats(hidden_ND, head_VD, None, labels_N)
    assert sum(kept) == hidden_ND.nbytes


def test_without_a_gradient_none_is_made() -> None:
    hidden_ND, head_VD, bias_V, labels_N = case(20, 10, bias=True)
    with torch.no_grad():
        nats = head_nats(hidden_ND, head_VD, bias_V, labels_N)
    expected = functional.cross_entropy(functional.linear(hidden_ND, head_VD, bias_V), labels_N, reduction="sum")
    torch.testing.assert_close(nats, expected)
