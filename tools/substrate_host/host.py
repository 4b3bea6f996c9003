"""The host as a process: a runtime's wasm, a chain at its genesis, and a server until a signal."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hivetune.errors import ConfigError
from tools.substrate_host.compiled import CompileCache, default_folder
from tools.substrate_host.genesis import build_genesis
from tools.substrate_host.node import Node
from tools.substrate_host.server import seal_until, seal_when_ready, serving
from tools.substrate_host.wasm import WasmRuntime, read_wasm


@dataclass(frozen=True, kw_only=True, slots=True)
class HostOptions:
    wasm: Path
    host: str = "127.0.0.1"
    port: int = 9944  # 0 takes a free one
    block_time_s: float = 0.0  # 0 seals on dev_newBlock alone
    instant: bool = False  # a block for every extrinsic that becomes ready
    finality_lag: int = 0  # blocks
    endow: Mapping[str, int] = field(default_factory=dict)  # rao, by address
    cache: Path | None = None  # for the compiled runtime
    until_eof: bool = False  # stop when standard input ends

    def __post_init__(self) -> None:
        for name in ("port", "block_time_s", "finality_lag"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, want 0 or more")


def make_node(options: HostOptions) -> Node:
    """A chain at its genesis."""
    packed, wasm = read_wasm(options.wasm)
    runtime = WasmRuntime(wasm, CompileCache(options.cache or default_folder()))
    genesis = build_genesis(runtime, packed, options.endow)
    return Node(runtime, genesis, finality_lag=options.finality_lag)


def serve(options: HostOptions, on_ready: Callable[[int], None]) -> None:
    """Serves until SIGTERM or SIGINT."""
    asyncio.run(_run(make_node(options), options, on_ready))


async def _run(node: Node, options: HostOptions, on_ready: Callable[[int], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_eof:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    if options.instant:
        seal_when_ready(node)
    async with serving(node, options.host, options.port) as port:
        on_ready(port)
        await seal_until(stop, node, options.block_time_s)
