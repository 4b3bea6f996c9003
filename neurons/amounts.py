"""Amounts as people write them."""

import re

from hivetune.errors import ConfigError
from neurons.results import RAO

AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")


def parse_rao(text: str, what: str) -> int:
    """Rao from whole tokens with up to nine decimals, exact; floats would round."""
    match = AMOUNT.fullmatch(text)
    if match is None:
        raise ConfigError(f"{what} {text!r}: want an amount such as 1.5, at most 9 digits after the point")
    return int(match[1]) * RAO + int((match[2] or "").ljust(9, "0"))
