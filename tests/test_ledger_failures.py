"""The ledger when the chain is down, silent, forgetful, reorganised or restarted, and when its own process is stopped.

It ends in time, and nothing is lost or lands twice.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from substrateinterface import Keypair

from chain.devnode.faults import Fault
from chain.devnode.server import RunningDevnode, running_devnode
from chain.ledger import ChainRejected, Ledger, TxResult
from chain.refusals import Refusal
from chain.submit import ERA_BLOCKS
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError, RetryableError
from tests.small_chain import HIDDEN, HOT, SUBMIT, landed, opened, patiently, sealing, setter, small_chain

ALICE = Keypair.create_from_uri("//Alice")
ALICES_HOTKEY = Keypair.create_from_uri("//Alice//hot")
TAO = 10**9
SHORT_S = 0.3  # of a submission that is to be given up


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
        ledger = Ledger(url, 1, keypair=ALICES_HOTKEY, timeout_s=0.5, submit_timeout_s=5)
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
            SubnetAdmin(node.url, ALICE, submit_timeout_s=0.5).register_network(ALICES_HOTKEY.ss58_address)
        assert time.monotonic() - started < 3


@contextmanager
def registering(node: RunningDevnode) -> Iterator[list[int | Exception]]:
    """A register_network on its way in a thread; its outcome is in the list once the block has ended."""
    outcome: list[int | Exception] = []

    def run() -> None:
        try:
            outcome.append(
                SubnetAdmin(node.url, ALICE, submit_timeout_s=20).register_network(ALICES_HOTKEY.ss58_address)
            )
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


@contextmanager
def in_background(action: Callable[[], object]) -> Iterator[list[object]]:
    """An action in a thread; its result or error is in the list once the block has ended."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(action())
        except RetryableError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield outcome
    thread.join()


def names(node: RunningDevnode, uid: int) -> list[str]:
    """What a hotkey has on the chain, after the eras of all copies have passed."""
    node.new_blocks(ERA_BLOCKS + 2)
    return [call.name.split(".")[1] for call in landed(node, HOT[uid])]


def test_a_call_that_was_given_up_is_waited_for_when_it_is_submitted_again(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1], submit_timeout_s=SHORT_S) as ledger:
        for _ in range(2):
            with pytest.raises(RetryableError, match="in no block after"):
                ledger.set_commitment(b"x")
        with sealing(node):
            patiently(lambda: ledger.set_commitment(b"x"))
        assert names(node, 1) == ["set_commitment"]


def test_another_call_after_one_that_was_given_up_lands_after_it(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1], submit_timeout_s=SHORT_S) as ledger:
        with pytest.raises(RetryableError, match="in no block after"):
            ledger.set_commitment(b"x")
        with sealing(node):
            patiently(lambda: ledger.set_commitment(b"y"))
            assert names(node, 1) == ["set_commitment"] * 2
            patiently(lambda: ledger.set_commitment(b"x"))
        found = ledger.commitment(ledger.hotkey)
        assert found is not None
        assert found.data == b"x"
        assert names(node, 1) == ["set_commitment"] * 3


def test_weights_of_an_earlier_round_do_not_stand_for_the_same_ones_of_this(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1], submit_timeout_s=SHORT_S) as ledger:
        weights = setter(ledger, tmp_path)
        with pytest.raises(RetryableError, match="in no block after"):
            weights.set({1: 1.0}, since=ledger.head().number)
        node.new_blocks(3)
        since = ledger.head().number
        with sealing(node):
            patiently(lambda: weights.set({1: 1.0}, since=since))
        assert names(node, 1) == ["set_weights"] * 2
        assert ledger.weight_rules().last_update > since


@pytest.mark.parametrize("netuid", [1, HIDDEN])
def test_a_process_stopped_while_its_weights_were_on_their_way_does_not_set_them_again(
    tmp_path: Path, netuid: int
) -> None:
    with small_chain(tmp_path) as node:
        with opened(node.url, HOT[1], netuid=netuid, submit_timeout_s=SHORT_S) as ledger:
            since = ledger.head().number
            with pytest.raises(RetryableError, match="in no block after"):
                setter(ledger, tmp_path).set({1: 1.0}, since=since)
        with (
            opened(node.url, HOT[1], netuid=netuid) as ledger,
            in_background(lambda: setter(ledger, tmp_path).set({1: 1.0}, since=since)) as outcome,
        ):
            time.sleep(0.2)
            node.new_blocks(1)
        assert outcome == [None]
        assert names(node, 1) == ["set_weights" if netuid == 1 else "commit_weights"]


