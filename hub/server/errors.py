"""Errors as the Hub's clients expect them on the wire.

huggingface_hub maps a failure to a typed exception by the `X-Error-Code` header (`hf_raise_for_status`); its rule
"401 means the repository is unknown" works for https:// URLs only, so here the header is always sent.
"""

from collections.abc import Mapping
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

# Kept as they are: the RateLimit headers are parsed with their quotes, semicolons and equals signs.
_HEADER_SAFE = " /:;&'\".,()<>{}[]@+=-_?!#"


class HubError(Exception):
    """A request that is answered with a status, a message and, where the client has a type for it, an error code."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})


def error_response(error: HubError) -> Response:
    headers = {"X-Error-Message": error.message, **error.headers}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    return JSONResponse(
        {"error": error.message},
        error.status,
        {name: quote(value, safe=_HEADER_SAFE) for name, value in headers.items()},
    )


def bad_request(message: str) -> HubError:
    return HubError(400, message)


def invalid_credentials() -> HubError:
    """The exact text matters: the client tells a wrong token from an unknown repository by it."""
    return HubError(401, "Invalid credentials in Authorization header")


def repo_not_found(*, anonymous: bool) -> HubError:
    """The same answer for a repository that does not exist and for one that the caller may not see."""
    return HubError(401 if anonymous else 404, "Repository not found", code="RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, *, revision: str) -> HubError:
    """Carries the commit, because the client remembers per commit that a file is absent."""
    return HubError(404, f"Entry not found: {path}", code="EntryNotFound", headers={"X-Repo-Commit": revision})
