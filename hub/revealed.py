"""Strangers' revealed files, as the submission checks read them: absent, there, or the Hub's own trouble."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from hivetune.errors import RejectedSubmission, RetryableError
from hub.client import HubClient, HubTrouble, NotOnHub, RemoteFile

Answer = TypeVar("Answer")


class RevealedFiles:
    """Looks up and downloads single files of other people's repositories, each within its own time.

    A call that fails while the Hub answers for the node's own repository is the submission's own fault: an error would
    stop the round for everybody. During an outage the error passes through, and the round is tried again.
    `revisions` pins repositories to how they were; the others are looked up at their heads.
    """

    def __init__(
        self, hub: HubClient, *, own_repo: str, download_s: float, revisions: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._hub = hub
        self._revisions = revisions
        self._own_repo = own_repo
        self._download_s = download_s

    def revealed(self, repo: str, path: str) -> tuple[str, RemoteFile] | None:
        """The file's revision and entry; None when the Hub says there is no such file."""

        def look_up() -> tuple[str, RemoteFile] | None:
            try:
                revision = self._revisions.get(repo) or self._hub.head(repo)
                found = self._hub.describe(repo, revision, [path]).get(path)
            except NotOnHub:
                return None
            return (revision, found) if found is not None else None

        return self._judged(look_up)

    def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path:
        """Fetch exactly these bytes."""

        def fetch() -> Path:
            return self._hub.fetch(
                repo, revision, path, sha256=sha256, size=size, into=into, deadline_s=self._download_s
            )

        return self._judged(fetch)

    def _judged(self, call: Callable[[], Answer]) -> Answer:
        """What the call gives, or whose fault it is that it gives nothing."""
        try:
            return call()
        except HubTrouble:
            self._refuse_during_an_outage()  # one that has just ended is nobody's fault either: once more
        except RetryableError as error:
            raise self._rejection(error) from error
        try:
            return call()
        except RetryableError as error:
            raise self._rejection(error) from error

    def _rejection(self, error: RetryableError) -> RejectedSubmission:
        self._refuse_during_an_outage()
        return RejectedSubmission("download_failed", str(error))

    def _refuse_during_an_outage(self) -> None:
        """RetryableError unless the Hub answers; that there is no such repository yet is an answer, too."""
        try:
            self._hub.head(self._own_repo)
        except NotOnHub:
            return
