"""The flags of `hivetune release`."""

from pydantic import Field

from hivetune.settings import SubnetSettings


class ReleaseOptions(SubnetSettings):
    """Whose releases."""

    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub."""
    as_json: bool = False
    """Print JSON."""


class VerifyOptions(ReleaseOptions):
    """Which release."""

    number: int = Field(ge=0)
    """Number of the release."""
    threads: int = Field(default=0, ge=0)
    """Threads of the merge, which change no bit; 0 takes all cores."""
