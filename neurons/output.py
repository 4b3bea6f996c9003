"""What commands print: a table for people, or the same as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Literal

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table

from hivetune.printable import printable

Justify = Literal["left", "right"]


def show(value: object, view: Callable[[], RenderableType | Sequence[RenderableType]], *, as_json: bool) -> None:
    """Prints a value: as JSON with every field, or as what `view` makes of it."""
    if as_json:
        click.echo(json.dumps(plain(value), indent=2))
        return
    console = Console(highlight=False, markup=False)
    seen = view()
    for part in seen if isinstance(seen, (list, tuple)) else [seen]:
        console.print(part)


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, wherever they are."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), folds: str = ""
) -> Table:
    """Columns that are never cut, so that 80 characters have to do; only the one named in `folds` may break."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        justify: Justify = "right" if name in right else "left"
        table.add_column(name, justify=justify, no_wrap=name != folds, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def say_aside(text: str) -> None:
    """Progress goes beside the result, so that the result can be piped."""
    click.echo(text, err=True)
