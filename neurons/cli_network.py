"""Commands that run something: the demo, the three roles, and the embedded Hub and chain."""

import logging
from collections.abc import Mapping
from pathlib import Path

import click

from averager.settings import AveragerSettings
from hivetune.errors import ConfigError
from miner.settings import MinerSettings
from neurons.commands import Command, settings_command, settings_command_with_more
from neurons.localnet.options import DemoOptions
from neurons.receipt_options import PowerOptions
from neurons.results import RAO
from validator.settings import ValidatorSettings


def role_commands() -> list[click.Command]:
    """`hivetune miner`, `hivetune validator`, `hivetune averager`."""

    def run_miner(settings: MinerSettings) -> None:
        from neurons.process import run_role
        from neurons.wiring import build_miner

        run_role("miner", settings, build_miner)

    def run_validator(settings: ValidatorSettings) -> None:
        from neurons.process import run_role
        from neurons.wiring import build_validator

        run_role("validator", settings, build_validator)

    def run_averager(settings: AveragerSettings) -> None:
        from neurons.process import run_role
        from neurons.wiring import build_averager

        run_role("averager", settings, build_averager)

    return [
        settings_command(
            "miner", MinerSettings, run_miner, "Train on this miner's shard, commit, reveal, round after round."
        ),
        settings_command_with_more(
            "validator",
            ValidatorSettings,
            run_validator,
            "Score every submission and set weights.",
            more=[
                settings_command(
                    "power",
                    PowerOptions,
                    _show_power,
                    "Show how many tokens it takes to tell submissions apart, from a round's own losses.",
                    config=False,
                )
            ],
        ),
        settings_command(
            "averager", AveragerSettings, run_averager, "Merge what the chain's weights approve into releases."
        ),
    ]


def _show_power(options: PowerOptions) -> None:
    from neurons.power_commands import show_power

    show_power(options)


def _run_demo(options: DemoOptions) -> None:
    from neurons.localnet.demo import run_demo

    run_demo(options)


demo = settings_command(
    "demo", DemoOptions, _run_demo, "Run the whole network on this machine, on a real model and real text."
)


@click.group()
def hub() -> None:
    """The embedded Hub."""


@hub.command("serve", cls=Command)
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the Hub.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, help="Port to listen on; 0 takes a free one.")
def hub_serve(root: Path, host: str, port: int) -> None:
    """Serve the Hub until stopped; prints its address."""
    from hub.server.app import serve

    logging.basicConfig(level=logging.WARNING)
    try:
        serve(root, host=host, port=port, on_ready=lambda bound: click.echo(f"hub at http://{host}:{bound}"))
    except OSError as error:
        raise ConfigError(f"cannot serve {root} on {host}:{port}: {error}") from None


@hub.command("token", cls=Command)
@click.argument("owner")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the Hub.")
@click.option("--role", type=click.Choice(["read", "write"]), default="write", show_default=True)
def hub_token(owner: str, root: Path, role: str) -> None:
    """Make a token for OWNER and print it; the Hub keeps only its hash."""
    from hub.server.tokens import mint_token

    click.echo(mint_token(root, owner, role="write" if role == "write" else "read"))


@click.group()
def chain() -> None:
    """The embedded chain."""


@chain.command("serve", cls=Command)
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), required=True, help="SQLite file.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9944, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--block-time", default=12.0, show_default=True, help="Seconds a block; 0 makes blocks on demand.")
@click.option("--endow", multiple=True, metavar="ADDRESS=TAO", help="Balance at genesis; may stand several times.")
@click.option("--rules", type=click.Choice(["300", "425"]), default="300", show_default=True, help="Spec to follow.")
@click.option("--finality-lag", default=0, show_default=True, help="Blocks that the finalized head trails the best.")
def chain_serve(
    state: Path, host: str, port: int, block_time: float, endow: tuple[str, ...], rules: str, finality_lag: int
) -> None:
    """Serve the chain until stopped; prints its address."""
    from chain.devnode.server import serve

    logging.basicConfig(level=logging.WARNING)
    serve(
        state,
        host=host,
        port=port,
        block_time_s=block_time,
        endow=_endowments(endow),
        rules=int(rules),
        finality_lag=finality_lag,
        on_ready=lambda bound: click.echo(f"chain at ws://{host}:{bound}"),
    )


def _endowments(texts: tuple[str, ...]) -> Mapping[str, int]:
    found = {}
    for text in texts:
        address, _, amount = text.partition("=")
        if not amount.isdecimal():
            raise ConfigError(f"--endow {text}: want ADDRESS=TAO with a whole number")
        found[address] = int(amount) * RAO
    return found
