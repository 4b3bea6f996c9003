"""Commands about stake."""

import click

from neurons.commands import settings_command
from neurons.stake_options import ShowStakeOptions, StakeOptions


def _add(options: StakeOptions) -> None:
    from neurons.stake_commands import add

    add(options)


def _remove(options: StakeOptions) -> None:
    from neurons.stake_commands import remove

    remove(options)


def _show(options: ShowStakeOptions) -> None:
    from neurons.stake_commands import show_stakes

    show_stakes(options)


@click.group()
def stake() -> None:
    """Stake TAO on hotkeys and take it back."""


stake.add_command(
    settings_command(
        "add",
        StakeOptions,
        _add,
        "Stake AMOUNT of TAO on a hotkey: it buys the subnet's alpha.",
        arguments=("amount",),
        config=False,
    )
)
stake.add_command(
    settings_command(
        "remove",
        StakeOptions,
        _remove,
        "Take AMOUNT of the subnet's alpha, or all, off a hotkey: it is sold for TAO.",
        arguments=("amount",),
        config=False,
    )
)
stake.add_command(
    settings_command("show", ShowStakeOptions, _show, "Show what a coldkey has, on which hotkeys.", config=False)
)
