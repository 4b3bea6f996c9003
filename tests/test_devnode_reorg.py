"""Finality that trails the head, reorgs and written storage: what an abandoned block held never counts."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from substrateinterface import Keypair, SubstrateInterface
from websockets.sync.client import ClientConnection, connect

from chain.devnode.node import Node, ReorgRefused
from chain.devnode.pallet import twox128
from chain.devnode.pallets.system import ACCOUNTS, NUMBER
from chain.devnode.server import RunningDevnode, running_devnode

ALICE, BOB = Keypair.create_from_uri("//Alice"), Keypair.create_from_uri("//Bob")
BOB_KEY = ACCOUNTS.key(BOB.public_key)
EVENTS_KEY = twox128(b"System") + twox128(b"Events")
LAG = 3


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDevnode]:
    with running_devnode(tmp_path / "chain.db", finality_lag=LAG) as running:
        yield running


def ask(node: RunningDevnode, method: str, *parameters: Any) -> Any:
    return node.request(method, list(parameters))


def number_of(node: RunningDevnode, block_hash: str) -> int:
    return int(ask(node, "chain_getHeader", block_hash)["number"], 16)


def head_number(node: RunningDevnode) -> int:
    return int(ask(node, "chain_getHeader")["number"], 16)


def free(node: RunningDevnode, at: str | None = None) -> int:
    """Bob's balance."""
    raw = ask(node, "state_getStorage", "0x" + BOB_KEY.hex(), at)
    return int(ACCOUNTS.value.decode(bytes.fromhex(raw[2:]))["data"]["free"])


def transfer(node: RunningDevnode, amount: int, nonce: int) -> str:
    with SubstrateInterface(node.url, ss58_format=42) as client:
        parameters = {"dest": BOB.ss58_address, "value": amount}
        call = client.compose_call("Balances", "transfer_keep_alive", parameters)
        return str(client.create_signed_extrinsic(call, ALICE, nonce=nonce).data)


def body(node: RunningDevnode, block_hash: str) -> list[str]:
    return list(ask(node, "chain_getBlock", block_hash)["block"]["extrinsics"])


def assert_whole(node: RunningDevnode) -> None:
    """Numbers, hashes and parents of the chain fit together, and each block's state is its own."""
    parent = "0x" + "00" * 32
    for number in range(head_number(node) + 1):
        block_hash = ask(node, "chain_getBlockHash", number)
        header = ask(node, "chain_getHeader", block_hash)
        assert (int(header["number"], 16), header["parentHash"]) == (number, parent)
        raw = ask(node, "state_getStorage", "0x" + NUMBER.key().hex(), block_hash)
        assert (0 if raw is None else int.from_bytes(bytes.fromhex(raw[2:]), "little")) == number
        parent = block_hash


def test_the_finalized_head_trails_the_head(node: RunningDevnode) -> None:
    for blocks in range(1, 6):
        head = node.new_blocks(1)
        final = ask(node, "chain_getFinalizedHead")
        assert (number_of(node, head), number_of(node, final)) == (blocks, max(0, blocks - LAG))
    assert ask(node, "chain_getHead") == head


def test_a_reorg_puts_siblings_in_the_place_of_blocks(node: RunningDevnode) -> None:
    node.new_blocks(5)
    before = [ask(node, "chain_getBlockHash", number) for number in range(6)]
    head = node.reorg(2)
    after = [ask(node, "chain_getBlockHash", number) for number in range(7)]
    assert after[:4] == before[:4]
    assert not set(after[4:]) & set(before)
    assert after[-1] == head == ask(node, "chain_getHead")
    assert_whole(node)


def test_a_branch_can_be_as_long_as_the_one_before(node: RunningDevnode) -> None:
    node.new_blocks(5)
    assert number_of(node, node.reorg(2, length=2)) == 5
    with pytest.raises(ValueError, match="a branch of 1 blocks in the place of 2"):
        node.reorg(2, length=1)


def test_finalized_blocks_stay(node: RunningDevnode) -> None:
    node.new_blocks(5)
    with pytest.raises(ValueError, match="4 blocks deep, 3 are not finalized"):
        node.reorg(4)
    node.reorg(3)
    with pytest.raises(ValueError, match="0 blocks deep"):
        node.reorg(0)


def test_without_a_lag_nothing_can_be_replaced(tmp_path: Path) -> None:
    node = Node(tmp_path / "chain.db")
    node.seal()
    with pytest.raises(ReorgRefused):
        node.reorg(1)
    node.close()


