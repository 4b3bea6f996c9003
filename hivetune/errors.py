"""Every failure has one of three reactions, so there are three families.

HivetuneError
├── ConfigError          stops the node with one clear line (exit code 2)
├── RetryableError       the world is not ready: wait, back off, try again
└── RejectedSubmission   somebody else's submission is worth nothing: score zero, with a stable reason
"""

from hivetune.printable import printable


class HivetuneError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(HivetuneError):
    """What the operator gave cannot work; the message says what was wrong and what is allowed."""


class RetryableError(HivetuneError):
    """A network, chain or Hub failure that may pass."""


class RejectedSubmission(HivetuneError):  # noqa: N818 - a verdict, not a malfunction
    """A submission that scores zero.

    `reason` is a stable word for receipts and reports; `detail` holds the value found and the limit, made printable,
    because the value is a stranger's.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        detail = printable(detail)
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
