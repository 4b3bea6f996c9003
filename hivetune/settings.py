"""What every node is told: the chain, the subnet, the Hub, the wallet, and where to keep its state.

All else is read from the current release. Secrets are never settings: the Hub token comes from HIVETUNE_HUB_TOKEN.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hivetune.errors import ConfigError

HUB_TOKEN_VARIABLE = "HIVETUNE_HUB_TOKEN"
DEFAULT_WALLETS = Path("~/.bittensor/wallets")
LOCAL = "local"
ENDPOINT_VARIABLE = "BT_CHAIN_ENDPOINT"  # what `local` means
# Bittensor's own variables for these settings; the first that is set and not empty counts.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "network": ("BT_NETWORK", ENDPOINT_VARIABLE),
    "wallet": ("BT_WALLET",),
    "wallet_hotkey": ("BT_WALLET_HOTKEY",),
    "wallet_path": ("BT_WALLET_PATH",),
}
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A value and where it came from, as an error shall name it."""

    value: object
    origin: str  # "" for a flag, whose name says it all


class Settings(BaseModel):
    """Frozen settings. Flags win over the TOML file, that over the environment, that over the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def load(
        cls,
        file: Path | None,
        flags: Mapping[str, object],
        environment: Mapping[str, str] = NOTHING,
        checks: Mapping[str, Callable[[str], object]] = MappingProxyType({}),
    ) -> Self:
        """Settings from all sources; ConfigError names the bad one and its source.

        `checks` are further judges of texts by name, which raise ConfigError.
        """
        given = _from_environment(cls, environment) | _from_file(file)
        given |= {name: Given(value=value, origin="") for name, value in flags.items() if value is not None}
        _point_local(given, environment)
        for name, check in checks.items():
            if name in given and isinstance(given[name].value, str):
                try:
                    check(str(given[name].value))
                except ConfigError as error:
                    raise ConfigError(f"setting {name}{given[name].origin}: {error}") from None
        try:
            return cls.model_validate({name: one.value for name, one in given.items()})
        except ValidationError as error:
            raise ConfigError(_explain(error, given)) from None


def _from_environment(model: type[Settings], environment: Mapping[str, str]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for name, variables in VARIABLES.items():
        variable = next((variable for variable in variables if environment.get(variable)), None)
        if name in model.model_fields and variable is not None:
            found[name] = Given(value=environment[variable], origin=f" (from {variable})")
    return found


def _from_file(file: Path | None) -> dict[str, Given]:
    if file is None:
        return {}
    try:
        values = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"settings file {file}: {error}") from None
    return {name: Given(value=value, origin=f" (from {file})") for name, value in values.items()}


def _point_local(given: dict[str, Given], environment: Mapping[str, str]) -> None:
    """`local` is where BT_CHAIN_ENDPOINT says, when it says anything."""
    if "network" in given and given["network"].value == LOCAL and environment.get(ENDPOINT_VARIABLE):
        given["network"] = Given(value=environment[ENDPOINT_VARIABLE], origin=f" (from {ENDPOINT_VARIABLE})")


def _explain(error: ValidationError, given: Mapping[str, Given]) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        flag = f"--{name.replace('_', '-')}"
        return f"setting {name} is missing: give {' or '.join([flag, *VARIABLES.get(name, ())])}"
    origin = given[name].origin if name in given else ""
    return f"setting {name}{origin}: {first['msg']} (got {str(first['input'])[:80]!r})"


class ChainSettings(Settings):
    """Which chain."""

    network: str
    """Chain: finney, test, local, or ws:// and wss:// URLs separated by commas."""
    genesis_hash: str = ""
    """Hash of the block 0 that the chain must have; empty: the known one of finney and test, any elsewhere."""


class SubnetSettings(ChainSettings):
    """Which subnet of which chain."""

    netuid: int = Field(ge=0, le=65535)
    """Number of the subnet."""


class WalletSettings(Settings):
    """Which keys."""

    wallet: str
    """Name of the wallet."""
    wallet_hotkey: str = "default"
    """Name of the wallet's hotkey."""
    wallet_path: Path = DEFAULT_WALLETS
    """Folder of the wallets."""


class NodeSettings(WalletSettings, SubnetSettings):
    """The four settings of a node, and its folder."""

    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub."""
    allow_unlocked_coldkey: bool = False
    """Start although the wallet's coldkey lies here unencrypted; a node signs with the hotkey alone."""
    state: Path = Path("~/.hivetune")
    """Folder for downloads, checkpoints and receipts; one for each node."""
    threads: int = Field(default=0, ge=0)
    """Threads for tensor work; 0 takes all cores."""
