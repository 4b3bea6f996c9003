"""A host for tests: a process of its own on a free port, for as long as a `with` block runs."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from websockets.sync.client import connect

from hivetune.errors import ConfigError

ROOT = Path(__file__).parents[2]
READY = "chain at "
START_TIMEOUT_S = 120.0  # a runtime that was never compiled before takes its time
STOP_TIMEOUT_S = 10.0
RAO_PER_TAO = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningHost:
    url: str
    pid: int

    def new_blocks(self, count: int = 1) -> str:
        """Seals blocks and returns the hash of the last one."""
        return str(self.request("dev_newBlock", [{"count": count}]))

    def drop_pool(self) -> int:
        """Forgets the waiting extrinsics, as a node does that restarts."""
        return int(str(self.request("dev_dropPool", [])))

    def set_storage(self, writes: Mapping[bytes, bytes | None]) -> str:
        """Seals a block that writes into the state, and returns its hash."""
        pairs = [["0x" + key.hex(), None if value is None else "0x" + value.hex()] for key, value in writes.items()]
        return str(self.request("dev_setStorage", [pairs]))

    def request(self, method: str, parameters: list[object]) -> object:
        with connect(self.url, max_size=None) as socket:
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
            reply = json.loads(socket.recv())
        if "error" in reply:
            raise ValueError(f"{method}: {reply['error']}")
        return reply["result"]


@contextmanager
def running_substrate_host(
    wasm: Path,
    *,
    block_time_s: float = 0.0,
    port: int = 0,
    instant: bool = False,
    finality_lag: int = 0,
    endow: Mapping[str, int] | None = None,
    cache: Path | None = None,
) -> Iterator[RunningHost]:
    """ConfigError with the host's own words when it does not start. `endow` is in rao."""
    command = [sys.executable, "-m", "tools.substrate_host", "--wasm", str(wasm), "--port", str(port), "--until-eof"]
    command += ["--block-time", str(block_time_s), "--finality-lag", str(finality_lag)]
    command += ["--instant"] if instant else []
    command += ["--cache", str(cache)] if cache else []
    for address, amount_rao in (endow or {}).items():
        command += ["--endow", f"{address}={amount_rao // RAO_PER_TAO}.{amount_rao % RAO_PER_TAO:09d}"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield RunningHost(url=_wait_for_url(process, errors), pid=process.pid)
        finally:
            _stop(process)


def _wait_for_url(process: subprocess.Popen[str], errors: IO[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline() if ready else ""
    if line.startswith(READY):
        return line.removeprefix(READY).strip()
    _stop(process)
    errors.seek(0)
    words = errors.read().strip().splitlines() or [f"no answer within {START_TIMEOUT_S} s"]
    raise ConfigError(f"the host did not start: {words[-1].removeprefix('error: ')}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
