"""Commands about the chain: wallets, subnets and rewards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hivetune.settings import DEFAULT_WALLETS
from neurons.commands import Command, settings_command
from neurons.subnet_options import SubnetOptions


def chain_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--chain and --netuid."""
    for option in (
        click.option("--netuid", type=click.IntRange(0, 65535), required=True, help="Number of the subnet."),
        click.option("--chain", required=True, envvar="BT_CHAIN_ENDPOINT", help="WebSocket URL of the chain."),
    ):
        function = option(function)
    return function


def wallet_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--wallet, --hotkey and --wallet-path."""
    for option in (
        click.option("--wallet-path", type=click.Path(path_type=Path), default=DEFAULT_WALLETS, show_default=True),
        click.option("--hotkey", default="default", show_default=True, help="Name of the wallet's hotkey."),
        click.option("--wallet", required=True, help="Name of the wallet."),
    ):
        function = option(function)
    return function


@click.group()
def wallet() -> None:
    """Wallets, in Bittensor's layout."""


@wallet.command("create", cls=Command)
@click.argument("name")
@click.option("--hotkey", default="default", show_default=True, help="Name of the hotkey.")
@click.option("--wallet-path", type=click.Path(path_type=Path), default=DEFAULT_WALLETS, show_default=True)
@click.option("--no-password", is_flag=True, help="Leave the coldkey unencrypted; for test chains only.")
def wallet_create(name: str, hotkey: str, wallet_path: Path, no_password: bool) -> None:
    """Create a coldkey and a hotkey, or one more hotkey for a wallet that exists."""
    from chain.keys import create_hotkey, create_wallet

    root = wallet_path.expanduser()
    if (root / name).exists():
        click.echo(f"hotkey {hotkey}  {create_hotkey(root, name, hotkey)}")
        return
    password = None if no_password else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    made = create_wallet(root, name, hotkey, password=password, unencrypted=no_password)
    click.echo(f"coldkey {made.coldkey}\nhotkey  {made.hotkey}")


@wallet.command("list", cls=Command)
@click.option("--wallet-path", type=click.Path(path_type=Path), default=DEFAULT_WALLETS, show_default=True)
def wallet_list(wallet_path: Path) -> None:
    """List wallets with their addresses."""
    from chain.keys import list_wallets

    entries = list_wallets(wallet_path)
    if not entries:
        click.echo(f"no wallets in {wallet_path}")
    for entry in entries:
        click.echo(f"{entry.name}  {entry.coldkey or 'unreadable'}")
        for hotkey, address in entry.hotkeys:
            click.echo(f"  {hotkey}  {address or 'unreadable'}")


@click.group()
def subnet() -> None:
    """Create, join and look at a subnet."""


def _create(options: SubnetOptions) -> None:
    from neurons.subnet_commands import create

    create(options, click.echo)


subnet.add_command(
    settings_command(
        "create", SubnetOptions, _create, "Create a subnet, start it, and publish release 0 from a base and a corpus."
    )
)


@subnet.command("register", cls=Command)
@chain_options
@wallet_options
@click.option("--stake", type=click.FloatRange(0), default=0.0, help="TAO to stake on the hotkey, for validators.")
def subnet_register(chain: str, netuid: int, wallet: str, hotkey: str, wallet_path: Path, stake: float) -> None:
    """Register a hotkey; burns the registration price from the wallet's coldkey."""
    from neurons.subnet_commands import register

    register(chain, netuid, wallet, hotkey, wallet_path.expanduser(), stake, click.echo)


@subnet.command("status", cls=Command)
@chain_options
@click.option("--hub", "hub_url", default=None, help="URL of the Hub, to show the release.")
def subnet_status(chain: str, netuid: int, hub_url: str | None) -> None:
    """Show a subnet: block, round, release, neurons."""
    from neurons.subnet_commands import status

    status(chain, netuid, hub_url)


@click.command(cls=Command)
@chain_options
@click.option("--hub", "hub_url", default=None, help="URL of the Hub, to show verdicts.")
@click.option("--hotkey", default=None, help="Only this hotkey (ss58 address).")
@click.option("--round", "round_id", type=click.IntRange(0), default=None, help="Only this round.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Refresh with every epoch until stopped.")
def rewards(
    chain: str,
    netuid: int,
    hub_url: str | None,
    hotkey: str | None,
    round_id: int | None,
    as_json: bool,
    watch: bool,
) -> None:
    """Show stake, incentive, dividends, emission, total earned and the last verdict of every neuron."""
    from neurons.rewards import show_rewards

    show_rewards(chain, netuid, hub_url, hotkey, round_id, as_json=as_json, watch=watch)
