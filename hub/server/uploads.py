"""Uploads by signed link: a whole file, a part of one, or the word that all parts are there.

The bytes are streamed to disk and only published once size and sha256 are what the link was signed for.
"""

import re
from collections.abc import AsyncIterator

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hub.server.errors import HubError
from hub.server.repos import claim_blob
from hub.server.routing import Services
from hub.server.signing import PartName

_LINK = re.compile(
    rb"/_lfs/(?P<repo>\d{1,15})/(?P<sha256>[0-9a-f]{64})/(?P<size>\d{1,15})/(?P<expires>\d{1,12})/(?P<part>all|done|\d{1,5})"
)
_FLUSH_BYTES = 1 << 20


async def body_chunks(request: Request, *, silence_s: float) -> AsyncIterator[bytes]:
    """The body as it comes in; a sender that falls silent is cut off."""
    stream = request.stream()
    while True:
        try:
            with anyio.fail_after(silence_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise HubError(408, f"No bytes for {silence_s} s") from None
        if chunk is None:
            return
        yield chunk


def is_upload_link(raw_path: bytes) -> bool:
    return raw_path.startswith(b"/_lfs/")


async def handle_upload(services: Services, request: Request) -> Response:
    found = _LINK.fullmatch(request.scope["raw_path"])
    if found is None:
        raise HubError(404, "No such upload link")
    parts = {name: value.decode() for name, value in found.groupdict().items()}
    part: PartName
    match parts["part"]:
        case "all":
            part = "all"
        case "done":
            part = "done"
        case number:
            part = int(number)
    repo_id, sha256, size = int(parts["repo"]), parts["sha256"], int(parts["size"])
    services.signer.check(
        repo_id=repo_id,
        sha256=sha256,
        size=size,
        expires=int(parts["expires"]),
        part=part,
        signature=request.query_params.get("sig", ""),
    )
    if request.method != ("POST" if part == "done" else "PUT"):
        raise HubError(405, f"{request.method} is not allowed on this link")
    if part == "done":
        await to_thread.run_sync(_join, services, repo_id, sha256, size)
        return JSONResponse({"success": True})
    etag = await _receive(services, request, repo_id=repo_id, sha256=sha256, size=size, part=part)
    return Response(headers={"ETag": f'"{etag}"'})


async def _receive(
    services: Services, request: Request, *, repo_id: int, sha256: str, size: int, part: PartName
) -> str:
    part_bytes = services.limits.part
    want = min(part_bytes, size - (part - 1) * part_bytes) if isinstance(part, int) else size
    incoming = services.blobs.open_incoming(max_bytes=want)
    try:
        buffer = bytearray()
        async for chunk in body_chunks(request, silence_s=services.limits.silence_s):
            buffer += chunk
            if len(buffer) >= _FLUSH_BYTES:
                await to_thread.run_sync(incoming.write, bytes(buffer))
                buffer.clear()
        incoming.write(bytes(buffer))
        if incoming.size != want:
            raise HubError(400, f"Got {incoming.size} bytes, want {want}")

        def publish() -> None:
            if isinstance(part, int):
                services.blobs.keep_part(incoming, repo_id=repo_id, sha256=sha256, number=part)
            else:
                services.blobs.keep(incoming, sha256=sha256, size=size)
                claim_blob(services.database.connection(), repo_id, sha256, size)

        await to_thread.run_sync(publish)
    finally:
        incoming.discard()
    return incoming.sha256


def _join(services: Services, repo_id: int, sha256: str, size: int) -> None:
    count = -(-size // services.limits.part)
    services.blobs.join_parts(repo_id=repo_id, sha256=sha256, size=size, count=count)
    claim_blob(services.database.connection(), repo_id, sha256, size)
