"""Commands about keys on this machine."""

import click

from neurons.commands import settings_command
from neurons.wallet_options import (
    CreateWalletOptions,
    NewHotkeyOptions,
    RegenColdkeyOptions,
    RegenHotkeyOptions,
    ShowWalletOptions,
    WalletsOptions,
)


def _create(options: CreateWalletOptions) -> None:
    from neurons.wallet_commands import create

    create(options)


def _list(options: WalletsOptions) -> None:
    from neurons.wallet_commands import list_all

    list_all(options)


def _show(options: ShowWalletOptions) -> None:
    from neurons.wallet_commands import show_one

    show_one(options)


def _new_hotkey(options: NewHotkeyOptions) -> None:
    from neurons.wallet_commands import new_hotkey

    new_hotkey(options)


def _regen_coldkey(options: RegenColdkeyOptions) -> None:
    from neurons.wallet_commands import regen_coldkey

    regen_coldkey(options)


def _regen_hotkey(options: RegenHotkeyOptions) -> None:
    from neurons.wallet_commands import regen_hotkey

    regen_hotkey(options)


@click.group()
def wallet() -> None:
    """Wallets, in Bittensor's layout."""


NAME = ("name",)
wallet.add_command(
    settings_command(
        "create", CreateWalletOptions, _create, "Create a wallet: a coldkey and a hotkey.", arguments=NAME, config=False
    )
)
wallet.add_command(settings_command("list", WalletsOptions, _list, "List wallets with their addresses.", config=False))
wallet.add_command(
    settings_command(
        "show", ShowWalletOptions, _show, "Show one wallet, with --network its balance.", arguments=NAME, config=False
    )
)
wallet.add_command(
    settings_command(
        "new-hotkey", NewHotkeyOptions, _new_hotkey, "Make one more hotkey for a wallet.", arguments=NAME, config=False
    )
)
wallet.add_command(
    settings_command(
        "regen-coldkey",
        RegenColdkeyOptions,
        _regen_coldkey,
        "Make a coldkey again from its recovery phrase, which is asked for or read from the standard input.",
        arguments=NAME,
        config=False,
    )
)
wallet.add_command(
    settings_command(
        "regen-hotkey",
        RegenHotkeyOptions,
        _regen_hotkey,
        "Make a hotkey again from its recovery phrase, which is asked for or read from the standard input.",
        arguments=NAME,
        config=False,
    )
)
