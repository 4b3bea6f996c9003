"""The arena: a small one is played, and what it says is counted right."""

import json
import math
from xml.etree import ElementTree

import pytest

from hivetune.errors import ConfigError
from neurons.arena.command import play_arena, tables, verdict
from neurons.arena.options import ArenaOptions
from neurons.arena.plot import draw
from neurons.arena.roster import FULL, STRATEGIES, Role, choose
from neurons.arena.tally import ArenaResult, MinerTally, ValidatorTally
from neurons.output import plain

COPIES = ("copy", "copy-gauge", "copy-noise-1", "copy-file", "griefer")
FREE_RIDERS = ("zero", "noise", "friend")
ATTACKS = ("sign-flip", "nan", "slow", "late", "equivocating")
REASONS = {
    "zero": {"untrained"},
    "copy": {"duplicate"},
    "copy-gauge": {"near_copy"},
    "copy-noise-1": {"near_copy"},
    "copy-file": {"wrong_owner", "not_revealed"},  # by whose commitment is the newest when it looks
    "griefer": {"wrong_owner"},
    "sign-flip": {"harmful", "not_proven"},
    "nan": {"not_finite"},
    "slow": {"not_revealed"},
    "equivocating": {"wrong_digest"},
    "late": set(),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> ArenaResult:
    """Two rounds with some of all kinds."""
    cache = tmp_path_factory.mktemp("arena")
    options = ArenaOptions(
        strategy=(*COPIES, *FREE_RIDERS, *ATTACKS, "weight-copier", "colluder"),
        rounds=2,
        honest=3,
        validators=2,
        steps=16,
        base_steps=100,
        documents=480,
        score_sequences=128,
        cache=cache,
        folder=cache / "world",
    )
    return play_arena(options)


def miner(result: ArenaResult, name: str) -> MinerTally:
    return next(one for one in result.miners if one.strategy == name)


def validator(result: ArenaResult, name: str) -> ValidatorTally:
    return next(one for one in result.validators if one.strategy == name)


def test_honest_miners_are_always_paid(played: ArenaResult) -> None:
    honest = miner(played, FULL)
    assert (honest.paid, honest.reasons) == (3 * len(played.rounds), {})
    assert honest.pay_per_cost == pytest.approx(1.0)
    assert honest.pay_per_hotkey == pytest.approx(1.0)
    assert all(one.published and one.validators_agree for one in played.rounds)
    assert played.rounds[1].base_loss < played.rounds[0].base_loss  # type: ignore[operator]  # both were scored


def test_no_strategy_beats_honest_work(played: ArenaResult) -> None:
    assert played.no_strategy_beats_honest_work, tables(played)
    assert [one.strategy for one in played.miners if one.strategy != FULL and one.pay_per_cost > 1] == []


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_earns_at_most_a_hundredth_of_its_victim(name: str, played: ArenaResult) -> None:
    assert miner(played, name).pay_per_hotkey <= 0.01


@pytest.mark.parametrize("name", [*FREE_RIDERS, *ATTACKS])
def test_who_does_nothing_useful_earns_nothing(name: str, played: ArenaResult) -> None:
    """A random direction may help by luck, and is then paid for that, which is next to nothing."""
    assert miner(played, name).pay_per_hotkey <= (0.05 if name in ("noise", "friend") else 0.0)


@pytest.mark.parametrize("name", REASONS)
def test_every_strategy_fails_for_its_reason(name: str, played: ArenaResult) -> None:
    found = miner(played, name)
    assert set(found.reasons) <= REASONS[name]
    assert found.paid == 0


def test_validators_that_do_not_score_earn_less(played: ArenaResult) -> None:
    assert validator(played, "validator").dividends_per_stake == pytest.approx(1.0)
    assert validator(played, "colluder").dividends_per_stake < 0.5
    assert validator(played, "weight-copier").dividends_per_stake < 1.0


def test_the_result_is_json_with_every_strategy(played: ArenaResult) -> None:
    written = json.loads(json.dumps(plain(played)))
    assert written["no_strategy_beats_honest_work"] is True
    assert {one["strategy"] for one in written["miners"]} == {FULL, *COPIES, *FREE_RIDERS, *ATTACKS}
    assert math.isclose(sum(one["share"] for one in written["miners"]), 1.0)
    assert "true" in verdict(played)


def test_the_plot_has_a_bar_for_every_strategy(played: ArenaResult) -> None:
    svg = ElementTree.fromstring(draw(played))
    bars = svg.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == len(played.miners)
    assert sum(bar.get("class") == "honest" for bar in bars) == sum(one.honest for one in played.miners)


def test_strategies_come_with_what_they_need() -> None:
    assert [one.name for one in choose(["colluder"])] == [FULL, "friend", "validator", "colluder"]
    assert choose(()) == tuple(one for one in STRATEGIES if not one.named)
    with pytest.raises(ConfigError, match="no strategy telepathy"):
        choose(["telepathy"])


def test_strategies_have_names_of_their_own_and_say_what_they_do() -> None:
    names = [one.name for one in STRATEGIES]
    assert len(set(names)) == len(names) >= 40
    assert all(one.does and len(one.does) < 60 for one in STRATEGIES)
    assert {one.role for one in STRATEGIES} == set(Role)
