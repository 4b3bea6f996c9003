"""Scoring from look to look: nobody is measured longer than it takes, nothing twice, and what breaks late is found."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from hivetune.dora import Factors, dora_weight
from hivetune.evaluation import Batch, losses, make_batches
from hivetune.merging import Adapter
from hivetune.model import BaseModel
from hivetune.statistics import token_mean
from tests.conftest import DOMAINS, admitted, make_scoring, untrained_layer, weights_of
from tests.test_scoring import HONEST, assert_close_pay, reversed_of, scorer_of, with_entry
from validator.scoring import Scorer, batch_tokens, pay

LONG_PLAN = make_scoring(batch_sequences=4)
FAR = 0.15  # further than any of the honest goes
RARE = "\x01"  # a byte that stands in the last text alone


@pytest.fixture(scope="module")
def long_batches(llama: BaseModel) -> list[Batch]:
    """Text for three looks: 16, 32 and 48 batches of 4 sequences."""
    texts = [DOMAINS[row % 3][row % 40 :] + DOMAINS[row % 3] for row in range(191)]
    return make_batches(llama.tokenizer, [*texts, RARE + texts[0]], sequence_length=32, batch_sequences=4)


def test_nobody_is_measured_longer_than_it_takes_and_all_on_common_batches(
    llama: BaseModel, honest: list[Adapter], long_batches: list[Batch]
) -> None:
    idle = admitted(llama, "idle", {name: untrained_layer(w) for name, w in weights_of(llama).items()})
    harmful = reversed_of(llama, honest[0])
    scorer = scorer_of(llama, long_batches, LONG_PLAN)
    solo = with_entry(scorer, honest, idle, harmful).solo
    sequences = {hotkey: 4 * len(one.batch_nats) for hotkey, one in solo.items()}
    assert sequences["idle"] == sequences[harmful.hotkey] == 64
    assert all(count in (64, 128, 192) for count in sequences.values())
    for adapter in honest:
        adapted = {
            name: dora_weight(base_OI, adapter.factors[name], 2.0) for name, base_OI in weights_of(llama).items()
        }
        whole = losses(llama, long_batches, adapted)
        measured = solo[adapter.hotkey].batch_nats
        assert list(measured) == whole[: len(measured)]
        gained = [before - after for before, after in zip(scorer.base_nats, whole, strict=True)]
        full = token_mean(gained, batch_tokens(long_batches), 0.95)
        assert (solo[adapter.hotkey].improvement.lower > 0) == (full.lower > 0)


def test_the_harmful_leave_at_the_first_look(
    llama: BaseModel, honest: list[Adapter], long_batches: list[Batch]
) -> None:
    said: list[str] = []
    scorer = Scorer(llama, weights_of(llama), long_batches, 2.0, LONG_PLAN, said.append)
    fair = pay(scorer.score(honest))
    said.clear()
    scores = with_entry(scorer, honest, *(reversed_of(llama, adapter) for adapter in honest))
    assert scores.paid == HONEST
    assert_close_pay(pay(scores), fair)
    assert "credit of 6 at the first look" in said
    assert [line for line in said if "pass" in line] == ["credit of 3 in the merge, pass 1"]


def test_what_is_measured_already_is_not_measured_again(
    llama: BaseModel, honest: list[Adapter], long_batches: list[Batch]
) -> None:
    said: list[str] = []
    scorer = Scorer(llama, weights_of(llama), long_batches, 2.0, LONG_PLAN, said.append)
    measured: dict[str, tuple[float, ...]] = {}
    first = scorer.score(honest, measured)
    assert set(measured) == set(HONEST)
    del measured["honest-1"]
    said.clear()
    assert scorer.score(honest, measured) == first
    assert [line for line in said if line.startswith("testing")] == ["testing honest-1"]


class Fragile(torch.nn.Module):
    """Computes nothing but NaN for a text with the rare byte while the first adapted row is moved far."""

    def __init__(self, base: BaseModel, far: float = FAR) -> None:
        super().__init__()
        self._far = far
        self.model = base.model
        self._rare = base.tokenizer(RARE)["input_ids"][0]
        self._layer = next(iter(weights_of(base)))
        self._before_I = self._first_row_I().clone()

    def _first_row_I(self) -> torch.Tensor:
        return self.model.get_submodule(self._layer).weight[0]  # type: ignore[index,return-value]

    @property
    def base_model(self) -> torch.nn.Module:
        """Not registered: a module under two names is not put back when its weights were replaced for a call."""
        return self.model

    def get_output_embeddings(self) -> None:
        """None: the logits are more than a head's product."""

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.model.get_input_embeddings()

    def forward(self, input_ids: torch.Tensor, **inputs: object) -> object:
        found = self.model(input_ids=input_ids, **inputs)
        if bool((input_ids == self._rare).any()) and float((self._first_row_I() - self._before_I).norm()) > self._far:
            found.logits = found.logits * torch.nan
        return found


def test_a_merge_that_breaks_where_nobody_was_measured_alone_costs_the_guilty_alone(
    llama: BaseModel, honest: list[Adapter], long_batches: list[Batch]
) -> None:
    first = next(iter(weights_of(llama)))
    layer = honest[0].factors[first]
    magnitude_O = layer.magnitude_O.clone()
    magnitude_O[0] *= 3
    turned = Factors(down_RI=layer.down_RI, up_OR=layer.up_OR, magnitude_O=magnitude_O)
    guilty = admitted(llama, "guilty", {**honest[0].factors, first: turned})
    base = BaseModel(model=Fragile(llama), tokenizer=llama.tokenizer)
    scorer = Scorer(base, within(weights_of(llama)), long_batches, 2.0, LONG_PLAN, lambda _activity: None)
    fair = scorer.score([renamed(adapter) for adapter in honest])
    assert fair.rejected == {}
    scores = scorer.score([renamed(guilty), *(renamed(adapter) for adapter in honest)])
    assert {hotkey: rejection.reason for hotkey, rejection in scores.rejected.items()} == {"guilty": "broken_loss"}
    assert pay(scores) == pay(fair)


def within(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The same by the names that they have inside `Fragile`."""
    return {f"model.{name}": layer for name, layer in layers.items()}


def renamed(adapter: Adapter) -> Adapter:
    return Adapter(
        hotkey=adapter.hotkey, factors=within(adapter.factors), shapes=within(adapter.shapes), norm=adapter.norm
    )
