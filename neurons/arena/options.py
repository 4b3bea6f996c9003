"""The arena's knobs."""

from pathlib import Path

from pydantic import Field

from hivetune.settings import Settings


class ArenaOptions(Settings):
    """What `hivetune arena` plays."""

    strategy: tuple[str, ...] = ()
    """Strategies to play; honest neurons are always there. None: all of them."""
    rounds: int = Field(default=6, ge=1, le=1000)
    """Rounds to play."""
    seed: int = 0
    """Seed of the text, the base, every key and every draw of a strategy."""
    honest: int = Field(default=6, ge=2, le=64)
    """Honest miners that train the full number of steps."""
    validators: int = Field(default=3, ge=1, le=16)
    """Honest validators; each has three times the stake of another."""
    steps: int = Field(default=16, ge=1)
    """Optimizer steps of a full round of honest training."""
    score_sequences: int = Field(default=128, gt=3)
    """Held-out sequences that validators score on."""
    documents: int = Field(default=2240, ge=80)
    """Documents of each of the six languages that miners train on."""
    base_steps: int = Field(default=400, ge=1)
    """Optimizer steps that the base is trained before the first round."""
    list: bool = False
    """Say which strategies there are, and play none."""
    json_path: Path | None = None
    """Write the result to this file."""
    plot: Path | None = None
    """Draw pay per unit of cost as an SVG file."""
    folder: Path | None = None
    """Where chain, Hub and nodes keep their state; a temporary folder unless given."""
    cache: Path = Path(".cache/hivetune")
    """Where the trained base is kept between runs."""