def test_what_an_abandoned_block_did_does_not_count_until_it_lands_again(node: RunningDevnode) -> None:
    start = free(node)
    raw = transfer(node, 1000, 0)
    ask(node, "author_submitExtrinsic", raw)
    node.new_blocks(2)
    assert free(node) == start + 1000
    head = node.reorg(2)
    assert free(node) == start
    assert body(node, head)[1:] == []
    assert ask(node, "author_pendingExtrinsics") == [raw]
    assert ask(node, "system_accountNextIndex", ALICE.ss58_address) == 1  # the pool has 0
    landed = node.new_blocks(1)
    assert body(node, landed)[1:] == [raw]
    assert free(node) == start + 1000


def test_calls_can_be_lost_in_a_reorg(node: RunningDevnode) -> None:
    start = free(node)
    raw = transfer(node, 1000, 0)
    ask(node, "author_submitExtrinsic", raw)
    node.new_blocks(1)
    node.reorg(1, drop=True)
    assert ask(node, "author_pendingExtrinsics") == []
    with pytest.raises(ValueError, match=r"1012.*temporarily banned"):
        ask(node, "author_submitExtrinsic", raw)
    assert ask(node, "system_accountNextIndex", ALICE.ss58_address) == 0
    node.new_blocks(5)
    assert free(node) == start


def test_calls_can_land_in_the_siblings(node: RunningDevnode) -> None:
    start = free(node)
    raws = [transfer(node, 1000, nonce) for nonce in range(2)]
    ask(node, "author_submitExtrinsic", raws[0])
    old = node.new_blocks(1)
    ask(node, "author_submitExtrinsic", raws[1])
    node.reorg(1, include=True)
    sibling = ask(node, "chain_getBlockHash", 1)
    assert sibling != old
    assert body(node, sibling)[1:] == raws
    assert free(node) == start + 2000


def test_an_abandoned_block_can_be_read_at_its_hash_until_its_number_is_final(node: RunningDevnode) -> None:
    start = free(node)
    ask(node, "author_submitExtrinsic", transfer(node, 1000, 0))
    abandoned = node.new_blocks(1)
    node.reorg(1, drop=True)
    sibling = ask(node, "chain_getBlockHash", 1)
    keys = ["0x" + BOB_KEY.hex(), "0x" + EVENTS_KEY.hex()]
    assert (free(node, abandoned), free(node, sibling)) == (start + 1000, start)
    (old,), (new,) = (ask(node, "state_queryStorageAt", keys, at) for at in (abandoned, sibling))
    assert len(old["changes"][1][1]) > len(new["changes"][1][1])  # events
    listed = ask(node, "state_getKeysPaged", "0x" + BOB_KEY[:32].hex(), 100, None, abandoned)
    assert listed == ask(node, "state_getKeysPaged", "0x" + BOB_KEY[:32].hex(), 100, None, sibling)
    assert number_of(node, abandoned) == 1
    node.new_blocks(LAG)
    assert ask(node, "chain_getHeader", abandoned) is None
    with pytest.raises(ValueError, match="unknown block"):
        free(node, abandoned)


def messages(socket: ClientConnection, count: int) -> list[Any]:
    """What `count` notifications tell."""
    found: list[Any] = []
    while len(found) < count:
        message = json.loads(socket.recv(timeout=10))
        if "method" in message:
            found.append(message["params"]["result"])
    return found


def request(socket: ClientConnection, method: str, *parameters: Any) -> None:
    socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}))


def test_a_watched_call_is_retracted_and_lands_again(node: RunningDevnode) -> None:
    with connect(node.url) as socket:
        request(socket, "author_submitAndWatchExtrinsic", transfer(node, 1000, 0))
        assert messages(socket, 1) == ["ready"]
        first = node.new_blocks(1)
        assert messages(socket, 1) == [{"inBlock": first}]
        node.reorg(1)
        assert messages(socket, 2) == [{"retracted": first}, "ready"]
        second = node.new_blocks(1)
        node.new_blocks(LAG)
        assert messages(socket, 2) == [{"inBlock": second}, {"finalized": second}]


def test_a_watched_call_that_a_reorg_loses_is_dropped(node: RunningDevnode) -> None:
    with connect(node.url) as socket:
        request(socket, "author_submitAndWatchExtrinsic", transfer(node, 1000, 0))
        first = node.new_blocks(1)
        node.reorg(1, drop=True)
        assert messages(socket, 4) == ["ready", {"inBlock": first}, {"retracted": first}, "dropped"]


