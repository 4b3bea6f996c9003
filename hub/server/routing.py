"""From a raw request path to a handler, and what a handler is given.

Routing works on ASGI's `raw_path`: huggingface_hub percent-encodes revisions and tree paths with safe="", such as
`refs%2Fpr%2F1`, so a path that is decoded first could not be split any more. Each part is decoded after it is found.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from hub.server.commits import Commit, read_files, resolve
from hub.server.database import Database
from hub.server.errors import HubError, bad_request
from hub.server.gitobjects import Entry
from hub.server.names import check_kind
from hub.server.ratelimit import Bucket
from hub.server.repos import Repo, find_repo
from hub.server.signing import LinkSigner
from hub.server.store import BlobStore
from hub.server.tokens import Caller

# anyone: the token is optional. writer: a write token is needed. link: the signature in the URL is the right to upload.
Access = Literal["anyone", "writer", "link"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Sizes in bytes. What is larger than `inline` goes through LFS; `part` is the size of a multipart piece."""

    json_body: int = 4 << 20
    commit_body: int = 256 << 20
    inline: int = 1 << 20
    file: int = 64 << 30
    part: int = 128 << 20
    link_lifetime_s: int = 3600
    # The longest silence in the middle of a request body.
    silence_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    database: Database
    blobs: BlobStore
    signer: LinkSigner
    limits: Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request on its way: `params` are the decoded parts of the path, `body` is read and within its limit."""

    services: Services
    request: Request
    caller: Caller
    params: Mapping[str, str]
    body: bytes = b""

    @property
    def base_url(self) -> str:
        """As the client sees this server, also behind a proxy that keeps the Host header."""
        host = self.request.headers.get("host")
        if host is None:
            raise bad_request("No Host header")
        return f"{self.request.url.scheme}://{host}"

    def owner(self) -> str:
        """The caller's name, on routes that need a writer."""
        if self.caller.owner is None:
            raise HubError(401, "A token is needed")
        return self.caller.owner

    def repo(self, *, write: bool = False) -> Repo:
        kind = check_kind(self.params.get("kind") or "model")
        return find_repo(self.services.database, kind, self.params["repo"], self.caller, write=write)

    def tree(self, repo: Repo, revision: str) -> tuple[Commit, dict[str, Entry]]:
        connection = self.services.database.connection()
        commit = resolve(connection, repo.id, revision)
        return commit, read_files(connection, commit)

    def json(self) -> "JsonFields":
        return JsonFields.parse(self.body or b"{}")

    def flag(self, name: str) -> bool:
        return self.request.query_params.get(name, "").lower() in ("true", "1")


Handler = Callable[[Call], Response]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    handler: Handler
    access: Access = "anyone"
    bucket: Bucket = "api"
    large_body: bool = False


REPO_API = r"/api/(?P<kind>model|dataset)s/(?P<repo>[^/]+/[^/]+)"
REPO_FILES = r"(?:/(?P<kind>dataset)s)?/(?P<repo>[^/]+/[^/]+)"


def route(
    method: str,
    pattern: str,
    handler: Handler,
    *,
    access: Access = "anyone",
    bucket: Bucket = "api",
    large_body: bool = False,
) -> Route:
    return Route(
        method=method,
        pattern=re.compile(pattern),
        handler=handler,
        access=access,
        bucket=bucket,
        large_body=large_body,
    )


def match(routes: Iterable[Route], method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
    """The first route that fits the whole path; a HEAD is answered as its GET."""
    try:
        path = raw_path.decode("ascii")
    except UnicodeDecodeError:
        raise bad_request("The path must be percent-encoded") from None
    wanted = "GET" if method == "HEAD" else method
    for candidate in routes:
        if candidate.method == wanted and (found := candidate.pattern.fullmatch(path)):
            return candidate, {name: unquote(part) for name, part in found.groupdict().items() if part is not None}
    raise HubError(404, f"No such route: {method} {path[:200]}")


@dataclass(frozen=True, slots=True)
class JsonFields:
    """A JSON object from a request, read field by field; a wrong type is the sender's mistake and becomes a 400."""

    values: dict[str, object] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: bytes) -> "JsonFields":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise bad_request("The body is not JSON") from None
        return cls.of(values)

    @classmethod
    def of(cls, values: object) -> "JsonFields":
        if not isinstance(values, dict):
            raise bad_request("Expected a JSON object")
        return cls(values)

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        return _text(name, value)

    def size(self, name: str) -> int:
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise bad_request(f"Field {name!r} must be a number of bytes")
        return value

    def child(self, name: str) -> "JsonFields":
        return JsonFields.of(self.values.get(name))

    def children(self, name: str) -> list["JsonFields"]:
        return [JsonFields.of(item) for item in self._list(name)]

    def texts(self, name: str) -> list[str]:
        return [_text(name, item) for item in self._list(name)]

    def _list(self, name: str) -> list[object]:
        value = self.values.get(name)
        if not isinstance(value, list):
            raise bad_request(f"Field {name!r} must be a list")
        return value


def _text(name: str, value: object) -> str:
    """JSON may spell lone surrogates, which are no text: they can be neither stored nor sent."""
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise bad_request(f"Field {name!r} must be text")
    return value