def test_a_process_stopped_while_its_commitment_was_on_its_way_does_not_send_it_again(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node:
        with opened(node.url, HOT[1], submit_timeout_s=SHORT_S) as ledger, pytest.raises(RetryableError):
            ledger.set_commitment(b"x")
        with opened(node.url, HOT[1]) as ledger, in_background(lambda: ledger.set_commitment(b"x")) as outcome:
            time.sleep(0.2)
            node.new_blocks(1)
        (result,) = outcome
        assert isinstance(result, TxResult)
        assert names(node, 1) == ["set_commitment"]


def reveal_all(node: RunningDevnode, ledger: Ledger, folder: Path) -> None:
    """What a process does that was started anew."""
    weights = setter(ledger, folder)
    with sealing(node):
        while (due := patiently(weights.reveal_due)) is not None:
            node.new_blocks(max(8, due - ledger.head().number))


def test_a_process_stopped_between_commit_and_reveal_is_finished_by_the_next_one(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node:
        with opened(node.url, HOT[1], netuid=HIDDEN) as ledger, sealing(node):
            assert setter(ledger, tmp_path).set({1: 1.0}, since=ledger.head().number) == "commit_reveal"
        with opened(node.url, HOT[1], netuid=HIDDEN) as ledger:
            reveal_all(node, ledger, tmp_path)
            assert ledger.metagraph().weights[1] == {1: 65535}
        assert names(node, 1) == ["commit_weights", "reveal_weights"]


def test_a_process_stopped_while_its_reveal_was_on_its_way_does_not_reveal_again(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node:
        with opened(node.url, HOT[1], netuid=HIDDEN) as ledger, sealing(node):
            weights = setter(ledger, tmp_path)
            weights.set({1: 1.0}, since=ledger.head().number)
            due = weights.reveal_due()
            assert due is not None
            node.new_blocks(due - ledger.head().number)
        with opened(node.url, HOT[1], netuid=HIDDEN, submit_timeout_s=SHORT_S) as ledger, pytest.raises(RetryableError):
            setter(ledger, tmp_path).reveal_due()
        with opened(node.url, HOT[1], netuid=HIDDEN) as ledger:
            reveal_all(node, ledger, tmp_path)
            assert ledger.metagraph().weights[1] == {1: 65535}
        assert names(node, 1) == ["commit_weights", "reveal_weights"]


def test_the_salt_of_a_commit_that_a_node_refused_falsely_is_kept(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1], netuid=HIDDEN) as ledger:
        refuses = Fault(kind="error", methods=SUBMIT, after=True, code=1010, message="Invalid Transaction")
        node.set_faults(refuses)
        with pytest.raises(ChainRejected):
            setter(ledger, tmp_path).set({1: 1.0}, since=ledger.head().number)
        node.set_faults()
        reveal_all(node, ledger, tmp_path)
        assert names(node, 1) == ["commit_weights", "reveal_weights"]


def test_a_node_that_fails_after_it_took_a_call_has_not_refused_it(tmp_path: Path) -> None:
    """The pool's next nonce counts the call that was taken: another copy with that one would land as well."""
    with small_chain(tmp_path) as node, opened(node.url, HOT[1]) as ledger:
        node.set_faults(Fault(kind="error", methods=SUBMIT, after=True))
        with sealing(node):
            ledger.set_commitment(b"x")
        assert names(node, 1) == ["set_commitment"]


def test_a_call_that_waits_behind_a_false_nonce_is_not_sent_with_the_true_one(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1], submit_timeout_s=SHORT_S) as ledger:
        node.set_faults(Fault(kind="lie", variant="nonce_high"))
        with pytest.raises(RetryableError, match="in no block"):
            ledger.submit("Commitments", "set_commitment", {"netuid": 1, "info": {"fields": [[{"Raw1": b"x"}]]}})
        node.set_faults()
        node.new_blocks(ERA_BLOCKS)
        with sealing(node):
            patiently(
                lambda: ledger.submit(
                    "Commitments", "set_commitment", {"netuid": 1, "info": {"fields": [[{"Raw1": b"x"}]]}}
                )
            )
        assert names(node, 1) == ["set_commitment"]


@pytest.mark.parametrize("lie", [Fault(kind="lie", variant="header_number", amount=5)])
def test_a_head_that_was_false_for_a_moment_hides_no_landing(tmp_path: Path, lie: Fault) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1], submit_timeout_s=SHORT_S) as ledger:
        node.set_faults(lie)
        with pytest.raises(RetryableError):
            ledger.set_commitment(b"x")
        node.set_faults()
        with sealing(node):
            patiently(lambda: ledger.set_commitment(b"x"))
        assert names(node, 1) == ["set_commitment"]


