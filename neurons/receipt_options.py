"""The flags of `hivetune receipt`."""

from pydantic import Field

from hivetune.settings import SubnetSettings


class ReceiptOptions(SubnetSettings):
    """Whose receipt of which round."""

    hub: str = Field(pattern=r"^https?://\S+$")
    """URL of the Hub."""
    hotkey: str = ""
    """Hotkey of the validator; empty: the one with the largest stake."""
    round: int | None = Field(default=None, ge=0)
    """Round of the receipt; without it the last one."""
    as_json: bool = False
    """Print JSON."""


class PowerOptions(ReceiptOptions):
    """What to reckon from it."""

    delta: float = Field(default=0.002, gt=0)
    """Difference in nats per token that is to be told from none."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    """Probability with which it is to be found."""


class ReceiptVerifyOptions(ReceiptOptions):
    """How to repeat it."""

    fetch_seconds: float = Field(default=60.0, gt=0)
    """Longest time one submission's download may take."""
    sample: int = Field(default=0, ge=0)
    """Batches of text to measure again, drawn at random; 0 measures all, and the merge."""
    threads: int = Field(default=0, ge=0)
    """Threads for tensor work; 0 takes all cores."""
