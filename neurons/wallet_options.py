"""The flags of `hivetune wallet`."""

from pathlib import Path
from typing import Literal

from hivetune.settings import DEFAULT_WALLETS, Settings


class WalletsOptions(Settings):
    """All wallets of a folder."""

    wallet_path: Path = DEFAULT_WALLETS
    """Folder of the wallets."""
    as_json: bool = False
    """Print JSON."""


class OneWalletOptions(WalletsOptions):
    """One wallet, by the name on the command line."""

    name: str
    """Name of the wallet."""


class ShowWalletOptions(OneWalletOptions):
    """One wallet and what it has."""

    network: str = ""
    """Show the coldkey's balance on this chain: finney, test, local, or URLs separated by commas."""
    genesis_hash: str = ""
    """Hash of the block 0 that the chain must have."""


class NewHotkeyOptions(OneWalletOptions):
    """A hotkey to make."""

    wallet_hotkey: str = "default"
    """Name of the hotkey."""
    show_phrases: bool = False
    """Print the recovery phrase too: whoever reads it has the key."""


class CreateWalletOptions(NewHotkeyOptions):
    """A wallet to make."""

    no_password: bool = False
    """Leave the coldkey unencrypted; for test chains only."""


class RegenHotkeyOptions(OneWalletOptions):
    """A hotkey to make again."""

    wallet_hotkey: str = "default"
    """Name of the hotkey."""
    key_type: Literal["sr25519", "ed25519"] = "sr25519"
    """Type of the key."""


class RegenColdkeyOptions(OneWalletOptions):
    """A coldkey to make again."""

    key_type: Literal["sr25519", "ed25519"] = "sr25519"
    """Type of the key."""
    no_password: bool = False
    """Leave the coldkey unencrypted; for test chains only."""
