"""What an arena paid to whom, and for how much work."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neurons.arena.cast import Player
from neurons.arena.play import Played
from neurons.arena.roster import FULL, HONEST_VALIDATOR, Role
from neurons.results import RAO

# Of an honest round's training: what a hotkey's registration, bandwidth and place cost, spread over its rounds.
IDENTITY_COST = 0.1
# Spreads of honest hotkeys around their mean within which a strategy's pay may lie by luck.
LUCK = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MinerTally:
    """One miners' strategy over all rounds. Pay is in tokens, cost in honest rounds."""

    strategy: str
    does: str
    honest: bool
    hotkeys: int
    submissions: int  # that validators looked at
    paid: int  # of them
    reasons: Mapping[str, int]  # of the others
    pay: float
    pay_by_round: tuple[float, ...]
    share: float  # of what all miners earned
    cost: float
    pay_per_cost: float  # honest work at full steps is 1
    pay_per_hotkey: float  # an honest hotkey at full steps is 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidatorTally:
    """One validators' strategy over all rounds."""

    strategy: str
    does: str
    honest: bool
    hotkeys: int
    dividends: float  # tokens
    dividends_per_stake: float  # the honest validators' mean is 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTally:
    """What a round did to the model; losses are nats per token on its scoring text."""

    round: int
    base_loss: float | None
    published: bool
    improvement: float | None
    paid: int
    validators_agree: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ArenaResult:
    """The arena, as `--json` writes it."""

    rounds: tuple[RoundTally, ...]
    miners: tuple[MinerTally, ...]
    validators: tuple[ValidatorTally, ...]
    identity_cost: float
    spread: float  # standard deviation of pay per cost among honest hotkeys at full steps
    no_strategy_beats_honest_work: bool
    beaten_by: tuple[str, ...]
    seconds: float


def tally(
    played: Sequence[Played],
    players: Sequence[Player],
    tokens: Mapping[str, int],
    tokens_of_a_round: int,
    seconds: float,
) -> ArenaResult:
    """From rounds to strategies."""
    pay = _pay(played)
    costs = {
        player.hotkey: tokens.get(player.hotkey, 0) / tokens_of_a_round + IDENTITY_COST * len(played)
        for player in players
    }
    full = [player.hotkey for player in players if player.strategy.name == FULL]
    rate = sum(pay[hotkey] for hotkey in full) / sum(costs[hotkey] for hotkey in full)
    each = [pay[hotkey] / costs[hotkey] / rate if rate else 0.0 for hotkey in full]
    spread = statistics.pstdev(each)
    miners = _miners(played, players, pay, costs, rate)
    beaten_by = tuple(one.strategy for one in miners if not one.honest and one.pay_per_cost > 1 + LUCK * spread)
    return ArenaResult(
        rounds=tuple(_round(one) for one in played),
        miners=miners,
        validators=_validators(played, players),
        identity_cost=IDENTITY_COST,
        spread=spread,
        no_strategy_beats_honest_work=not beaten_by,
        beaten_by=beaten_by,
        seconds=round(seconds, 1),
    )


def _pay(played: Sequence[Played]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in played:
        found.update(one.emission_rao)
    return found


def _miners(
    played: Sequence[Played],
    players: Sequence[Player],
    pay: Mapping[str, int],
    costs: Mapping[str, float],
    rate: float,
) -> tuple[MinerTally, ...]:
    by_strategy = _grouped(players, Role.MINER)
    everything = sum(pay.get(player.hotkey, 0) for group in by_strategy.values() for player in group) or 1
    full = by_strategy[FULL]
    honest_pay = sum(pay.get(player.hotkey, 0) for player in full) / len(full)
    made = []
    for name, group in by_strategy.items():
        hotkeys = {player.hotkey for player in group}
        entries = [entry for one in played for entry in one.result.submissions if entry.hotkey in hotkeys]
        earned, cost = sum(pay.get(hotkey, 0) for hotkey in hotkeys), sum(costs[hotkey] for hotkey in hotkeys)
        made.append(
            MinerTally(
                strategy=name,
                does=group[0].strategy.does,
                honest=group[0].strategy.honest,
                hotkeys=len(group),
                submissions=len(entries),
                paid=sum(entry.verdict == "paid" for entry in entries),
                reasons=dict(Counter(entry.reason for entry in entries if entry.reason).most_common()),
                pay=earned / RAO,
                pay_by_round=tuple(sum(one.emission_rao.get(key, 0) for key in hotkeys) / RAO for one in played),
                share=earned / everything,
                cost=cost,
                pay_per_cost=earned / cost / rate if rate else 0.0,
                pay_per_hotkey=earned / len(group) / honest_pay if honest_pay else 0.0,
            )
        )
    return tuple(made)


def _validators(played: Sequence[Played], players: Sequence[Player]) -> tuple[ValidatorTally, ...]:
    by_strategy = _grouped(players, Role.VALIDATOR)
    rates = {name: _dividends_per_stake(played, group) for name, group in by_strategy.items()}
    honest = rates[HONEST_VALIDATOR] or 1.0
    return tuple(
        ValidatorTally(
            strategy=name,
            does=group[0].strategy.does,
            honest=group[0].strategy.honest,
            hotkeys=len(group),
            dividends=sum(one.emission_rao.get(player.hotkey, 0) for one in played for player in group) / RAO,
            dividends_per_stake=rates[name] / honest,
        )
        for name, group in by_strategy.items()
    )


def _dividends_per_stake(played: Sequence[Played], group: Sequence[Player]) -> float:
    """The mean over hotkeys of what each round paid on the stake that stood before it."""
    return statistics.fmean(
        sum(one.emission_rao.get(player.hotkey, 0) / one.stake_rao[player.hotkey] for one in played) for player in group
    )


def _grouped(players: Sequence[Player], role: Role) -> dict[str, list[Player]]:
    found: dict[str, list[Player]] = {}
    for player in players:
        if player.strategy.role is role:
            found.setdefault(player.strategy.name, []).append(player)
    return found


def _round(one: Played) -> RoundTally:
    result = one.result
    return RoundTally(
        round=result.round,
        base_loss=result.base_loss,
        published=result.release.published,
        improvement=result.release.improvement if result.release.published else None,
        paid=sum(entry.verdict == "paid" for entry in result.submissions),
        validators_agree=result.validators_agree,
    )
