"""The flags of `hivetune stake`."""

from pathlib import Path

from hivetune.settings import DEFAULT_WALLETS, ChainSettings, SubnetSettings, WalletSettings


class StakeOptions(WalletSettings, SubnetSettings):
    """An amount to move; the wallet's coldkey signs."""

    amount: str
    """How much, such as 1.5."""
    hotkey: str = ""
    """Hotkey to stake on (ss58 address); empty: the wallet's own."""
    as_json: bool = False
    """Print JSON."""


class ShowStakeOptions(ChainSettings):
    """Whose stake to show."""

    wallet: str = ""
    """Name of the wallet."""
    wallet_path: Path = DEFAULT_WALLETS
    """Folder of the wallets."""
    coldkey: str = ""
    """Coldkey (ss58 address), instead of a wallet."""
    as_json: bool = False
    """Print JSON."""
