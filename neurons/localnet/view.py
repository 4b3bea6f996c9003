"""What the demo shows: a live table on a terminal, plain lines elsewhere, and tables for rounds and the summary."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from neurons.localnet.drive import Moment
from neurons.localnet.final import Final
from neurons.localnet.options import DemoOptions
from neurons.localnet.tables import final_table, rewards_table, round_table
from neurons.results import RoundResult

_LINE_EVERY = 0.25  # of a progress, in plain output


class View(Protocol):
    """Where the demo reports to."""

    def say(self, text: str) -> None:
        """One line about what is going on."""
        ...

    def named(self, names: dict[str, str]) -> None:
        """Names of hotkeys, for the tables."""
        ...

    def moment(self, moment: Moment) -> None:
        """The network now."""
        ...

    def round(self, result: RoundResult) -> None:
        """A round has ended."""
        ...

    def summary(self, final: Final, rewards: dict[str, float], seconds: float) -> None:
        """Everything has ended."""
        ...


class PlainView:
    """Lines for a log: one whenever a neuron begins something else, and at quarters of its progress."""

    def __init__(self, console: Console, options: DemoOptions) -> None:
        self._console = console
        self._started = time.monotonic()
        self._options = options
        self._names: dict[str, str] = {}
        self._last: dict[str, tuple[str, int]] = {}

    def say(self, text: str) -> None:
        """One line with the seconds since the start."""
        self._console.print(f"{time.monotonic() - self._started:6.1f} s  {text}", highlight=False, markup=False)

    def named(self, names: dict[str, str]) -> None:
        """Keep the names."""
        self._names = names

    def moment(self, moment: Moment) -> None:
        """A line for every neuron that has begun something else."""
        for name, beat in moment.beats.items():
            if beat["waiting_for"] is not None:
                continue
            quarter = int(beat["done"] / beat["total"] / _LINE_EVERY) if beat["total"] else 0
            if self._last.get(name) != (beat["activity"], quarter):
                self._last[name] = (beat["activity"], quarter)
                self.say(f"block {moment.block:<5} {moment.phase:7} {name:12} {describe(beat)}")

    def round(self, result: RoundResult) -> None:
        """The round's table."""
        self._console.print(round_table(result, self._names))

    def summary(self, final: Final, rewards: dict[str, float], seconds: float) -> None:
        """The closing tables."""
        self._console.print(final_table(final, seconds))
        self._console.print(rewards_table(rewards, self._names))


class LiveView(PlainView):
    """The same on a terminal, with a table of the neurons that changes in place."""

    def __init__(self, console: Console, options: DemoOptions, live: Live) -> None:
        super().__init__(console, options)
        self._live = live
        self._live.update(self._table(None))

    def moment(self, moment: Moment) -> None:
        """Redraw."""
        self._live.update(self._table(moment))

    def summary(self, final: Final, rewards: dict[str, float], seconds: float) -> None:
        """The closing tables; the live one goes."""
        self._live.update(Text(""))
        super().summary(final, rewards, seconds)

    def _table(self, moment: Moment | None) -> Group:
        if moment is None:
            return Group(Text("setting up", style="dim"))
        now = moment.now
        title = f"block {moment.block}"
        if now is not None:
            left = now.last_block - moment.block
            count = f"round {now.round_id} ({now.round_id + 1} of {self._options.rounds})"
            title = f"{count}, {moment.phase}, {title}, {left} to the payout"
        table = Table(title=title, title_justify="left", expand=True, box=SIMPLE_HEAD)
        for column in ("neuron", "doing", "", "last"):
            table.add_column(column, no_wrap=True)
        for name in self._options.names:
            beat = moment.beats.get(name)
            if beat is None:
                table.add_row(name, Text("starting", style="dim"), "", "")
                continue
            bar = ProgressBar(total=beat["total"], completed=beat["done"], width=20) if beat["total"] else Text("")
            style = "dim" if beat["waiting_for"] is not None else ""
            table.add_row(name, Text(beat["activity"], style=style), bar, beat["note"])
        return Group(table)


def describe(beat: dict[str, Any]) -> str:
    """A heartbeat as words."""
    progress = f" {beat['done']}/{beat['total']}" if beat["total"] else ""
    note = f" ({beat['note']})" if beat["note"] and beat["waiting_for"] is None else ""
    return f"{beat['activity']}{progress}{note}"


@contextmanager
def open_view(options: DemoOptions) -> Iterator[View]:
    """The live view on a terminal, plain lines otherwise."""
    console = Console(width=None if Console().is_terminal else 110)
    if not console.is_terminal:
        yield PlainView(console, options)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveView(console, options, live)
