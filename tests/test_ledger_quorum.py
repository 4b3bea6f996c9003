"""Three endpoints of which one is bad, in every way there is: what the ledger says and does is what the others say.

Each fault takes one of the three places; all places are tried where HIVETUNE_FULL_MATRIX is set.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from chain.devnode.faults import Fault
from chain.devnode.server import RunningDevnode, running_devnode
from chain.ledger import ChainRejected, Ledger
from chain.quorum import EndpointsDisagree
from chain.submit import ERA_BLOCKS
from hivetune.errors import ConfigError, RetryableError
from tests.every_fault import FAULTS, FULL, HANG_S
from tests.small_chain import (
    HIDDEN,
    HOT,
    PATIENCE_S,
    PLAIN,
    landed,
    landed_by_signer,
    opened,
    setter,
    small_chain,
)

WORKERS = 8
TIMEOUT_S = 3.0
READ_SAMPLE = 1 if FULL else 6  # one of so many reads
SWAPPED = ("SubtensorModule.set_weights", "SubtensorModule.commit_weights")
BAD: dict[str, tuple[Fault, ...]] = {
    **FAULTS,
    "calls swapped": (Fault(kind="lie", variant="metadata", items=SWAPPED),),
    "far ahead, false storage": (
        Fault(kind="lie", variant="false_chain", amount=50),
        Fault(kind="lie", variant="storage"),
    ),
    "no head": (Fault(kind="garbage", variant="null_result", methods=("chain_getFinalizedHead",)),),
}
CASES = [(fault, place) for row, fault in enumerate(BAD) for place in (range(3) if FULL else (row % 3,))]
FALSE = [
    (fault, place) for fault, place in CASES if FULL or any(one.kind in ("lie", "stale_head") for one in BAD[fault])
]
READ_CASES = [*FALSE, *[case for case in CASES if case not in FALSE][:: 1 if FULL else 4]]
LONELY_CASES = FALSE if FULL else FALSE[::2]
SENT = {"no answer", "forgotten", "broken after submitting", "error after", "priority", "garbage to what is taken"}
SEND_CASES = [*FALSE, *[(fault, place) for fault, place in CASES if not FULL and fault in SENT]]
READS: dict[str, Callable[[Ledger], object]] = {
    "head": lambda ledger: ledger.head(),
    "block_hash": lambda ledger: ledger.block_hash(3),
    "genesis_hash": lambda ledger: ledger.genesis_hash(),
    "wait_for_block": lambda ledger: ledger.wait_for_block(5, timeout_s=1),
    "subnet_exists": lambda ledger: ledger.subnet_exists(),
    "owner_hotkey": lambda ledger: ledger.owner_hotkey(),
    "hyperparameters": lambda ledger: ledger.hyperparameters(),
    "metagraph": lambda ledger: ledger.metagraph(),
    "commitments": lambda ledger: ledger.commitments(),
    "commitment": lambda ledger: ledger.commitment(HOT[1].ss58_address),
    "commitment_quota": lambda ledger: ledger.commitment_quota(),
    "weight_rules": lambda ledger: ledger.weight_rules(),
    "next_epoch_block": lambda ledger: ledger.next_epoch_block(5),
    "total_balance": lambda ledger: ledger.total_balance(HOT[1].ss58_address),
    "block_time_s": lambda ledger: ledger.block_time_s(),
    "axon": lambda ledger: ledger.axon(HOT[1].ss58_address),
}
Result = TypeVar("Result")
Case = tuple[str, int]  # a fault, and the place of the endpoint that has it


def steadily(action: Callable[[], Result]) -> Result:
    """Tries again for what may pass on a busy machine; a verdict of the chain does not."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except ChainRejected:
            raise
        except RetryableError:
            if time.monotonic() > deadline:
                raise


def three(bad: RunningDevnode, place: int, others: tuple[RunningDevnode, ...]) -> str:
    urls = [other.url for other in others]
    return ",".join([*urls[:place], bad.url, *urls[place:]])


