"""What pay by credit promises whatever is submitted: it adds up, it is linear, and neither splitting nor junk pays."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from averager.genesis import DEFAULT_SCORING
from hivetune.dora import Factors
from hivetune.evaluation import Batch, make_batches
from hivetune.merging import Adapter, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.rounds import round_by_id
from tests.conftest import (
    DOMAINS,
    admitted,
    locate,
    make_layout,
    make_plan,
    make_release,
    make_scoring,
    untrained_layer,
    weights_of,
)
from tests.plain_credit import credit_of, exact_shapley, gain_of, leave_one_out, solo_gains, worth_of
from tests.test_intake import Fair
from tests.test_scoring import HONEST, noise, reversed_of, scorer_of
from validator.intake import Candidate
from validator.receipts import Registration, make_receipt
from validator.scoring import Scores, batch_tokens, pay

PLAN = make_scoring(gate_passes=DEFAULT_SCORING.gate_passes, batch_sequences=6)
COEFFICIENTS = st.floats(0.0, 0.33)
few = settings(max_examples=5)


@pytest.fixture(scope="module")
def two_looks(llama: BaseModel) -> list[Batch]:
    """Just enough text for a look before the last, so that the screen takes part."""
    texts = [DOMAINS[row % 3][row % 40 :] + DOMAINS[row % 3] for row in range(72)]
    return make_batches(llama.tokenizer, texts, sequence_length=32, batch_sequences=6)


def as_of(adapter: Adapter, hotkey: str) -> Adapter:
    return replace(adapter, hotkey=hotkey)


def in_order(adapters: Sequence[Adapter]) -> list[Adapter]:
    return sorted(adapters, key=lambda adapter: adapter.hotkey)


@few
@given(st.lists(COEFFICIENTS, min_size=3, max_size=3).filter(lambda c: sum(c) > 0.2))
def test_credits_add_up_and_the_more_nodes_the_closer(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch], coefficients: list[float]
) -> None:
    gain = gain_of(llama, honest, coefficients, batches[:2])
    errors = [
        abs(credit_of(llama, honest, coefficients, batches[:2], nodes).sum() / gain - 1) for nodes in (1, 2, 4, 8)
    ]
    assert errors[1] < 0.02
    rounding = 2e-4
    for fewer, more in itertools.pairwise(errors):
        assert more < fewer + rounding
    assert errors[-1] < rounding


@few
@given(st.integers(1, 31), st.integers(0, 2))
def test_credit_is_linear_in_the_coefficient(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch], part: int, which: int
) -> None:
    """Two who share one delta's coefficient as part : 32 - part share its credit so; the path stays the same."""
    twins = [*honest, as_of(honest[which], "twin")]
    coefficients = [0.3] * 3 + [0.3 * part / 32]
    coefficients[which] = 0.3 - coefficients[3]
    found = credit_of(llama, twins, coefficients, batches[:2])
    whole = credit_of(llama, honest, [0.3] * 3, batches[:2])
    assert found[3] == pytest.approx(whole[which] * part / 32, rel=1e-3)
    np.testing.assert_allclose(found[:3] * 0.3 / np.array(coefficients[:3]), whole, rtol=1e-3)


@pytest.mark.parametrize("parts", [1, 2, 8, 32])
def test_a_delta_split_over_many_hotkeys_earns_no_more(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch], parts: int
) -> None:
    """A DoRA delta splits exactly in its coefficient alone: of c D into k times (c / k) D.

    No factors make D / k of D's in general, because a row's gain is not linear in B A. And nobody chooses a
    coefficient: what the rounds make of many equal files is the next test.
    """
    whole = credit_of(llama, honest, [0.3] * 3, batches[:2])
    split = [*honest[:2], *(as_of(honest[2], f"part-{part:02d}") for part in range(parts))]
    found = credit_of(llama, split, [0.3, 0.3, *[0.3 / parts] * parts], batches[:2])
    assert found[2:].sum() == pytest.approx(whole[2], rel=1e-3)
    np.testing.assert_allclose(found[:2], whole[:2], rtol=1e-3)


