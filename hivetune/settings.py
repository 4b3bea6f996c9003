"""What every node is told: the chain, the subnet, the Hub, the wallet, and where to keep its state.

All else is read from the current release. Secrets are never settings: the Hub token comes from HIVETUNE_HUB_TOKEN.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hivetune.errors import ConfigError

HUB_TOKEN_VARIABLE = "HIVETUNE_HUB_TOKEN"
DEFAULT_WALLETS = Path("~/.bittensor/wallets")


class Settings(BaseModel):
    """Frozen settings from a TOML file and flags; flags win."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def load(cls, file: Path | None, flags: Mapping[str, object]) -> Self:
        """Settings from an optional TOML file with the given flags on top; ConfigError names the bad one."""
        values: dict[str, object] = {}
        if file is not None:
            try:
                values = tomllib.loads(file.read_text())
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ConfigError(f"settings file {file}: {error}") from None
        values |= {name: value for name, value in flags.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"setting {name}: {first['msg']} (got {str(first['input'])[:80]!r})") from None


class NodeSettings(Settings):
    """The four settings of a node, and its folder."""

    chain: str = Field(pattern=r"^wss?://\S+$")
    """WebSocket URL of the chain, ws:// or wss://."""
    netuid: int = Field(ge=0, le=65535)
    """Number of the subnet."""
    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub."""
    wallet: str
    """Name of the wallet."""
    hotkey: str = "default"
    """Name of the wallet's hotkey."""
    wallet_path: Path = DEFAULT_WALLETS
    """Folder of the wallets."""
    state: Path = Path("~/.hivetune")
    """Folder for downloads, checkpoints and receipts; one for each node."""
    threads: int = Field(default=0, ge=0)
    """Threads for tensor work; 0 takes all cores."""
