"""Serves a node: one event loop, JSON-RPC over WebSocket."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from hivetune.errors import ConfigError
from tools.substrate_host.node import Node
from tools.substrate_host.rpc import Methods
from tools.substrate_host.runtime import RuntimeFailed
from tools.substrate_host.session import Session

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20


@asynccontextmanager
async def serving(node: Node, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Answers clients while the `with` block runs; yields the port, which is a free one for 0."""
    methods = Methods(node)

    async def talk(socket: ServerConnection) -> None:
        await Session(socket, methods).run()

    try:
        async with serve_websocket(
            talk, host, port, max_size=MAX_MESSAGE_BYTES, compression=None, ping_interval=None, close_timeout=0.1
        ) as server:
            yield int(server.sockets[0].getsockname()[1])
    except OSError as error:
        raise ConfigError(f"cannot serve on {host}:{port}: {error}") from error


def seal_when_ready(node: Node) -> None:
    """A block for every extrinsic that becomes ready, after whoever handed it in has the answer."""
    loop = asyncio.get_running_loop()

    def seal_soon() -> None:
        loop.call_soon(_seal, node)

    node.on_ready.append(seal_soon)


async def seal_until(stop: asyncio.Event, node: Node, block_time_s: float) -> None:
    """Keeps the pace of the clock: a slow block does not delay the ones after it. 0 seals nothing."""
    if block_time_s == 0:
        await stop.wait()
        return
    loop = asyncio.get_running_loop()
    due = loop.time() + block_time_s
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), timeout=max(0.0, due - loop.time()))
        except TimeoutError:
            _seal(node)
            due = max(due + block_time_s, loop.time())


def _seal(node: Node) -> None:
    try:
        node.seal()
    except RuntimeFailed as error:
        log.error("no block: %s", error)
