"""python -m tools.substrate_host --wasm FILE: serves a chain that the given runtime runs."""

import logging
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from hivetune.errors import ConfigError
from tools.substrate_host.host import HostOptions, serve

RAO_PER_TAO = 10**9


def _endowments(pairs: tuple[str, ...]) -> dict[str, int]:
    """{address: rao} of ADDRESS=TAO."""
    found = {}
    for pair in pairs:
        address, _, amount = pair.partition("=")
        try:
            found[address] = int(Decimal(amount) * RAO_PER_TAO)
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise ConfigError(f"--endow {pair}: want ADDRESS=TAO") from error
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--wasm", required=True, type=click.Path(path_type=Path), help="The runtime; packed or plain.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=9944, help="Port to listen on; 0 takes a free one.")
@click.option("--block-time", default=0.0, help="Seconds between blocks; 0 seals on dev_newBlock alone.")
@click.option("--instant", is_flag=True, help="Seal a block for every extrinsic that becomes ready.")
@click.option("--endow", multiple=True, metavar="ADDRESS=TAO", help="A balance at genesis; may be repeated.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder for the compiled runtime, mode 700.")
@click.option("--finality-lag", default=0, help="Blocks by which the finalized head trails the head.")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends, as it does when the parent dies.")
@click.option("-v", "--verbose", is_flag=True, help="Log every block.")
def main(
    wasm: Path,
    host: str,
    port: int,
    block_time: float,
    instant: bool,
    endow: tuple[str, ...],
    cache: Path | None,
    finality_lag: int,
    until_eof: bool,
    verbose: bool,
) -> None:
    """Serve a development chain that a Substrate runtime runs."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        options = HostOptions(
            wasm=wasm,
            host=host,
            port=port,
            block_time_s=block_time,
            instant=instant,
            endow=_endowments(endow),
            cache=cache,
            finality_lag=finality_lag,
            until_eof=until_eof,
        )
        serve(options, on_ready=lambda bound: click.echo(f"chain at ws://{host}:{bound}"))
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
