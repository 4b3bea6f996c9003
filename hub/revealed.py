"""Strangers' revealed files, as the submission checks read them: absent, there, or the Hub's own trouble."""

from pathlib import Path

from hivetune.errors import RejectedSubmission, RetryableError
from hub.client import HubClient, NotOnHub, RemoteFile


class RevealedFiles:
    """Looks up and downloads single files of other people's repositories, each within its own time.

    A call that fails while the Hub answers for the node's own repository is the submission's own fault: an error would
    stop the round for everybody. During an outage the error passes through, and the round is tried again.
    """

    def __init__(self, hub: HubClient, *, own_repo: str, download_s: float) -> None:
        self._hub = hub
        self._own_repo = own_repo
        self._download_s = download_s

    def revealed(self, repo: str, path: str) -> tuple[str, RemoteFile] | None:
        """The file's revision and entry at the repository's head; None when the Hub says there is no such file."""
        try:
            revision = self._hub.head(repo)
            found = self._hub.describe(repo, revision, [path]).get(path)
        except NotOnHub:
            return None
        except RetryableError as error:
            self._refuse_during_an_outage()
            raise RejectedSubmission("download_failed", str(error)) from error
        return (revision, found) if found is not None else None

    def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path:
        """Fetch exactly these bytes."""
        try:
            return self._hub.fetch(
                repo, revision, path, sha256=sha256, size=size, into=into, deadline_s=self._download_s
            )
        except RetryableError as error:
            self._refuse_during_an_outage()
            raise RejectedSubmission("download_failed", str(error)) from error

    def _refuse_during_an_outage(self) -> None:
        """RetryableError unless the Hub answers; that there is no such repository yet is an answer, too."""
        try:
            self._hub.head(self._own_repo)
        except NotOnHub:
            return
