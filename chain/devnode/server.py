"""The embedded chain as a process: one thread, one event loop, JSON-RPC over WebSocket."""

import asyncio
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.sync.client import connect

from chain.devnode.metadata import metadata_hex
from chain.devnode.node import Node
from chain.devnode.rpc import Methods
from chain.devnode.session import Session
from hivetune.errors import ConfigError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20  # a longer one closes the socket; a shorter one that is too long gets an error
START_TIMEOUT_S = 30.0


def serve(
    state_path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 9944,
    block_time_s: float = 12.0,
    endow: Mapping[str, int] | None = None,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT. Port 0 takes a free one; a block time of 0 seals on dev_newBlock alone."""
    asyncio.run(_main(state_path, host, port, block_time_s, endow or {}, on_ready))


async def _main(
    state_path: Path,
    host: str,
    port: int,
    block_time_s: float,
    endow: Mapping[str, int],
    on_ready: Callable[[int], None] | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await _run(state_path, host, port, block_time_s, endow, on_ready or (lambda _: None), stop)


async def _run(
    state_path: Path,
    host: str,
    port: int,
    block_time_s: float,
    endow: Mapping[str, int],
    on_ready: Callable[[int], None],
    stop: asyncio.Event,
) -> None:
    if block_time_s < 0:
        raise ConfigError(f"block_time_s is {block_time_s}, want 0 or more")
    metadata_hex()  # made once, before the first client waits for it
    node = Node(state_path, endow=endow)
    methods = Methods(node)

    async def talk(socket: ServerConnection) -> None:
        await Session(socket, methods).run()

    try:
        async with serve_websocket(
            talk, host, port, max_size=MAX_MESSAGE_BYTES, compression=None, ping_interval=None, close_timeout=0.1
        ) as server:
            bound = int(server.sockets[0].getsockname()[1])
            log.info("chain at ws://%s:%d, block %d, state %s", host, bound, node.head.number, state_path)
            on_ready(bound)
            await _seal_until(stop, node, block_time_s)
    except OSError as error:
        raise ConfigError(f"cannot serve on {host}:{port}: {error}") from error
    finally:
        node.close()


async def _seal_until(stop: asyncio.Event, node: Node, block_time_s: float) -> None:
    """Keeps the pace of the clock: a slow block does not delay the ones after it."""
    if block_time_s == 0:
        await stop.wait()
        return
    loop = asyncio.get_running_loop()
    due = loop.time() + block_time_s
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), timeout=max(0.0, due - loop.time()))
        except TimeoutError:
            node.seal()
            due = max(due + block_time_s, loop.time())


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningDevnode:
    """A node that serves in a thread of this process."""

    url: str

    def new_blocks(self, count: int = 1) -> str:
        """Seals blocks and returns the hash of the last one."""
        return str(self.request("dev_newBlock", [{"count": count}]))

    def drop_pool(self) -> int:
        """Forgets the waiting extrinsics, as a node does that restarts."""
        return int(str(self.request("dev_dropPool", [])))

    def request(self, method: str, parameters: list[object]) -> object:
        with connect(self.url, max_size=None) as socket:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
            reply = json.loads(socket.recv())
        if "error" in reply:
            raise ValueError(f"{method}: {reply['error']}")
        return reply["result"]


@contextmanager
def running_devnode(
    state_path: Path, *, block_time_s: float = 0.0, endow: Mapping[str, int] | None = None, port: int = 0
) -> Iterator[RunningDevnode]:
    """A node, by default on a free port, for as long as the `with` block runs."""
    ready = threading.Event()
    ports: list[int] = []
    controls: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failures: list[ConfigError] = []

    def tell(bound: int) -> None:
        ports.append(bound)
        ready.set()

    async def main() -> None:
        stop = asyncio.Event()
        controls.append((asyncio.get_running_loop(), stop))
        await _run(state_path, "127.0.0.1", port, block_time_s, endow or {}, tell, stop)

    def run() -> None:
        try:
            asyncio.run(main())
        except ConfigError as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="devnode", daemon=True)
    thread.start()
    if not ready.wait(START_TIMEOUT_S) or not ports:
        raise failures[0] if failures else ConfigError(f"the node did not start within {START_TIMEOUT_S} s")
    try:
        yield RunningDevnode(url=f"ws://127.0.0.1:{ports[0]}")
    finally:
        loop, stop = controls[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()
