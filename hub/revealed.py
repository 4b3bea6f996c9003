"""Strangers' revealed files, as the submission checks read them: absent, there, or the Hub's own trouble."""

from pathlib import Path

from hivetune.errors import RejectedSubmission, RetryableError
from hub.client import HubClient, NotOnHub, RemoteFile


class RevealedFiles:
    """Looks up and downloads single files of other people's repositories, each within its own time."""

    def __init__(self, hub: HubClient, *, download_s: float) -> None:
        self._hub = hub
        self._download_s = download_s

    def revealed(self, repo: str, path: str) -> tuple[str, RemoteFile] | None:
        """The file's revision and entry at the repository's head; None when the Hub says there is no such file."""
        try:
            revision = self._hub.head(repo)
            found = self._hub.describe(repo, revision, [path]).get(path)
        except NotOnHub:
            return None
        return (revision, found) if found is not None else None

    def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path:
        """Fetch exactly these bytes. A download that fails while the Hub answers is the submission's own fault."""
        try:
            return self._hub.fetch(
                repo, revision, path, sha256=sha256, size=size, into=into, deadline_s=self._download_s
            )
        except RetryableError as error:
            self._hub.head(repo)  # an outage raises here and is retried; otherwise this one file is to blame
            raise RejectedSubmission("download_failed", str(error)[:200]) from error