def test_one_file_under_many_hotkeys_is_paid_once_to_the_bit(
    tmp_path: Path, llama: BaseModel, trained: dict[str, dict[str, Factors]], batches: list[Batch]
) -> None:
    """Through admission and scoring; the oldest commitment has it."""
    scorer = scorer_of(llama, batches)
    paid = {}
    for parts in (1, 2, 32):
        fair = Fair(tmp_path / str(parts), llama)
        for hotkey, factors in trained.items():
            fair.enter(hotkey, factors)
        for part in range(1, parts):
            fair.enter(f"part-{part:02d}", trained["honest-0"], block=fair.commitments["honest-0"].block + 1)
        candidates = fair.collect()
        copies = [c.rejection.reason for h, c in candidates.items() if h.startswith("part") and c.rejection]
        assert copies == ["duplicate"] * (parts - 1)
        paid[parts] = pay(scorer.score([c.adapter for c in candidates.values() if c.adapter and not c.rejection]))
    assert set(paid[1]) == set(HONEST)
    assert paid[32] == paid[2] == paid[1]


def junk(llama: BaseModel, honest: list[Adapter], text: Sequence[Batch]) -> list[Adapter]:
    """Twenty worthless entries of every size. Noise points the way that does not help, of the two that it could.

    In a model this small a random direction that happens to help is worth some hundredths of an honest one.
    """
    sizes = (1e-5, 1e-4, 1e-3, 3e-2)
    drawn = [noise(llama, seed, sizes[seed % len(sizes)]) for seed in range(17)]
    slopes = credit_of(llama, drawn, [1e-6] * len(drawn), text, 1)
    useless = [reversed_of(llama, one) if slope > 0 else one for one, slope in zip(drawn, slopes, strict=True)]
    idle = admitted(llama, "idle", {name: untrained_layer(w) for name, w in weights_of(llama).items()})
    return [idle, *(reversed_of(llama, adapter) for adapter in honest[:2]), *useless]


def test_twenty_worthless_entries_change_no_honest_credit_by_a_bit(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch], two_looks: list[Batch]
) -> None:
    """They may be in the first merges, but the last one has the honest alone, on the same text with the same nodes."""
    scorer = scorer_of(llama, two_looks, PLAN)
    fair = scorer.score(honest)
    scores = scorer.score(in_order([*honest, *junk(llama, honest, batches)]))
    assert fair.paid == scores.paid == HONEST
    assert {hotkey: scores.credit[hotkey] for hotkey in HONEST} == fair.credit
    assert pay(scores) == pay(fair)
    assert scores.merged_loss == fair.merged_loss


def test_one_delta_in_as_many_files_as_it_has_layers_is_paid_like_one(
    llama: BaseModel, honest: list[Adapter], two_looks: list[Batch]
) -> None:
    """The parts are most of the round and own its median norm; a merge clipped to it would be the worse one."""
    weights = weights_of(llama)
    nothing = {name: untrained_layer(base_OI) for name, base_OI in weights.items()}
    parts = [
        admitted(llama, f"part-{index:02d}", {**nothing, name: honest[0].factors[name]})
        for index, name in enumerate(weights)
    ]
    assert len(parts) > 2 * len(honest)
    scorer = scorer_of(llama, two_looks, PLAN)
    whole = pay(scorer.score(honest))["honest-0"]
    split = pay(scorer.score(in_order([*honest[1:], *parts])))
    assert sum(split.get(part.hotkey, 0.0) for part in parts) < 1.02 * whole


def test_scaling_up_pays_no_more_than_the_honest_length(
    llama: BaseModel, honest: list[Adapter], two_looks: list[Batch]
) -> None:
    """Two of three are longer, and own the median by norm; the third's length makes the better merge."""
    weights = weights_of(llama)
    louder = [
        admitted(llama, adapter.hotkey, {
            name: Factors(
                down_RI=layer.down_RI, up_OR=4 * layer.up_OR,
                magnitude_O=weights[name].norm(dim=1) + 4 * (layer.magnitude_O - weights[name].norm(dim=1)),
            )
            for name, layer in adapter.factors.items()
        })
        for adapter in honest[:1]
    ]  # fmt: skip
    scorer = scorer_of(llama, two_looks, PLAN)
    fair, loud = pay(scorer.score(honest)), pay(scorer.score([*louder, *honest[1:]]))
    assert loud.get("honest-0", 0.0) < 1.2 * fair["honest-0"]