def test_subscribers_hear_of_the_new_head_and_of_each_finalized_block_once(node: RunningDevnode) -> None:
    with connect(node.url) as heads, connect(node.url) as finals:
        request(heads, "chain_subscribeNewHeads")
        request(finals, "chain_subscribeFinalizedHeads")
        assert [int(one["number"], 16) for one in messages(heads, 1) + messages(finals, 1)] == [0, 0]
        node.new_blocks(3)
        node.reorg(2)  # 4 blocks now
        node.reorg(1, length=4)  # 7
        assert [int(one["number"], 16) for one in messages(heads, 5)] == [1, 2, 3, 4, 7]
        told = messages(finals, 4)
        assert [int(one["number"], 16) for one in told] == [1, 2, 3, 4]
        hashes = [ask(node, "chain_getBlockHash", number) for number in range(4)]
        assert [one["parentHash"] for one in told] == hashes


def test_written_storage_is_there_from_a_block_of_its_own_on(node: RunningDevnode) -> None:
    before = node.new_blocks(1)
    start = free(node)
    account = ACCOUNTS.value.decode(bytes.fromhex(ask(node, "state_getStorage", "0x" + BOB_KEY.hex())[2:]))
    account["data"]["free"] = 5
    head = node.set_storage({BOB_KEY: ACCOUNTS.value.encode(account), b"of no item": b"\x01"})
    assert number_of(node, head) == 2
    assert (free(node), free(node, before)) == (5, start)
    assert ask(node, "state_getStorage", "0x" + b"of no item".hex()) == "0x01"
    node.set_storage({BOB_KEY: None})
    assert ask(node, "state_getStorage", "0x" + BOB_KEY.hex()) is None
    node.reorg(2)
    assert free(node) == start


@pytest.mark.parametrize(
    "pairs", [[["0x" + BOB_KEY.hex(), "0x01"]], [["0x" + BOB_KEY.hex()[:-2], "0x01"]], [["0x00"]], 7, [[1, 2]]]
)
def test_storage_that_no_block_could_be_made_with_is_refused(node: RunningDevnode, pairs: Any) -> None:
    with pytest.raises(ValueError, match="-32602"):
        ask(node, "dev_setStorage", pairs)
    node.new_blocks(1)


def test_a_reorganised_chain_reads_the_same_after_a_restart(tmp_path: Path) -> None:
    """What is kept in memory through reorgs is what the file says."""
    chance = random.Random(1)
    node = Node(tmp_path / "chain.db", finality_lag=4)
    hashes = {0: node.head.hash}
    for step in range(60):
        if chance.random() < 0.5:
            writes = {bytes([chance.randrange(6)]) * 33: chance.choice([None, bytes([step])]) for _ in range(3)}
            node.set_storage(writes)
        elif node.head.number > 4:
            node.reorg(chance.randrange(1, 5), length=5)
        hashes = {number: node.block(number).hash for number in range(node.head.number + 1)}
    everything = {key: node.store.get(key) for key in node.store.keys_at(b"", node.head, after=b"", count=10**6)}
    assert all(node.store.keys(key) == [key] for key in everything)
    node.close()
    again = Node(tmp_path / "chain.db", finality_lag=4)
    assert {number: again.block(number).hash for number in range(again.head.number + 1)} == hashes
    assert {key: again.store.get(key) for key in everything} == everything
    assert again.store.keys_at(b"", again.head, after=b"", count=10**6) == sorted(everything)
    again.close()


REORGANISE = """
import sys
from pathlib import Path
from chain.devnode.node import Node
node = Node(Path(sys.argv[1]), finality_lag=8)
print("ready", flush=True)
while True:
    node.seal()
    if node.head.number >= 8:
        node.reorg(6, length=6 if node.head.number > 12 else 7)
"""


def test_a_node_killed_in_a_reorg_continues_on_a_whole_chain(tmp_path: Path) -> None:
    for pause_s in (0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", REORGANISE, str(tmp_path / "chain.db")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=pause_s)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        with running_devnode(tmp_path / "chain.db", finality_lag=8) as node:
            assert head_number(node) > 0
            node.new_blocks(1)
            if head_number(node) < 200:
                assert_whole(node)


def test_a_reorg_that_fails_leaves_the_chain_as_it_was(tmp_path: Path) -> None:
    node = Node(tmp_path / "chain.db", finality_lag=3)
    for _ in range(4):
        node.seal()
    value = node.store.get(BOB_KEY)
    head = node.head

    def fail() -> None:
        with node.store.transaction():
            node.store.rewind(2)
            assert node.head.number == 2
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        fail()
    assert node.head == head
    assert node.store.get(BOB_KEY) == value
    assert node.store.block_by_number(4) == head
    node.seal()
    node.close()
