"""Commands whose flags are the fields of a settings model, and the one place where errors become exit codes."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from chain.networks import checked_hash, resolve
from hivetune.errors import HivetuneError
from hivetune.settings import VARIABLES, NodeSettings, Settings
from hivetune.status import Node, Report

AnySettings = TypeVar("AnySettings", bound=Settings)
AnyNode = TypeVar("AnyNode", bound=NodeSettings)

_FLAG_NAMES = {"json_path": "json", "as_json": "json"}
_SHORT_FLAGS = {"network": "-n", "wallet": "-w", "wallet_hotkey": "-H"}  # as btcli has them
_CHECKS: Mapping[str, Callable[[str], object]] = {"network": resolve, "genesis_hash": checked_hash}


class _EndsClearly(click.Command):
    """Ends with one clear line and exit code 2 instead of a traceback for every expected error."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except HivetuneError as error:
            click.echo(f"hivetune: {' '.join(str(error).split())}", err=True)
            context.exit(2)


class Command(_EndsClearly):
    """A command whose expected errors are one line."""


class CommandWithMore(_EndsClearly, click.Group):
    """A command that has commands below it, too."""


def settings_command(
    name: str,
    model: type[AnySettings],
    run: Callable[[AnySettings], None],
    help_text: str,
    *,
    arguments: Sequence[str] = (),
    config: bool = True,
) -> click.Command:
    """A command with a flag for each field of `model`, or a place on the line for those named in `arguments`.

    With `config` there is --config too, for a TOML file below the flags.
    """

    def callback(config: Path | None = None, **flags: object) -> None:
        run(model.load(config, flags, os.environ, _CHECKS))

    return Command(name, params=_parameters(model, arguments, config=config), callback=callback, help=help_text)


def settings_command_with_more(
    name: str,
    model: type[AnySettings],
    run: Callable[[AnySettings], None],
    help_text: str,
    *,
    more: Sequence[click.Command],
    config: bool = True,
) -> click.Group:
    """As `settings_command`, with the commands in `more` below it; flags stand behind the last word alone."""

    def callback(config: Path | None = None, **flags: object) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            run(model.load(config, flags, os.environ, _CHECKS))
            return
        given = next((flag for flag, value in flags.items() if value is not None), "config" if config else None)
        if given is not None:
            flag = _FLAG_NAMES.get(given, given).replace("_", "-")
            raise click.UsageError(f"--{flag} belongs behind `{context.command_path} {context.invoked_subcommand}`")

    group = CommandWithMore(
        name,
        params=_parameters(model, (), config=config),
        callback=callback,
        help=help_text,
        invoke_without_command=True,
        no_args_is_help=False,
    )
    for command in more:
        group.add_command(command)
    return group


def _parameters(model: type[AnySettings], arguments: Sequence[str], *, config: bool) -> list[click.Parameter]:
    file = click.Option(
        ["--config"], type=click.Path(path_type=Path, dir_okay=False), help="TOML file with the same names."
    )
    places: list[click.Parameter] = [click.Argument([field], type=str) for field in arguments]
    options = [_option(field, model) for field in model.model_fields if field not in arguments]
    return [*places, *([file] if config else []), *options]


def run_from_flags(
    role: str,
    model: type[AnyNode],
    build: Callable[[AnyNode, Any, Path, Report], Node],
    arguments: Sequence[str] | None = None,
) -> None:
    """The whole of a role's entry file: flags, settings, run."""
    command = role_command(role, model, build, f"Run a {role} until it is stopped.")
    command.main(args=list(sys.argv[1:] if arguments is None else arguments), prog_name=f"hivetune {role}")


def role_command(
    role: str, model: type[AnyNode], build: Callable[[AnyNode, Any, Path, Report], Node], help_text: str
) -> click.Command:
    """A role as a command."""

    def run(settings: AnyNode) -> None:
        from neurons.process import run_role

        run_role(role, settings, build)

    return settings_command(role, model, run, help_text)


def _option(name: str, model: type[Settings]) -> click.Option:
    """Without a default of its own, so that the settings file and the environment can have their say."""
    field = model.model_fields[name]
    flags = [_SHORT_FLAGS[name]] if name in _SHORT_FLAGS else []
    flags.append("--" + _FLAG_NAMES.get(name, name).replace("_", "-"))
    default = None if field.is_required() or field.default in ("", None, False, ()) else field.default
    hints = [f"  [env: {', '.join(VARIABLES[name])}]"] if name in VARIABLES else []
    hints += [f"  [default: {default}]"] if default is not None else []
    text = (field.description or "") + "".join(hints)
    if field.annotation is bool:
        return click.Option([*flags, name], is_flag=True, default=None, help=text)
    if get_origin(field.annotation) is tuple:
        several = _type(get_args(field.annotation)[0])
        return click.Option([*flags, name], type=several, multiple=True, callback=_given, help=text)
    return click.Option([*flags, name], type=_type(field.annotation), default=None, help=text)


def _given(_context: click.Context, _option: click.Parameter, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A flag that may stand several times and does not stand at all leaves the word to the settings file."""
    return values or None


def _type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice(list(get_args(annotation)))
    if get_origin(annotation) is UnionType:
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return click.Path(path_type=Path) if annotation is Path else annotation
