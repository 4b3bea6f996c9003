"""The embedded chain as a server: junk cannot hurt it, many clients are cheap, kill -9 loses no block."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chain.devnode.rpc import MAX_REQUEST_BYTES
from chain.devnode.server import MAX_MESSAGE_BYTES, RunningDevnode, running_devnode
from chain.devnode.session import MAX_NEW_BLOCKS
from chain.devnode.store import Store
from chain.keys import keypair_from_uri
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError
from neurons.localnet.chain import MOST_AT_ONCE, DemoChain

SERVE = """
import sys
from pathlib import Path
from chain.devnode.server import serve
serve(Path(sys.argv[1]), port=0, block_time_s=float(sys.argv[2]), on_ready=lambda port: print(port, flush=True))
"""
METHODS = sorted(
    [
        "chain_getBlockHash",
        "chain_getHeader",
        "chain_getBlock",
        "state_getStorage",
        "state_getStorageAt",
        "state_getKeysPaged",
        "state_queryStorageAt",
        "author_submitExtrinsic",
        "author_submitAndWatchExtrinsic",
        "author_unwatchExtrinsic",
        "system_accountNextIndex",
        "dev_newBlock",
        "dev_reorg",
        "dev_setFaults",
        "dev_setStorage",
        "chain_unsubscribeNewHeads",
        "state_getMetadata",
        "rpc_methods",
        "no_such_method",
    ]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary().map(bytes.hex),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnode]:
    with running_devnode(tmp_path_factory.mktemp("node") / "chain.db") as running:
        yield running


def ask(socket: ClientConnection, message: str | bytes) -> dict[str, Any]:
    socket.send(message)
    reply = json.loads(socket.recv(timeout=10))
    while "method" in reply:  # a notification
        reply = json.loads(socket.recv(timeout=10))
    assert isinstance(reply, dict)
    return reply


def head(socket: ClientConnection) -> int:
    reply = ask(socket, json.dumps({"id": 1, "method": "chain_getHeader", "params": []}))
    return int(reply["result"]["number"], 16)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(METHODS), JUNK, JUNK)
def test_any_request_gets_an_answer_and_the_node_lives(
    node: RunningDevnode, method: str, parameters: Any, request_id: Any
) -> None:
    with connect(node.url, compression=None) as socket:
        reply = ask(socket, json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": parameters}))
        assert ("result" in reply) != ("error" in reply)
        assert head(socket) >= 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200) | JUNK.map(json.dumps))
def test_any_message_gets_an_answer_and_the_node_lives(node: RunningDevnode, message: str | bytes) -> None:
    with connect(node.url, compression=None) as socket:
        assert "error" in ask(socket, message)
        assert head(socket) >= 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_for_an_extrinsic_are_refused(node: RunningDevnode, body: bytes) -> None:
    signed = b"\x84\x00" + bytes(32) + b"\x01" + bytes(64) + b"\x00\x00\x00\x00" + body
    framed = (len(signed) << 2 | 1).to_bytes(2, "little") + signed
    with connect(node.url, compression=None) as socket:
        for raw in (body, signed, framed):
            reply = ask(socket, json.dumps({"id": 1, "method": "author_submitExtrinsic", "params": ["0x" + raw.hex()]}))
            assert reply["error"]["code"] in (1002, 1010)


def test_calls_nested_without_end_are_refused(node: RunningDevnode) -> None:
    signed = b"\x84\x00" + bytes(32) + b"\x01" + bytes(64) + b"\x00\x00\x00\x00" + b"\x0c\x00" * 50_000
    framed = (len(signed) << 2 | 2).to_bytes(4, "little") + signed
    with pytest.raises(ValueError, match="nested deeper"):
        node.request("author_submitExtrinsic", ["0x" + framed.hex()])


def test_a_request_that_is_too_long_gets_an_error(node: RunningDevnode) -> None:
    with connect(node.url, compression=None) as socket:
        assert "at most" in ask(socket, "x" * (MAX_REQUEST_BYTES + 1))["error"]["message"]
        assert head(socket) >= 0


def test_a_message_without_end_closes_its_own_socket_only(node: RunningDevnode) -> None:
    with connect(node.url, compression=None) as other:
        with connect(node.url, compression=None) as socket, pytest.raises(ConnectionClosed):
            ask(socket, "x" * (MAX_MESSAGE_BYTES + 1))
        assert head(other) >= 0


def test_deeply_nested_json_gets_an_error(node: RunningDevnode) -> None:
    with connect(node.url, compression=None) as socket:
        assert ask(socket, "[" * 100_000)["error"]["code"] == -32700


def test_ten_clients_poll_while_blocks_are_sealed(node: RunningDevnode) -> None:
    def poll(index: int) -> None:
        with connect(node.url, compression=None) as socket:
            for _ in range(100):
                head(socket)
            counts[index] = 100

    counts = [0] * 10
    threads = [threading.Thread(target=poll, args=(index,)) for index in range(10)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    node.new_blocks(50)
    for thread in threads:
        thread.join()
    assert counts == [100] * 10
    assert time.monotonic() - started < 10


def start_process(state: Path, block_time_s: float) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(state), str(block_time_s)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    return process, f"ws://127.0.0.1:{int(process.stdout.readline())}"


def call(url: str, method: str, *parameters: Any) -> Any:
    return RunningDevnode(url=url).request(method, list(parameters))


def test_a_killed_node_continues_the_same_chain(tmp_path: Path) -> None:
    process, url = start_process(tmp_path / "chain.db", 0.02)
    try:
        while int(call(url, "chain_getHeader")["number"], 16) < 10:
            time.sleep(0.02)
        hashes = [call(url, "chain_getBlockHash", number) for number in range(11)]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.communicate()
    process, url = start_process(tmp_path / "chain.db", 0)
    try:
        number = int(call(url, "chain_getHeader")["number"], 16)
        assert number >= 10
        assert [call(url, "chain_getBlockHash", index) for index in range(11)] == hashes
        call(url, "dev_newBlock", {"count": 3})
        header = call(url, "chain_getHeader")
        assert int(header["number"], 16) == number + 3
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        process.communicate()


def test_sealing_on_demand_works_beside_the_timer(tmp_path: Path) -> None:
    with running_devnode(tmp_path / "chain.db", block_time_s=60.0) as node:
        node.new_blocks(5)
        assert int(node.request("chain_getHeader", [])["number"], 16) == 5  # type: ignore[index]


def test_two_nodes_on_one_state_are_refused(tmp_path: Path) -> None:
    with (
        running_devnode(tmp_path / "chain.db"),
        pytest.raises(ConfigError, match="another node"),
        running_devnode(tmp_path / "chain.db"),
    ):
        pass


def test_a_file_that_is_no_chain_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chain.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="not a chain"):
        Store(tmp_path / "chain.db")


def test_a_taken_port_is_refused(node: RunningDevnode, tmp_path: Path) -> None:
    port = node.url.rsplit(":", 1)[1]
    code = SERVE.replace("port=0", f"port={port}")
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "chain.db"), "0"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        timeout=30,
    )
    assert ended.returncode != 0
    assert "ConfigError" in ended.stderr
    assert port in ended.stderr


def test_the_method_list_is_complete(node: RunningDevnode) -> None:
    listed = node.request("rpc_methods", [])["methods"]  # type: ignore[index]
    assert {"dev_newBlock", "dev_reorg", "dev_setFaults", "dev_setStorage"} <= set(listed)
    assert "author_submitAndWatchExtrinsic" in listed


def test_a_demo_on_a_slow_machine_skips_more_blocks_than_it_asks_for_at_once(tmp_path: Path) -> None:
    assert MOST_AT_ONCE <= MAX_NEW_BLOCKS
    with running_devnode(tmp_path / "chain.sqlite", block_time_s=0) as node:
        chain = DemoChain.at(node.url)
        before = int(node.request("chain_getHeader", [])["number"], 16)
        chain.skip(MOST_AT_ONCE + 5)
        assert int(node.request("chain_getHeader", [])["number"], 16) == before + MOST_AT_ONCE + 5


def test_an_instant_node_seals_a_block_for_every_call_and_none_without(tmp_path: Path) -> None:
    with running_devnode(tmp_path / "chain.db", instant=True) as node:
        alice = SubnetAdmin(node.url, keypair_from_uri("//Alice"))
        bob = str(keypair_from_uri("//Bob").ss58_address)
        assert [alice.transfer(bob, 10**9).block for _ in range(2)] == [1, 2]
        time.sleep(0.1)
        assert alice.quorum.head().number == 2
        node.new_blocks(3)
        assert alice.transfer(bob, 10**9).block == 6
        alice.close()
