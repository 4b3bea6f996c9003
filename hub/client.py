"""The typed client through which every node talks to a Hub, the public one or the embedded one.

Endpoint and token are always passed on, never taken from the environment; every call ends by its deadline; what the
library raises comes out as one of the project's errors (see hub/failures.py).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils._headers import build_hf_headers

from hivetune.errors import ConfigError, RetryableError
from hub.deadline import Budget, install, spending
from hub.download import download_file, read_small
from hub.failures import LIBRARY_FAILURES, CorruptDownload, HubTrouble, NotOnHub, classify
from hub.names import check_commit, check_path, check_repo, check_revision
from hub.records import CommitInfo, RemoteFile, RepoKind, as_remote_file, as_revision

__all__ = ["CommitInfo", "CorruptDownload", "HubClient", "HubTrouble", "NotOnHub", "RemoteFile", "RepoKind"]

Answer = TypeVar("Answer")

_TRIES = 3
_MAX_ANSWER_BYTES = 64 << 20
# Room for an error page beside the bytes that are wanted.
_SLACK_BYTES = 1 << 20
_PATHS_PER_REQUEST = 500
# A Hub may think for a minute before it confirms a commit or the parts of a large file.
_WRITE_SILENCE_S = 90.0


class HubClient:
    """One endpoint and one identity. Cheap to create, safe to share between threads.

    `timeout_s` bounds a metadata call as a whole, and one silence within a transfer. Calls that fail for a passing
    reason are tried up to three times inside their deadline; a 429 is waited out if its pause ends before it.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 20.0) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ConfigError(f"Hub URL {url!r}: want http://host:port or https://host")
        if timeout_s <= 0:
            raise ConfigError(f"Hub timeout {timeout_s} s: want more than zero")
        if token is not None and (not token.isascii() or not token.isprintable() or not token.strip()):
            raise ConfigError("the Hub token must be printable ASCII and not empty")
        install()
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._token = token
        # False, not None: with None the library looks for a token in the environment and on disk.
        self._api = HfApi(endpoint=self.url, token=token if token is not None else False)

    def whoami(self) -> str:
        """The account behind the token; ConfigError if there is none."""
        if self._token is None:
            raise ConfigError(f"{self.url}: no Hub token is set")

        def ask() -> str:
            return str(self._api.whoami()["name"])

        return self._run(f"whoami on {self.url}", ask)

    def ensure_repo(self, repo: str, *, kind: RepoKind = "model", private: bool = False) -> None:
        """Create the repository if need be; afterwards this token may write to it, else ConfigError."""
        check_repo(repo)

        def ask() -> None:
            try:
                self._api.create_repo(repo, repo_type=kind, private=private)
            except HfHubHTTPError as refused:
                # A token for one repository may not create any, so a refusal counts only if writing is refused too.
                if refused.response.status_code not in (401, 402, 403, 409):
                    raise
                try:
                    self._api.auth_check(repo, repo_type=kind, write=True)
                except RepositoryNotFoundError:
                    raise refused from None

        self._run(f"{kind} repository {repo} on {self.url}", ask, write=True)

    def publish(
        self,
        repo: str,
        files: Mapping[str, Path | bytes],
        *,
        message: str,
        kind: RepoKind = "model",
        parent: str | None = None,
        deadline_s: float = 600.0,
    ) -> str:
        """Add or replace the files in one commit on `main` and return its revision.

        With `parent`, only if that is still the head; else RetryableError. If no file differs from the head, nothing is
        committed and the head is returned, which also makes a repeated call safe after a lost answer.
        """
        check_repo(repo)
        for path, content in files.items():
            check_path(path)
            if isinstance(content, Path) and not content.is_file():
                raise FileNotFoundError(f"{content} for {repo}/{path} is no file")

        def send() -> str:
            with ExitStack() as opened:
                additions = [
                    CommitOperationAdd(
                        path, content if isinstance(content, bytes) else opened.enter_context(content.open("rb"))
                    )
                    for path, content in files.items()
                ]
                # One by one: the library sends several at once from threads of its own, which have no deadline.
                for addition in additions:
                    self._api.preupload_lfs_files(repo, [addition], repo_type=kind, free_memory=False)
                commit = self._api.create_commit(
                    repo, additions, commit_message=message, repo_type=kind, parent_commit=parent
                )
            return as_revision(commit.oid)

        what = f"publishing to {kind} repository {repo} on {self.url}"
        return self._run(what, send, write=True, deadline_s=deadline_s)

    def head(self, repo: str, *, kind: RepoKind = "model") -> str:
        """The revision that `main` points to now."""
        check_repo(repo)

        def ask() -> str:
            # Without the list of its files, which is as long as the repository's owner makes it.
            expand: Any = ["sha"]  # typed as one name, sent as it is
            return as_revision(self._api.repo_info(repo, repo_type=kind, expand=expand).sha)

        return self._run(f"head of {kind} {repo} on {self.url}", ask, max_body_bytes=_SLACK_BYTES)

    def describe(
        self, repo: str, revision: str, paths: Sequence[str], *, kind: RepoKind = "model"
    ) -> dict[str, RemoteFile]:
        """Size and digest of those paths that are files at that revision; the others are absent from the answer."""
        check_repo(repo), check_revision(revision)
        wanted = [check_path(path) for path in dict.fromkeys(paths)]

        def ask() -> dict[str, RemoteFile]:
            found: dict[str, RemoteFile] = {}
            for start in range(0, max(len(wanted), 1), _PATHS_PER_REQUEST):
                batch = wanted[start : start + _PATHS_PER_REQUEST]
                listed = self._api.get_paths_info(repo, batch, repo_type=kind, revision=revision)
                found |= {file.path: file for file in map(as_remote_file, listed) if file and file.path in batch}
            return found

        return self._run(f"files of {kind} {repo}@{revision} on {self.url}", ask)

    def fetch(
        self,
        repo: str,
        revision: str,
        path: str,
        *,
        sha256: str,
        size: int,
        into: Path,
        kind: RepoKind = "model",
        deadline_s: float = 300.0,
    ) -> Path:
        """Download to `into` and return it, only if the bytes are exactly those promised.

        A broken transfer leaves `<into>.part`, which the next call resumes; a corrupt one leaves nothing. Two downloads
        at a time must not share `into`.
        """
        check_commit(revision)
        url = self._file_url(repo, revision, path, kind)

        def receive() -> Path:
            return download_file(url, self._headers(), sha256=sha256.lower(), size=size, into=into)

        return self._run(f"GET {url}", receive, deadline_s=deadline_s, max_body_bytes=size + _SLACK_BYTES)

    def read_bytes(
        self,
        repo: str,
        revision: str,
        path: str,
        *,
        max_bytes: int,
        kind: RepoKind = "model",
        deadline_s: float = 60.0,
    ) -> bytes:
        """A small file in memory; CorruptDownload if it is larger. The caller checks the digest."""
        check_revision(revision)
        url = self._file_url(repo, revision, path, kind)

        def receive() -> bytes:
            return read_small(url, self._headers(), max_bytes=max_bytes)

        return self._run(f"GET {url}", receive, deadline_s=deadline_s, max_body_bytes=max_bytes + _SLACK_BYTES)

    def list_files(self, repo: str, revision: str, *, kind: RepoKind = "model") -> list[RemoteFile]:
        """Every file at that revision, including the .gitattributes that a Hub adds itself."""
        check_repo(repo), check_revision(revision)

        def ask() -> list[RemoteFile]:
            listed = self._api.list_repo_tree(repo, recursive=True, revision=revision, repo_type=kind)
            return [file for file in map(as_remote_file, listed) if file]

        return self._run(f"files of {kind} {repo}@{revision} on {self.url}", ask)

    def history(self, repo: str, *, kind: RepoKind = "model", limit: int = 100) -> list[CommitInfo]:
        """The newest commits of `main`, newest first."""
        check_repo(repo)

        def ask() -> list[CommitInfo]:
            return [
                CommitInfo(
                    revision=as_revision(commit.commit_id),
                    title=commit.title,
                    created_unix_s=commit.created_at.timestamp(),
                )
                for commit in self._api.list_repo_commits(repo, repo_type=kind)[:limit]
            ]

        return self._run(f"history of {kind} {repo} on {self.url}", ask)

    def tag(self, repo: str, name: str, revision: str, *, kind: RepoKind = "model") -> None:
        """Name a revision for good. Repeating it is fine; a tag that names another revision is RetryableError."""
        check_repo(repo), check_revision(name), check_commit(revision)

        def ask() -> None:
            try:
                self._api.create_tag(repo, tag=name, revision=revision, repo_type=kind)
            except HfHubHTTPError as error:
                if error.response.status_code != 409:
                    raise
                tags = self._api.list_repo_refs(repo, repo_type=kind).tags
                if revision not in [tag.target_commit for tag in tags if tag.name == name]:
                    raise

        self._run(f"tag {name} of {kind} {repo} on {self.url}", ask, write=True)

    def close(self) -> None:
        """Nothing is held per client: connections belong to the library's session, which the process shares."""

    def _headers(self) -> dict[str, str]:
        return build_hf_headers(token=self._token if self._token is not None else False)

    def _file_url(self, repo: str, revision: str, path: str, kind: RepoKind) -> str:
        check_repo(repo), check_path(path)
        return hf_hub_url(repo, path, repo_type=kind, revision=revision, endpoint=self.url)

    def _run(
        self,
        what: str,
        action: Callable[[], Answer],
        *,
        write: bool = False,
        deadline_s: float | None = None,
        max_body_bytes: int = _MAX_ANSWER_BYTES,
    ) -> Answer:
        """Run `action` inside its deadline, again after a passing failure, and with the project's errors only."""
        allowed_s = self._timeout_s if deadline_s is None else deadline_s
        silence_s = max(self._timeout_s, _WRITE_SILENCE_S) if write else self._timeout_s
        budget = Budget(ends_at=time.monotonic() + allowed_s, silence_s=silence_s, max_body_bytes=max_body_bytes)
        failures = 0
        with spending(budget):
            while True:
                try:
                    return action()
                except (*LIBRARY_FAILURES, RetryableError) as error:
                    if type(error) is RuntimeError and error.__cause__ is None:
                        raise
                    failure = classify(error, what, write=write)
                    cause = None if failure is error else error
                    if not isinstance(failure, HubTrouble) or failure.wait_s is None:
                        raise failure from cause
                    failures += not failure.rate_limited
                    pause_s = failure.wait_s * 4 ** max(failures - 1, 0)
                    if failures >= _TRIES or pause_s >= budget.remaining_s():
                        raise failure from cause
                    time.sleep(pause_s)
