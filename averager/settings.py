"""What an averager can choose."""

from pydantic import Field

from hivetune.settings import NodeSettings


class AveragerSettings(NodeSettings):
    """An averager's settings; its hotkey must be the subnet owner's."""

    repo: str = ""
    """Hub repository for releases, owner/name; empty: the repository of the current release."""
    fetch_seconds: float = Field(default=60.0, gt=0)
    """Longest time one submission's download may take."""