def in_parallel(cases: Sequence[Case], action: Callable[[int, str, int], None]) -> None:
    """For every case, with its number."""
    pool = ThreadPoolExecutor(WORKERS)
    for started in [pool.submit(action, row, fault, place) for row, (fault, place) in enumerate(cases)]:
        started.result(timeout=10 * HANG_S)
    pool.shutdown()


@contextmanager
def down() -> Iterator[RunningDevnode]:
    """An endpoint where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield RunningDevnode(url=f"ws://127.0.0.1:{port}")


def test_one_bad_endpoint_changes_no_answer(tmp_path: Path) -> None:
    with small_chain(tmp_path, endpoints=3 + len(READ_CASES), finality_lag=2) as node:
        witness, *others = node.endpoints[:3]
        with opened(node.url, HOT[1]) as ledger:
            ledger_lands(node, ledger)
        with opened(witness.url, HOT[1]) as ledger:
            truth = {name: read(ledger) for name, read in READS.items()}

        def read_all(row: int, fault: str, place: int) -> None:
            bad = node.endpoints[3 + row]
            bad.set_faults(*BAD[fault])
            with opened(three(bad, place, tuple(others)), HOT[1], timeout_s=TIMEOUT_S) as ledger:
                for column, (name, read) in enumerate(READS.items()):
                    if (row + column) % READ_SAMPLE == 0:
                        assert steadily(lambda read=read: read(ledger)) == truth[name], (fault, place, name)

        in_parallel(READ_CASES, read_all)


def ledger_lands(node: RunningDevnode, ledger: Ledger) -> None:
    """Something to read."""
    pool = ThreadPoolExecutor(1)
    landing = pool.submit(ledger.set_commitment, b"before")
    while not landing.done():
        node.new_blocks(1)
        time.sleep(0.02)
    landing.result()
    pool.shutdown()


def test_with_one_bad_endpoint_every_call_lands_once_and_is_the_one_that_was_meant(tmp_path: Path) -> None:
    options = {"endpoints": 3 + len(SEND_CASES), "block_time_s": 0.1, "finality_lag": 2}
    with small_chain(tmp_path, **options) as node:
        witness, *others = node.endpoints[:3]

        def send(row: int, fault: str, place: int) -> None:
            bad, hotkey = node.endpoints[3 + row], HOT[row % len(HOT)]
            bad.set_faults(*BAD[fault])
            urls = three(bad, place, tuple(others))
            with opened(witness.url, hotkey) as honest, opened(urls, hotkey, timeout_s=TIMEOUT_S) as ledger:
                since = steadily(honest.head).number
                head = steadily(ledger.head)
                assert since <= head.number <= honest.head().number, (fault, place)
                assert honest.block_hash(head.number) == head.hash
                data = f"{fault} {place}".encode()
                result = steadily(lambda: ledger.set_commitment(data))
                assert honest.block_hash(result.block) == result.block_hash
                assert honest.commitments()[ledger.hotkey].data == data, (fault, place)
                weights = setter(ledger, tmp_path)
                steadily(lambda: weights.set({row % len(HOT): 1.0}, since=since))

        in_parallel(SEND_CASES, send)
        node.new_blocks(ERA_BLOCKS + 2)
        found = landed_by_signer(node)
        for row in range(min(len(HOT), len(SEND_CASES))):
            calls = found[HOT[row].ss58_address]
            mine = [case for number, case in enumerate(SEND_CASES) if number % len(HOT) == row]
            assert [call.name.split(".")[1] for call in calls] == ["set_commitment", "set_weights"] * len(mine), mine
            assert not [call for call in calls if call.failed]
            for call in calls[1::2]:
                assert call.arguments == {"netuid": PLAIN, "dests": [row], "weights": [65535], "version_key": 0}, mine


def test_with_one_bad_endpoint_and_one_down_nothing_false_is_said_or_done(tmp_path: Path) -> None:
    options = {"endpoints": 2 + len(LONELY_CASES), "block_time_s": 0.1}
    with small_chain(tmp_path, **options) as node, down() as dead:
        witness, other = node.endpoints[:2]
        with opened(witness.url, HOT[0]) as honest:
            at = honest.head()
            truth = honest.metagraph(at.hash)

        def attempt(row: int, fault: str, place: int) -> None:
            bad, hotkey = node.endpoints[2 + row], HOT[row % len(HOT)]
            bad.set_faults(*BAD[fault])
            urls = three(bad, place, (other, dead))
            with opened(urls, hotkey, timeout_s=1.0, submit_timeout_s=1.0) as ledger:
                for expected, read in (
                    (truth, lambda: ledger.metagraph(at.hash)),
                    (at.hash, lambda: ledger.block_hash(at.number)),
                ):
                    try:
                        assert read() == expected, (fault, place)
                    except RetryableError:
                        continue
                try:
                    ledger.set_commitment(fault.encode())
                except RetryableError:
                    return

        in_parallel(LONELY_CASES, attempt)
        node.new_blocks(ERA_BLOCKS + 2)
        found = landed_by_signer(node)
        for row, (fault, _) in enumerate(LONELY_CASES[: len(HOT)]):
            calls = found.get(HOT[row].ss58_address, [])
            assert len(calls) <= len(LONELY_CASES) // len(HOT) + 1, fault
            assert {call.name for call in calls} <= {"Commitments.set_commitment"}, fault


@pytest.mark.parametrize(
    "fault", ["lie storage", "lie absent", "calls swapped", "lie runtime_version", "lie block_hash"]
)
def test_two_endpoints_that_contradict_each_other_are_not_acted_upon(tmp_path: Path, fault: str) -> None:
    with small_chain(tmp_path, endpoints=2) as node:
        node.endpoints[1].set_faults(*BAD[fault])
        urls = ",".join(one.url for one in node.endpoints)
        with opened(urls, HOT[1], submit_timeout_s=1.0) as ledger:
            weights, told = setter(ledger, tmp_path), "endpoints of the chain disagree, so nothing is done"
            with pytest.raises(EndpointsDisagree, match=told):
                weights.set({1: 1.0}, since=1)
        node.new_blocks(2)
        assert landed(node, HOT[1]) == []


def test_two_endpoints_that_contradicted_each_other_may_agree_later(tmp_path: Path) -> None:
    with small_chain(tmp_path, endpoints=2, block_time_s=0.05) as node:
        node.endpoints[1].set_faults(*BAD["calls swapped"])
        with opened(",".join(one.url for one in node.endpoints), HOT[1]) as ledger:
            weights = setter(ledger, tmp_path)
            with pytest.raises(EndpointsDisagree):
                weights.set({1: 1.0}, since=1)
            node.endpoints[1].set_faults()
            assert weights.set({1: 1.0}, since=1) == "plain"


def test_two_endpoints_follow_the_one_that_is_late(tmp_path: Path) -> None:
    with small_chain(tmp_path, endpoints=2) as node:
        node.endpoints[0].set_faults(Fault(kind="stale_head", variant="behind", amount=2))
        with (
            opened(node.endpoints[0].url, HOT[1]) as late,
            opened(",".join(n.url for n in node.endpoints), HOT[1]) as ledger,
        ):
            assert ledger.head() == late.head()


def test_an_honest_endpoint_that_is_late_and_a_false_one_that_is_ahead_leave_the_newest_block_that_two_have(
    tmp_path: Path,
) -> None:
    with small_chain(tmp_path, endpoints=4) as node:
        witness, honest, late, false = node.endpoints
        late.set_faults(Fault(kind="stale_head", variant="behind", amount=1))
        false.set_faults(Fault(kind="lie", variant="false_chain", amount=0), Fault(kind="lie", variant="storage"))
        with opened(witness.url, HOT[1]) as one, opened(three(false, 0, (honest, late)), HOT[1]) as ledger:
            expected = one.head().number - 1
            head = ledger.head()
            assert (head.number, head.hash) == (expected, one.block_hash(expected))
            assert ledger.metagraph() == one.metagraph(head.hash)


def test_an_endpoint_that_was_outvoted_is_believed_again_when_it_tells_the_truth(tmp_path: Path) -> None:
    """What it had said about the runtime is asked anew; without it there would be no majority."""
    with small_chain(tmp_path, endpoints=3, block_time_s=0.05) as node:
        false, honest, other = node.endpoints
        false.set_faults(*BAD["calls swapped"])
        with opened(three(false, 0, (honest, other)), HOT[1], timeout_s=TIMEOUT_S) as ledger:
            weights = setter(ledger, tmp_path)
            assert weights.set({1: 1.0}, since=ledger.head().number) == "plain"
            false.set_faults()
            honest.set_faults(Fault(kind="disconnect"))
            assert steadily(lambda: weights.set({1: 1.0}, since=1 << 40)) == "plain"


@pytest.fixture
def other_chain(tmp_path: Path) -> Iterator[RunningDevnode]:
    with running_devnode(tmp_path / "other.db", endpoints=2, endow={HOT[1].ss58_address: 1}, rules=425) as other:
        other.new_blocks(40)
        yield other


def test_an_endpoint_of_another_chain_is_outvoted(tmp_path: Path, other_chain: RunningDevnode) -> None:
    with small_chain(tmp_path, endpoints=2, block_time_s=0.1) as node, opened(node.url, HOT[1]) as honest:
        for place in range(3):
            with opened(three(other_chain, place, node.endpoints), HOT[1]) as ledger:
                assert ledger.genesis_hash() == honest.genesis_hash()
                head = ledger.head()
                assert ledger.metagraph(head.hash) == honest.metagraph(head.hash)
                assert ledger.weight_rules().timelock_call == "commit_crv3_weights"
                ledger.set_commitment(f"{place}".encode())
        assert [call.name for call in landed(node, HOT[1])] == ["Commitments.set_commitment"] * 3


def test_a_pinned_chain_counts_alone(tmp_path: Path, other_chain: RunningDevnode) -> None:
    with small_chain(tmp_path, endpoints=2) as node:
        with opened(node.url, HOT[1]) as ledger:
            pin = ledger.genesis_hash()
        with opened(three(other_chain, 0, node.endpoints), HOT[1], genesis_hash=pin) as ledger:
            assert ledger.owner_hotkey() == HOT[0].ss58_address
        urls = three(node, 1, other_chain.endpoints)
        with opened(urls, HOT[1], genesis_hash=pin) as ledger, pytest.raises(ConfigError, match=f"want {pin}"):
            ledger.head()
        with (
            opened(other_chain.url, HOT[1], genesis_hash=pin) as ledger,
            pytest.raises(ConfigError, match=f"want {pin}"),
        ):
            ledger.head()


def test_a_genesis_lie_of_one_among_three_stops_nobody(tmp_path: Path) -> None:
    with small_chain(tmp_path, endpoints=3) as node:
        with opened(node.url, HOT[1]) as ledger:
            pin = ledger.genesis_hash()
        node.endpoints[0].set_faults(Fault(kind="lie", variant="genesis"))
        with opened(",".join(one.url for one in node.endpoints), HOT[1], genesis_hash=pin) as ledger:
            assert ledger.genesis_hash() == pin


def test_a_nonce_that_is_too_high_at_one_of_two_endpoints_is_not_used(tmp_path: Path) -> None:
    with small_chain(tmp_path, endpoints=2, block_time_s=0.05) as node, down() as dead:
        node.endpoints[0].set_faults(Fault(kind="lie", variant="nonce_high", amount=5))
        with opened(three(dead, 0, node.endpoints), HOT[1]) as ledger:
            ledger.set_commitment(b"x")


@pytest.mark.parametrize("fault", ["far ahead, false storage", "lie left_out", "no answer"])
def test_two_that_collude_do_not_keep_anybody_waiting_for_ever(tmp_path: Path, fault: str) -> None:
    """What they say may be believed."""
    with small_chain(tmp_path, endpoints=3, block_time_s=0.1) as node:
        for one in node.endpoints[:2]:
            one.set_faults(*BAD[fault])
        urls = ",".join(one.url for one in node.endpoints)
        with opened(urls, HOT[1], netuid=HIDDEN, timeout_s=0.5, submit_timeout_s=1.0) as ledger:
            started = time.monotonic()
            for action in (ledger.metagraph, ledger.weight_rules, lambda: ledger.set_commitment(b"x")):
                try:
                    action()
                except (RetryableError, ConfigError):
                    continue
            assert time.monotonic() - started < HANG_S
