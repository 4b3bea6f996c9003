"""The embedded chain as a process: one thread, one event loop, JSON-RPC over WebSocket."""

import asyncio
import json
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.sync.client import connect

from chain.devnode.endpoint import Endpoint
from chain.devnode.faults import Fault
from chain.devnode.metadata import metadata_hex
from chain.devnode.node import Node
from chain.devnode.rpc import hexed
from chain.devnode.rules import OLD, rules_of_spec
from chain.devnode.session import Session
from hivetune.errors import ConfigError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20  # a longer one closes the socket; a shorter one that is too long gets an error
START_TIMEOUT_S = 30.0
_INSTANT_S = 0.004  # between looks at the pool where calls are sealed at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a node is to be run."""

    state_path: Path
    host: str
    ports: tuple[int, ...]  # each an endpoint of its own; 0 takes a free one
    block_time_s: float
    endow: Mapping[str, int]
    finality_lag: int
    rules: int  # the spec version of the runtime that is followed
    instant: bool = False  # seal a block as soon as a call waits for one

    def __post_init__(self) -> None:
        if self.block_time_s < 0:
            raise ConfigError(f"block_time_s is {self.block_time_s}, want 0 or more")
        if self.finality_lag < 0:
            raise ConfigError(f"finality_lag is {self.finality_lag}, want 0 or more")


def serve(
    state_path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 9944,
    block_time_s: float = 12.0,
    endow: Mapping[str, int] | None = None,
    finality_lag: int = 0,
    rules: int = OLD,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT. Port 0 takes a free one; a block time of 0 seals on dev_newBlock alone.

    The finalized head trails the best one by `finality_lag` blocks. `rules` is the spec version of the runtime to
    follow; a chain keeps the one it was made with.
    """
    options = Options(
        state_path=state_path,
        host=host,
        ports=(port,),
        block_time_s=block_time_s,
        endow=endow or {},
        finality_lag=finality_lag,
        rules=rules,
    )
    asyncio.run(_main(options, on_ready or (lambda _: None)))


async def _main(options: Options, on_ready: Callable[[int], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await _run(options, lambda ports: on_ready(ports[0]), stop)


async def _run(options: Options, on_ready: Callable[[list[int]], None], stop: asyncio.Event) -> None:
    metadata_hex(rules_of_spec(options.rules))  # made once, before the first client waits for it
    node = Node(options.state_path, endow=options.endow, finality_lag=options.finality_lag, rules=options.rules)
    try:
        async with AsyncExitStack() as servers:
            ports = [await servers.enter_async_context(_listen(node, options.host, port)) for port in options.ports]
            log.info("chain at %s:%s, block %d, state %s", options.host, ports, node.head.number, options.state_path)
            on_ready(ports)
            await (_seal_for_calls(stop, node) if options.instant else _seal_until(stop, node, options.block_time_s))
    finally:
        node.close()


@asynccontextmanager
async def _listen(node: Node, host: str, port: int) -> AsyncIterator[int]:
    """One endpoint of the node, for as long as the block runs; tells its port."""
    endpoint = Endpoint(node)

    async def talk(socket: ServerConnection) -> None:
        await Session(socket, endpoint).run()

    listening = serve_websocket(
        talk, host, port, max_size=MAX_MESSAGE_BYTES, compression=None, ping_interval=None, close_timeout=0.1
    )
    try:
        server = await listening
    except OSError as error:
        raise ConfigError(f"cannot serve on {host}:{port}: {error}") from error
    async with server:
        yield int(server.sockets[0].getsockname()[1])


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


async def _seal_for_calls(stop: asyncio.Event, node: Node) -> None:
    """A block for every call that comes; calls that a block has left behind do not ask for another."""
    left: frozenset[bytes] = frozenset()
    while not stop.is_set():
        if not left.issuperset(node.pool):
            node.seal()
            left = frozenset(node.pool)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=_INSTANT_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningDevnode:
    """A node that serves in a thread of this process: one of its endpoints, and them all."""

    url: str
    endpoints: tuple["RunningDevnode", ...] = ()

    def new_blocks(self, count: int = 1) -> str:
        """Seals blocks and returns the hash of the last one."""
        return str(self.request("dev_newBlock", [{"count": count}]))

    def drop_pool(self) -> int:
        """Forgets the waiting extrinsics, as a node does that restarts."""
        return int(str(self.request("dev_dropPool", [])))

    def set_faults(self, *faults: Fault) -> None:
        """What this endpoint does wrong from now on, in the place of what it did; nothing without faults."""
        self.request("dev_setFaults", [[asdict(fault) for fault in faults]])

    def reorg(self, depth: int, *, length: int | None = None, drop: bool = False, include: bool = False) -> str:
        """Replaces the last blocks by siblings and returns the hash of the new head; see Node.reorg."""
        options = {"depth": depth, "length": depth + 1 if length is None else length, "drop": drop, "include": include}
        return str(self.request("dev_reorg", [options]))

    def set_storage(self, writes: Mapping[bytes, bytes | None]) -> str:
        """Seals a block that puts these entries into the state, and returns its hash."""
        pairs = [[hexed(key), None if value is None else hexed(value)] for key, value in writes.items()]
        return str(self.request("dev_setStorage", [pairs]))

    def request(self, method: str, parameters: list[object]) -> object:
        with connect(self.url, max_size=None) as socket:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
            reply = json.loads(socket.recv())
        if "error" in reply:
            raise ValueError(f"{method}: {reply['error']}")
        return reply["result"]


@contextmanager
def running_devnode(
    state_path: Path,
    *,
    block_time_s: float = 0.0,
    endow: Mapping[str, int] | None = None,
    port: int = 0,
    endpoints: int = 1,
    finality_lag: int = 0,
    rules: int = OLD,
    instant: bool = False,
) -> Iterator[RunningDevnode]:
    """A node for as long as the `with` block runs; its first endpoint is on `port`, others take free ones.

    An `instant` one seals a block for every call, and others on demand.
    """
    options = Options(
        state_path=state_path,
        host="127.0.0.1",
        ports=(port, *[0] * (endpoints - 1)),
        block_time_s=block_time_s,
        endow=endow or {},
        finality_lag=finality_lag,
        rules=rules,
        instant=instant,
    )
    with _in_a_thread(options) as ports:
        urls = [f"ws://{options.host}:{bound}" for bound in ports]
        yield RunningDevnode(url=urls[0], endpoints=tuple(RunningDevnode(url=url) for url in urls))


@contextmanager
def _in_a_thread(options: Options) -> Iterator[list[int]]:
    ready = threading.Event()
    ports: list[int] = []
    controls: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failures: list[ConfigError] = []

    def tell(bound: list[int]) -> None:
        ports.extend(bound)
        ready.set()

    async def main() -> None:
        stop = asyncio.Event()
        controls.append((asyncio.get_running_loop(), stop))
        await _run(options, tell, stop)

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
        yield ports
    finally:
        loop, stop = controls[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()
