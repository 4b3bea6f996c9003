"""The Hub as an ASGI application: who calls, may they, which handler, and errors as the client knows them."""

import logging
from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.server import routes_commit, routes_files, routes_repos, routes_trees
from hub.server.database import Database
from hub.server.errors import HubError, error_response
from hub.server.ratelimit import RateLimiter
from hub.server.routing import Call, Limits, Route, Services, match
from hub.server.signing import LinkSigner, load_signing_key
from hub.server.store import BlobStore
from hub.server.tokens import Caller, identify
from hub.server.uploads import body_chunks, handle_upload, is_upload_link

log = logging.getLogger(__name__)

_ROUTES = (*routes_files.ROUTES, *routes_commit.ROUTES, *routes_trees.ROUTES, *routes_repos.ROUTES)


class HubApp:
    """Answers every request with a response: a refusal is a typed error, never a half-written state."""

    def __init__(
        self, root: Path, *, rate_limits: Mapping[str, tuple[int, int]] | None = None, limits: Limits | None = None
    ) -> None:
        limits = limits or Limits()
        self._rates = RateLimiter(rate_limits or {})
        self._services = Services(
            database=Database(root),
            blobs=BlobStore(root),
            signer=LinkSigner(load_signing_key(root), lifetime_s=limits.link_lifetime_s),
            limits=limits,
        )

    def close(self) -> None:
        self._services.database.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except HubError as error:
            log.debug("%s %s: %d %s", request.method, scope["raw_path"], error.status, error.message)
            response = error_response(error)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        raw_path: bytes = request.scope["raw_path"]
        if is_upload_link(raw_path):
            return await handle_upload(self._services, request)
        found, params = match(_ROUTES, request.method, raw_path)
        caller = await to_thread.run_sync(self._identify, request.headers.get("authorization"))
        address = request.client.host if request.client else "unknown"
        self._rates.spend(caller.owner or address, found.bucket)
        if found.access == "writer" and not caller.may_write:
            raise HubError(401 if caller.owner is None else 403, "A token with write role is needed")
        body = await self._read_body(request, found)
        call = Call(services=self._services, request=request, caller=caller, params=params, body=body)
        return await to_thread.run_sync(found.handler, call)

    def _identify(self, authorization: str | None) -> Caller:
        return identify(self._services.database.connection(), authorization)

    async def _read_body(self, request: Request, found: Route) -> bytes:
        if found.method == "GET":
            return b""
        limits = self._services.limits
        max_bytes = limits.commit_body if found.large_body else limits.json_body
        body = bytearray()
        async for chunk in body_chunks(request, silence_s=limits.silence_s):
            body += chunk
            if len(body) > max_bytes:
                raise HubError(413, f"The body is larger than {max_bytes} bytes")
        return bytes(body)
