"""Held-out losses against a naive loop over tokens; broken losses are verdicts, not accidents."""

import math

import pytest
import torch
from torch.nn import functional

from hivetune.errors import ConfigError, RejectedSubmission
from hivetune.evaluation import batch_nats, losses, make_batches, report
from hivetune.model import BaseModel
from tests.conftest import capped, weights_of

TEXTS = ["a first text", "a second, much longer text that gets cut", "short", "née: ünïcode"]
LENGTH = 24


def naive_nats(base: BaseModel, text: str) -> tuple[float, int]:
    """One text at a time, without padding, one token after another."""
    tokens = base.tokenizer(text, add_special_tokens=False)["input_ids"][:LENGTH]
    logits_TV = base.model(input_ids=torch.tensor([tokens])).logits[0].float()
    nats = sum(-float(functional.log_softmax(logits_TV[i], -1)[token]) for i, token in enumerate(tokens[1:]))
    return nats, len(tokens) - 1


@pytest.mark.parametrize("batch_sequences", [1, 3, 4])
def test_losses_are_those_of_a_loop_over_tokens(base: BaseModel, batch_sequences: int) -> None:
    batches = make_batches(base.tokenizer, TEXTS, sequence_length=LENGTH, batch_sequences=batch_sequences)
    expected = [naive_nats(base, text) for text in TEXTS]
    assert sum(batch.predicted for batch in batches) == sum(tokens for _, tokens in expected)
    found = losses(base, batches, {})
    assert len(found) == math.ceil(len(TEXTS) / batch_sequences)
    first = sum(nats for nats, _ in expected[:batch_sequences])
    assert found[0] == pytest.approx(first, rel=1e-4)
    assert sum(found) == pytest.approx(sum(nats for nats, _ in expected), rel=1e-4)


def test_padding_changes_no_loss(base: BaseModel) -> None:
    alone = make_batches(base.tokenizer, ["short"], sequence_length=LENGTH, batch_sequences=1)
    padded = make_batches(base.tokenizer, ["short", "x" * 40], sequence_length=LENGTH, batch_sequences=2)
    assert padded[0].tokens_BT.shape == (2, LENGTH)
    long = make_batches(base.tokenizer, ["x" * 40], sequence_length=LENGTH, batch_sequences=1)
    total = losses(base, alone, {})[0] + losses(base, long, {})[0]
    assert losses(base, padded, {})[0] == pytest.approx(total, rel=1e-4)


def test_logits_that_are_more_than_the_heads_product_count_as_they_are(llama: BaseModel) -> None:
    base = capped(llama)
    batches = make_batches(base.tokenizer, TEXTS, sequence_length=LENGTH, batch_sequences=2)
    expected = sum(naive_nats(base, text)[0] for text in TEXTS)
    assert sum(losses(base, batches, {})) == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(sum(naive_nats(llama, text)[0] for text in TEXTS), rel=2e-3)


def test_the_same_batches_give_the_same_losses(llama: BaseModel) -> None:
    batches = make_batches(llama.tokenizer, TEXTS, sequence_length=LENGTH, batch_sequences=2)
    assert losses(llama, batches, {}) == losses(llama, batches, {}) == losses(llama, batches, weights_of(llama))


def test_the_loss_is_differentiable_in_the_weights(llama: BaseModel) -> None:
    (batch,) = make_batches(llama.tokenizer, TEXTS, sequence_length=LENGTH, batch_sequences=4)
    weights = {name: weight_OI.clone().requires_grad_() for name, weight_OI in weights_of(llama).items()}
    nats = batch_nats(llama, batch, weights)
    (gradient,) = torch.autograd.grad(nats, [next(iter(weights.values()))])
    assert float(gradient.norm()) > 0


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e38])
def test_a_broken_loss_is_a_verdict(base: BaseModel, poison: float) -> None:
    batches = make_batches(base.tokenizer, TEXTS, sequence_length=LENGTH, batch_sequences=2)
    weights = {name: torch.full_like(weight_OI, poison) for name, weight_OI in weights_of(base).items()}
    with pytest.raises(RejectedSubmission) as caught:
        losses(base, batches, weights)
    assert caught.value.reason == "broken_loss"
    assert "batch 0 of 2" in caught.value.detail


@pytest.mark.parametrize("text", ["", "x"])
def test_text_too_short_to_predict_is_refused(llama: BaseModel, text: str) -> None:
    with pytest.raises(ConfigError, match="fewer than 2 tokens"):
        make_batches(llama.tokenizer, ["fine", text], sequence_length=LENGTH, batch_sequences=2)


def test_a_report_agrees_with_itself_and_with_the_losses(base: BaseModel) -> None:
    batches = make_batches(base.tokenizer, TEXTS, sequence_length=LENGTH, batch_sequences=3)
    found = report(base, batches)
    assert found.batch_nats == pytest.approx(losses(base, batches, {}))
    assert found.loss == pytest.approx(sum(found.batch_nats) / sum(found.batch_tokens))
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert 0 <= found.token_accuracy <= 1
    assert found.bits_per_byte > 0


def test_bits_per_byte_of_a_byte_tokenizer_are_the_loss_in_bits(llama: BaseModel) -> None:
    batches = make_batches(
        llama.tokenizer, ["plain ascii text", "more of it"], sequence_length=LENGTH, batch_sequences=2
    )
    found = report(llama, batches)
    assert sum(batch.text_bytes for batch in batches) == sum(found.batch_tokens)
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2))


def test_token_accuracy_counts_right_guesses(llama: BaseModel) -> None:
    (batch,) = make_batches(llama.tokenizer, ["abcdef"], sequence_length=LENGTH, batch_sequences=1)
    guesses = llama.logits(batch.tokens_BT, {}).argmax(-1)[0, :-1]
    right = int((guesses == batch.tokens_BT[0, 1:]).sum())
    assert report(llama, [batch]).token_accuracy == right / 5
