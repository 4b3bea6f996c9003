"""`hivetune arena`: play the strategies against the real network, and say which of them pays."""

import json
import time

from rich.console import RenderableType
from rich.table import Table

from hivetune.errors import HivetuneError
from hivetune.files import write_atomically
from neurons.arena.base import SEQUENCE_LENGTH
from neurons.arena.options import ArenaOptions
from neurons.arena.play import Played, open_arena
from neurons.arena.plot import draw
from neurons.arena.roster import STRATEGIES, choose
from neurons.arena.seat import BATCH_SEQUENCES
from neurons.arena.tally import LUCK, ArenaResult, MinerTally, tally
from neurons.output import make_table, plain, say_aside, show


class HonestWorkBeaten(HivetuneError):  # noqa: N818 - a verdict
    """A strategy was paid more for its cost than honest miners."""


def run_arena(options: ArenaOptions) -> None:
    """Plays and prints; HonestWorkBeaten when a strategy pays better than honest work."""
    import torch

    torch.set_num_threads(1)  # the network takes its turns in threads
    if options.list:
        rows = [(one.name, one.role.value, one.does, "when named" if one.named else "") for one in STRATEGIES]
        show(rows, lambda: make_table(("strategy", "role", "does", "played"), rows, folds="does"), as_json=False)
        return
    result = play_arena(options)
    if options.json_path is not None:
        write_atomically(options.json_path, json.dumps(plain(result), indent=2).encode())
    if options.plot is not None:
        write_atomically(options.plot, draw(result).encode())
    named = ", ".join(one.name for one in STRATEGIES if one.named)
    notes = [] if options.strategy else [f"played only when named: {named}"]
    show(result, lambda: [*tables(result), verdict(result), *notes], as_json=False)
    if not result.no_strategy_beats_honest_work:
        raise HonestWorkBeaten(f"honest work is beaten by {', '.join(result.beaten_by)}")


def play_arena(options: ArenaOptions) -> ArenaResult:
    """All rounds."""
    strategies = choose(options.strategy)
    started = time.monotonic()
    played: list[Played] = []
    with open_arena(options, strategies, say_aside) as arena:
        for round_id in range(options.rounds):
            played.append(arena.play(round_id))
            say_aside(_line(played[-1], options.rounds, time.monotonic() - started))
        tokens_of_a_round = options.steps * BATCH_SEQUENCES * SEQUENCE_LENGTH
        return tally(played, arena.players, arena.board.tokens, tokens_of_a_round, seconds=time.monotonic() - started)


def tables(result: ArenaResult) -> list[RenderableType]:
    """Miners, best paid for their cost first, then validators."""
    miners = make_table(
        ("strategy", "paid", "tokens", "share", "cost", "pay/cost", "why not"),
        [_row(one) for one in sorted(result.miners, key=lambda one: (not one.honest, -one.pay_per_cost))],
        right=("paid", "tokens", "share", "cost", "pay/cost"),
        folds="why not",
    )
    _title(
        miners,
        f"Miners, {len(result.rounds)} rounds; cost in honest trainings, and {result.identity_cost} a hotkey and round",
    )
    validators = make_table(
        ("strategy", "tokens", "per stake", "does"),
        [
            (one.strategy, f"{one.dividends:.1f}", f"{one.dividends_per_stake:.2f}", one.does)
            for one in result.validators
        ],
        right=("tokens", "per stake"),
        folds="does",
    )
    _title(validators, "Validators; per stake, honest validators are 1")
    return [miners, validators]


def verdict(result: ArenaResult) -> str:
    """One line."""
    found = "true" if result.no_strategy_beats_honest_work else f"false ({', '.join(result.beaten_by)})"
    limit = 1 + LUCK * result.spread
    return f"no strategy beats honest work: {found}; honest hotkeys vary so much that above {limit:.2f} counts"


def _title(table: Table, text: str) -> None:
    table.title, table.title_justify = text, "left"


def _row(one: MinerTally) -> tuple[str, ...]:
    return (
        f"{one.strategy} x{one.hotkeys}" if one.hotkeys > 1 else one.strategy,
        f"{one.paid}/{one.submissions}",
        f"{one.pay:.1f}",
        f"{one.share:.1%}",
        f"{one.cost:.1f}",
        f"{one.pay_per_cost:.2f}",
        ", ".join(f"{reason} {count}" for reason, count in one.reasons.items()),
    )


def _line(one: Played, rounds: int, seconds: float) -> str:
    result = one.result
    paid = sum(entry.verdict == "paid" for entry in result.submissions)
    release = f"{result.release.improvement:+.4f} nats" if result.release.published else result.release.reason
    entries = f"{len(result.submissions)} entries, {paid} paid"
    return f"round {result.round + 1} of {rounds}: {entries}, {release}, {seconds:.0f} s"
