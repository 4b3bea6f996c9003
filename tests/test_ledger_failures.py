"""The ledger when the chain is down, silent, forgetful or restarted: it ends in time, and nothing lands twice."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from substrateinterface import Keypair

from chain.devnode.server import RunningDevnode, running_devnode
from chain.ledger import Ledger, TxResult
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError, RetryableError

ALICE = Keypair.create_from_uri("//Alice")
HOT = Keypair.create_from_uri("//Alice//hot")
TAO = 10**9


@contextmanager
def silent_server(greeting: bytes = b"") -> Iterator[str]:
    """Takes connections, says `greeting` and nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(greeting)
            taken.append(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in taken:
            connection.close()


def test_a_silent_socket_ends_within_the_timeout() -> None:
    with silent_server() as url:
        ledger = Ledger(url, 1, keypair=HOT, timeout_s=0.5, submit_timeout_s=5)
        for action in (ledger.head, ledger.metagraph, lambda: ledger.set_commitment(b"x")):
            started = time.monotonic()
            with pytest.raises(RetryableError, match="no answer within"):
                action()
            assert time.monotonic() - started < 2


def test_a_socket_that_talks_nonsense_is_retryable() -> None:
    with silent_server(b"HTTP/1.1 200 OK\r\n\r\nhello") as url, pytest.raises(RetryableError, match="chain at"):
        Ledger(url, 1, timeout_s=0.5).head()


def test_a_chain_that_is_down_is_retryable_and_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RetryableError, match=f"chain at ws://127.0.0.1:{port}"):
        Ledger(f"ws://127.0.0.1:{port}", 1, timeout_s=1).head()


def test_a_url_that_is_no_websocket_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="ws://"):
        Ledger("http://127.0.0.1:9944", 1)


def test_a_call_in_no_block_by_the_deadline_is_retryable(tmp_path: Path) -> None:
    with running_devnode(tmp_path / "chain.db") as node:  # seals nothing by itself
        started = time.monotonic()
        with pytest.raises(RetryableError, match=r"in no block after 0\.5 s"):
            SubnetAdmin(node.url, ALICE, submit_timeout_s=0.5).register_network(HOT.ss58_address)
        assert time.monotonic() - started < 3


@contextmanager
def registering(node: RunningDevnode) -> Iterator[list[int | Exception]]:
    """A register_network on its way in a thread; its outcome is in the list once the block has ended."""
    outcome: list[int | Exception] = []

    def run() -> None:
        try:
            outcome.append(SubnetAdmin(node.url, ALICE, submit_timeout_s=20).register_network(HOT.ss58_address))
        except RetryableError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield outcome
    thread.join()


def wait_for_pool(node: RunningDevnode, size: int) -> None:
    deadline = time.monotonic() + 10
    while len(node.request("author_pendingExtrinsics", [])) != size:  # type: ignore[arg-type]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_call_that_the_node_dropped_is_sent_again(tmp_path: Path) -> None:
    with running_devnode(tmp_path / "chain.db") as node:
        with registering(node) as outcome:
            wait_for_pool(node, 1)
            assert node.drop_pool() == 1
            node.new_blocks(6)
            wait_for_pool(node, 1)
            node.new_blocks(1)
        assert outcome == [1]


def test_a_call_that_only_waits_is_not_sent_with_a_second_nonce(tmp_path: Path) -> None:
    """A nonce too high keeps the call waiting in the pool while blocks pass; when it can land, it lands once."""
    with running_devnode(tmp_path / "chain.db") as node:
        reader = Ledger(node.url, 1)
        before = reader.total_balance(ALICE.ss58_address)
        with registering(node) as outcome:
            wait_for_pool(node, 1)
            time.sleep(0.3)
            assert len(node.request("author_pendingExtrinsics", [])) == 1  # type: ignore[arg-type]
            node.new_blocks(3)
        assert outcome == [1]
        node.new_blocks(20)
        assert before - reader.total_balance(ALICE.ss58_address) == 1000 * TAO


def test_a_restarted_chain_is_found_again(tmp_path: Path) -> None:
    with running_devnode(tmp_path / "chain.db") as node:
        node.new_blocks(5)
        ledger = Ledger(node.url, 1, timeout_s=5)
        before = ledger.head()
    with pytest.raises(RetryableError, match="chain at"):
        ledger.head()
    port = int(node.url.rsplit(":", 1)[1])
    with running_devnode(tmp_path / "chain.db", port=port):
        assert ledger.head() == before


def test_nonces_taken_by_another_client_are_passed_over(tmp_path: Path) -> None:
    """While a call waits, another one with its nonce lands elsewhere: the call is signed anew and lands once."""
    with running_devnode(tmp_path / "chain.db") as node:
        with registering(node) as outcome:
            wait_for_pool(node, 1)
            node.drop_pool()
            other = SubnetAdmin(node.url, ALICE, submit_timeout_s=20)
            landed: list[TxResult] = []
            thread = threading.Thread(target=lambda: landed.append(other.sudo_set(0, "stake_threshold", 3)))
            thread.start()
            wait_for_pool(node, 1)
            node.new_blocks(1)
            thread.join()
            wait_for_pool(node, 1)
            node.new_blocks(1)
        assert outcome == [1]
        assert len(landed) == 1