def test_blocks_that_were_shown_without_the_call_are_looked_at_again_before_it_is_sent_with_another_nonce(
    tmp_path: Path,
) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1]) as ledger:
        with in_background(lambda: ledger.set_commitment(b"x")) as outcome:
            wait_for_pool(node, 1)
            node.set_faults(Fault(kind="lie", variant="left_out", times=1))
            node.new_blocks(2)
        assert isinstance(outcome[0], TxResult)
        assert names(node, 1) == ["set_commitment"]


def test_a_block_without_events_is_no_verdict(tmp_path: Path) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1]) as ledger:
        with in_background(lambda: ledger.set_commitment(b"x")) as outcome:
            wait_for_pool(node, 1)
            node.set_faults(Fault(kind="lie", variant="absent", items=("System.Events",), times=3))
            node.new_blocks(1)
        assert isinstance(outcome[0], TxResult)


@pytest.mark.parametrize("how", [{"drop": True}, {"drop": False}, {"include": True}])
def test_a_call_that_a_reorg_took_back_lands_once(tmp_path: Path, how: dict[str, bool]) -> None:
    with small_chain(tmp_path, finality_lag=3) as node, opened(node.url, HOT[1]) as ledger:
        with in_background(lambda: ledger.set_commitment(b"x")) as outcome:
            wait_for_pool(node, 1)
            node.new_blocks(2)
            node.reorg(2, **how)
            with sealing(node):
                patiently(lambda: ended(outcome))
        assert isinstance(outcome[0], TxResult)
        assert ledger.block_hash(outcome[0].block) == outcome[0].block_hash
        assert names(node, 1) == ["set_commitment"]


def ended(outcome: list[object]) -> None:
    if not outcome:
        raise RetryableError("not yet")


@pytest.mark.parametrize("method", ["chain_getHeader", "state_getRuntimeVersion", "state_getMetadata", "rpc_methods"])
def test_an_error_while_a_runtime_is_opened_leaves_nothing_half_open(tmp_path: Path, method: str) -> None:
    with small_chain(tmp_path) as node, opened(node.url, HOT[1]) as ledger:
        at = ledger.head().hash
        node.set_faults(Fault(kind="error", methods=(method,), times=1))
        with pytest.raises(RetryableError, match="refused as it was told to"):
            ledger.owner_hotkey()
        assert ledger.metagraph(at).owner_hotkey == HOT[0].ss58_address


@pytest.mark.parametrize(
    ("code", "message", "passes"),
    [
        (1010, "Invalid Transaction: Transaction has a bad signature", False),
        (1010, "Invalid Transaction: Custom error: 6", False),
        (1010, "Invalid Transaction: Transaction is outdated", True),
        (1010, "Invalid Transaction: Transaction has an ancient birth block", True),
        (1012, "Transaction is temporarily banned", True),
        (1014, "Priority is too low", True),
        (1016, "Immediately Dropped", True),
        (-32603, "Internal error", True),
        (-32000, "too many requests", True),
    ],
)
def test_only_the_runtimes_own_verdict_on_a_call_is_final(code: int, message: str, passes: bool) -> None:
    assert Refusal(code=code, message=message).passes is passes
