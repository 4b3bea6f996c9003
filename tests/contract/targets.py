"""The chains that the contract suite runs against, behind one face: where they are, and how their time passes."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.sync.client import connect

from chain.devnode.server import running_devnode
from chain.ledger import Ledger

WASM_VARIABLE = "SUBTENSOR_RUNTIME_WASM"
ENDPOINT_VARIABLE = "SUBTENSOR_ENDPOINT"
DEVNODE_BLOCK_S, RUNTIME_BLOCK_S = 0.1, 0.25
NODE_BLOCK_S = 13.0  # the slowest block of a real node


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    name: str
    url: str
    makes_blocks: bool  # on demand, and lets tests write storage

    def request(self, method: str, parameters: list[object]) -> object:
        with connect(self.url, max_size=None) as socket:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
            reply = json.loads(socket.recv(timeout=60))
        if "error" in reply:
            raise ValueError(f"{method}: {reply['error']}")
        return reply["result"]

    def pass_blocks(self, ledger: Ledger, count: int) -> None:
        """Until `count` more blocks are final: made where the chain can be asked for them, else waited for."""
        if self.makes_blocks:
            self.request("dev_newBlock", [{"count": count}])
            return
        ledger.wait_for_block(ledger.head().number + count, timeout_s=NODE_BLOCK_S * (count + 2), poll_s=0.2)

    def reach(self, ledger: Ledger, block: int) -> None:
        """Until a block is final."""
        missing = block - ledger.head().number
        if missing > 0:
            self.pass_blocks(ledger, missing)
        while ledger.head().number < block:
            time.sleep(0.05)


@contextmanager
def devnode(rules: int, folder: Path) -> Iterator[Target]:
    with running_devnode(folder / "chain.sqlite", block_time_s=DEVNODE_BLOCK_S, rules=rules) as node:
        yield Target(name=f"devnode-{rules}", url=node.url, makes_blocks=True)


@contextmanager
def runtime() -> Iterator[Target]:
    """The real Subtensor runtime on the wasmtime host."""
    wasm = os.environ.get(WASM_VARIABLE, "")
    if not wasm:
        pytest.skip(f"set {WASM_VARIABLE} to a Subtensor runtime's wasm to run the suite against it")
    pytest.importorskip("wasmtime", reason="the runtime's host needs the extra `runtime`")
    from tools.substrate_host.running import running_substrate_host

    with running_substrate_host(Path(wasm), block_time_s=RUNTIME_BLOCK_S) as host:
        yield Target(name="runtime", url=host.url, makes_blocks=True)


@contextmanager
def endpoint() -> Iterator[Target]:
    """Any running node with //Alice as its sudo key, such as the official localnet image."""
    url = os.environ.get(ENDPOINT_VARIABLE, "")
    if not url:
        pytest.skip(f"set {ENDPOINT_VARIABLE} to the URL of a running development node to run the suite against it")
    yield Target(name="endpoint", url=url, makes_blocks=False)
