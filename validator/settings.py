"""What a validator can choose; what it measures stands in the release."""

from pydantic import Field

from hivetune.settings import NodeSettings


class ValidatorSettings(NodeSettings):
    """A validator's settings."""

    repo: str = ""
    """Hub repository for receipts, owner/name; empty: the token's owner and the hotkey's name."""
    fetch_seconds: float = Field(default=60.0, gt=0)
    """Longest time one submission's download may take."""
