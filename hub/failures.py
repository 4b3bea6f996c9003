"""What can go wrong with a Hub, sorted into the project's three reactions.

RetryableError
├── NotOnHub          the Hub is up and says that the repository, revision or file does not exist
├── CorruptDownload   bytes came, but not the promised ones
└── HubTrouble        the Hub was not reached, was too slow or asked to wait: an outage says nothing about a miner
"""

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hivetune.errors import ConfigError, HivetuneError, RetryableError

# Only the remote kinds: LocalEntryNotFoundError, a sibling by name, means that the Hub could not be reached.
_ABSENT = (
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RemoteEntryNotFoundError,
    DisabledRepoError,
    HFValidationError,
)
# What huggingface_hub lets through when an answer is not shaped as its API promises.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)

LIBRARY_FAILURES = (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    RuntimeError,
    *_UNREADABLE,
)


class NotOnHub(RetryableError):  # noqa: N818 - an answer, not a malfunction
    """The repository, revision or file does not exist, by the Hub's own word or because its name is impossible."""


class CorruptDownload(RetryableError):  # noqa: N818 - says what came
    """Wrong size or digest; nothing of it is left on disk."""


class HubTrouble(RetryableError):  # noqa: N818 - covers every outage
    """No usable answer. `wait_s` is the pause after which the same call may work, None if trying again is no use."""

    def __init__(self, message: str, *, wait_s: float | None = None, rate_limited: bool = False) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.rate_limited = rate_limited


def classify(error: BaseException, what: str, *, write: bool) -> HivetuneError:
    """The project's error for what huggingface_hub raised during `what`."""
    if isinstance(error, HivetuneError):
        return error
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        # The library wraps whatever stops an LFS upload (`_upload_lfs_files`).
        return classify(error.__cause__, what, write=write)
    if isinstance(error, OfflineModeIsEnabled):
        return ConfigError(f"{what}: HF_HUB_OFFLINE is set, so the Hub must not be reached")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if write and status in (401, 403):
        return ConfigError(f"{what}: a token with write access to it is needed ({status}: {_message(error)})")
    if isinstance(error, _ABSENT):
        return NotOnHub(f"{what}: {_message(error)}")
    if status == 401:
        return ConfigError(f"{what}: the Hub token is wrong or expired ({_message(error)})")
    if status in (409, 412):
        return RetryableError(f"{what}: somebody else changed it first ({status}: {_message(error)})")
    if write and status is not None and 400 <= status < 500:
        return ConfigError(f"{what}: refused ({status}: {_message(error)})")
    if status is not None:
        return RetryableError(f"{what}: unexpected answer {status}: {_message(error)}")
    return RetryableError(f"{what}: unreadable answer ({type(error).__name__}: {_message(error)})")


def _message(error: BaseException) -> str:
    """One line: the Hub's own words where it sent some."""
    if isinstance(error, HfHubHTTPError) and error.server_message:
        return " ".join(error.server_message.split())[:300]
    return " ".join(str(error).split())[:300]