def test_a_surely_useful_trifle_takes_nobodys_place(
    llama: BaseModel, honest: list[Adapter], two_looks: list[Batch]
) -> None:
    """A ten-thousandth of an honest delta has a lower bound above zero, and would have cost each honest a quarter."""
    weights = weights_of(llama)
    trifle = {
        name: Factors(down_RI=layer.down_RI, up_OR=1e-4 * layer.up_OR, magnitude_O=weights[name].norm(dim=1))
        for name, layer in honest[0].factors.items()
    }
    scorer = scorer_of(llama, two_looks, PLAN)
    scores = scorer.score([*honest, admitted(llama, "trifle", trifle)])
    assert scores.credit["trifle"].lower > 0
    assert pay(scores) == pay(scorer.score(honest))


def test_names_decide_nothing(llama: BaseModel, honest: list[Adapter], batches: list[Batch]) -> None:
    """The order of summation follows the hotkeys, so that only rounding does."""
    coefficients = [0.3, 0.2, 0.4]
    found = credit_of(llama, honest, coefficients, batches[:2])
    for order in ([2, 0, 1], [1, 2, 0], [2, 1, 0]):
        renamed = [as_of(honest[i], f"key-{place}") for place, i in enumerate(order)]
        again = credit_of(llama, renamed, [coefficients[i] for i in order], batches[:2])
        np.testing.assert_allclose(again, found[order], rtol=1e-4)


def test_four_miners_are_credited_as_exact_shapley_would(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch]
) -> None:
    """The fourth is noise: its true share is a loss, which leave-one-out and solo gains get wrong by more."""
    adapters = [*honest, noise(llama, 0)]
    coefficients = uniform_coefficients(adapters)
    worth = worth_of(llama, weights_of(llama), adapters, coefficients, batches[:2])
    exact = np.array(exact_shapley(4, worth))
    found = credit_of(llama, adapters, coefficients, batches[:2])
    error = np.abs(found - exact).max()
    assert error < 0.02 * np.abs(exact).max()
    for other in (leave_one_out(4, worth), solo_gains(4, worth)):
        assert np.abs(np.array(other) - exact).max() > 3 * error
    assert exact.sum() == pytest.approx(worth((0, 1, 2, 3)), rel=1e-9)


def test_a_round_whose_credits_miss_the_gain_says_so_and_pays_nobody(
    llama: BaseModel, honest: list[Adapter], batches: list[Batch], caplog: pytest.LogCaptureFixture
) -> None:
    """The limit of a new subnet is 5 %; the error stands in the receipt, refused or not."""
    assert DEFAULT_SCORING.max_completeness_error == 0.05
    located = locate(make_release(make_layout(llama), scoring=make_scoring(max_completeness_error=1e-12)))
    scorer = scorer_of(llama, batches, located.release.scoring)
    with caplog.at_level(logging.WARNING):
        scores: Scores = scorer.score(honest)
    assert "nobody is paid" in caplog.text
    receipt = make_receipt(
        validator="5V", previous=None, located=located, now=round_by_id(make_plan(), 2), beacon="0xab",
        sequence_ids=[1], batch_tokens=batch_tokens(batches),
        candidates=[Candidate(hotkey=a.hotkey, repo="a/b", adapter=a) for a in honest],
        registrations={a.hotkey: Registration(uid=uid, block=0) for uid, a in enumerate(honest)}, earlier=[],
        scorer=scorer, scores=scores,
    )  # fmt: skip
    assert receipt.completeness_error == scores.completeness_error
    assert receipt.completeness_error is not None
    assert 1e-12 < abs(receipt.completeness_error) < 0.05
    told = {(entry.verdict, entry.reason, entry.weight) for entry in receipt.entries}
    assert told == {("unpaid", "incomplete_credit", 0.0)}
    assert all("credits miss the improvement by" in entry.detail for entry in receipt.entries)
