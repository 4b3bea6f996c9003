"""Strangers' words on their way to logs, receipts and terminals."""


def printable(text: str, max_chars: int = 300) -> str:
    """One line of text that can be shown and stored anywhere, cut at the limit.

    Line breaks would forge log lines, escape sequences drive a terminal, and half of a surrogate pair makes a receipt
    that nobody can read.
    """
    cut = text[:max_chars]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
