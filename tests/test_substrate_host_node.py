"""A whole chain of the Substrate host on a toy runtime: blocks, the pool between them, and clients over a socket."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from substrateinterface import Keypair
from websockets.asyncio.client import ClientConnection, connect

from chain.devnode.scale import MalformedBytes, Reader, compact
from tools.substrate_host import crypto
from tools.substrate_host.blocks import genesis_header, new_header
from tools.substrate_host.node import Node
from tools.substrate_host.pool import PoolRefused
from tools.substrate_host.runtime import RuntimeFailed
from tools.substrate_host.server import serving
from tools.substrate_host.state import Overlay
from tools.substrate_host.validity import InvalidTransaction


class ToyRuntime:
    """A chain of registers: an extrinsic is its signer, a nonce, a kind and a value."""

    def __init__(self) -> None:
        self.broken: set[str] = set()

    def call(self, function: str, argument: bytes, overlay: Overlay, parent_root: bytes = bytes(32)) -> bytes:
        if function in self.broken:
            raise RuntimeFailed(function, "told to")
        return bytes(getattr(self, function)(argument, overlay, parent_root))

    def Core_version(self, *_: Any) -> bytes:
        return (
            b"\x0ctoy\x0ctoy" + struct.pack("<III", 1, 300, 1) + compact(1) + b"AccountN\x01\0\0\0" + b"\x01\0\0\0\x01"
        )

    def Metadata_metadata(self, *_: Any) -> bytes:
        return compact(4) + b"meta"

    def AccountNonceApi_account_nonce(self, who: bytes, overlay: Overlay, _: bytes) -> bytes:
        return overlay.get(b"nonce" + who) or bytes(4)

    def Core_initialize_block(self, header: bytes, overlay: Overlay, _: bytes) -> bytes:
        overlay.put(b"header", header)
        overlay.put(b"number", bytes([Reader(header[32:]).compact()]))
        return b""

    def BlockBuilder_inherent_extrinsics(self, data: bytes, *_: Any) -> bytes:
        return compact(1) + toy_extrinsic(b"T" * 32, 0, b"t", data[-8:])

    def TaggedTransactionQueue_validate_transaction(self, argument: bytes, overlay: Overlay, _: bytes) -> bytes:
        who, nonce, kind, value = read_toy(argument[1:-32])
        expected = struct.unpack("<I", self.AccountNonceApi_account_nonce(who, overlay, b""))[0]
        if nonce < expected:
            return b"\x01\x00\x03"
        if kind == b"m" and (overlay.get(b"number") or b"\0")[0] >= value[0]:
            return b"\x01\x00\x05"
        if kind == b"?":
            return b"\x01\x01\x00"
        requires = (tag(who, nonce - 1),) if nonce > expected else ()
        required = b"".join(compact(36) + each for each in requires)
        tags = compact(len(requires)) + required + compact(1) + compact(36) + tag(who, nonce)
        return b"\x00" + struct.pack("<Q", value[0]) + tags + struct.pack("<QB", 64, 1)

    def BlockBuilder_apply_extrinsic(self, raw: bytes, overlay: Overlay, _: bytes) -> bytes:
        who, nonce, kind, value = read_toy(raw)
        overlay.put(b"register" + who, value)
        if kind == b"b":
            return b"\x01\x00\x01"
        if kind == b"f" and (overlay.get(b"number") or b"\0")[0] < value[0]:
            return b"\x01\x00\x06"
        if kind == b"p":
            raise RuntimeFailed("BlockBuilder_apply_extrinsic", "panicked")
        if kind != b"t":
            overlay.put(b"nonce" + who, struct.pack("<I", nonce + 1))
        return b"\x00\x00"

    def BlockBuilder_finalize_block(self, _: bytes, overlay: Overlay, parent_root: bytes) -> bytes:
        header = overlay.get(b"header") or b""
        root = crypto.changes_root(parent_root, overlay.changes)
        return header[:-65] + root + bytes(32) + compact(1) + b"\x00" + compact(2) + b"hi"


def tag(who: bytes, nonce: int) -> bytes:
    return who + struct.pack("<I", nonce)


def toy_extrinsic(who: bytes, nonce: int, kind: bytes = b"g", value: bytes = b"\x01") -> bytes:
    body = who + struct.pack("<I", nonce) + kind + value
    return compact(len(body)) + body


def read_toy(raw: bytes) -> tuple[bytes, int, bytes, bytes]:
    reader = Reader(raw)
    body = reader.take(reader.compact())
    reader.finish()
    return body[:32], struct.unpack("<I", body[32:36])[0], body[36:37], body[37:]


ANN, BOB = b"A" * 32, b"B" * 32


def toy_node(**options: Any) -> Node:
    return Node(ToyRuntime(), {b"genesis": b"1"}, clock=lambda: 1_000_000.0, **options)


def test_a_block_holds_what_is_ready_and_the_rest_waits() -> None:
    node = toy_node()
    for nonce in (2, 0, 4, 1):
        node.submit(toy_extrinsic(ANN, nonce, value=bytes([nonce])))
    assert node.next_nonce(ANN) == 3
    block = node.seal()
    assert [read_toy(raw)[1] for raw in block.extrinsics[1:]] == [0, 1, 2]
    assert len(node.pool) == 1
    assert node.next_nonce(ANN) == 3
    node.submit(toy_extrinsic(ANN, 3))
    assert len(node.seal().extrinsics) == 3


def test_blocks_follow_each_other_and_old_states_stay() -> None:
    node = toy_node()
    for value in (b"\x05", b"\x06"):
        node.submit(toy_extrinsic(ANN, value[0] - 5, value=value))
        node.seal()
    assert node.head.number == 2
    assert node.block_by_hash(node.head.parent) == node.block_by_number(1)
    assert [node.state.get_at(b"register" + ANN, number) for number in range(3)] == [None, b"\x05", b"\x06"]
    first = node.block_by_number(1)
    assert node.call("AccountNonceApi_account_nonce", ANN, first) == struct.pack("<I", 1)
    times = [struct.unpack("<Q", node.state.get_at(b"register" + b"T" * 32, number))[0] for number in (1, 2)]
    assert times[1] - times[0] == 12_000
    assert times[0] % 12_000 == 0


def test_genesis_and_every_block_have_their_own_hash() -> None:
    other = Node(ToyRuntime(), {b"genesis": b"2"})
    assert toy_node().head.hash != other.head.hash
    assert toy_node().head.hash == toy_node().head.hash
    assert toy_node().set_storage({b"a": b"1"}).hash != toy_node().set_storage({b"a": b"2"}).hash
    assert genesis_header(bytes(32)) == new_header(bytes(32), 0)


@pytest.mark.parametrize("kind", [b"b", b"p"])
def test_what_turns_out_invalid_leaves_no_trace_and_keeps_its_followers_out(kind: bytes) -> None:
    node = toy_node()
    gone: list[str] = []
    node.on_gone.append(lambda _, word: gone.append(word))
    bad = toy_extrinsic(ANN, 0, kind, b"\x09")
    node.submit(bad)
    node.submit(toy_extrinsic(ANN, 1))
    node.submit(toy_extrinsic(BOB, 0))
    assert len(node.seal().extrinsics) == 2
    assert node.state.get(b"register" + ANN) is None
    assert gone == ["invalid"]
    assert len(node.pool) == 1
    with pytest.raises(PoolRefused) as refused:
        node.submit(bad)
    assert refused.value.code == 1012


def test_what_does_not_fit_waits_for_the_next_block() -> None:
    node = toy_node()
    node.submit(toy_extrinsic(ANN, 0, b"f", b"\x02"))
    node.submit(toy_extrinsic(ANN, 1))
    assert len(node.seal().extrinsics) == 1
    assert len(node.seal().extrinsics) == 3


def test_an_extrinsic_whose_era_passed_is_dropped() -> None:
    node = toy_node()
    gone: list[str] = []
    node.on_gone.append(lambda _, word: gone.append(word))
    node.submit(toy_extrinsic(ANN, 1, b"m", b"\x02"))
    node.seal()
    assert gone == []
    node.seal()
    assert gone == ["invalid"]
    assert len(node.pool) == 0


def test_refusals_come_before_the_pool() -> None:
    node = toy_node()
    node.submit(toy_extrinsic(ANN, 0))
    node.seal()
    with pytest.raises(InvalidTransaction, match="outdated"):
        node.submit(toy_extrinsic(ANN, 0, value=b"\x02"))
    with pytest.raises(PoolRefused) as refused:
        node.submit(toy_extrinsic(ANN, 1, b"?"))
    assert refused.value.code == 1011
    with pytest.raises(MalformedBytes):
        node.submit(toy_extrinsic(ANN, 1) + b"x")
    node.runtime.broken.add("TaggedTransactionQueue_validate_transaction")  # type: ignore[attr-defined]
    with pytest.raises(MalformedBytes, match="told to"):
        node.submit(toy_extrinsic(ANN, 1))


def test_a_block_that_fails_leaves_the_chain_and_the_pool_as_they_were() -> None:
    node = toy_node()
    node.submit(toy_extrinsic(ANN, 0))
    runtime = node.runtime
    assert isinstance(runtime, ToyRuntime)
    runtime.broken.add("BlockBuilder_finalize_block")
    with pytest.raises(RuntimeFailed):
        node.seal()
    runtime.broken.clear()
    assert node.head.number == 0
    assert node.state.get(b"number") is None
    assert len(node.seal().extrinsics) == 2


def test_set_storage_seals_a_block_that_writes() -> None:
    node = toy_node()
    node.submit(toy_extrinsic(ANN, 0))
    block = node.set_storage({b"nonce" + ANN: struct.pack("<I", 7), b"genesis": None})
    assert len(block.extrinsics) == 1
    assert node.next_nonce(ANN) == 7
    assert (node.state.get_at(b"genesis", 0), node.state.get(b"genesis")) == (b"1", None)
    assert len(node.pool) == 0


def test_dropping_the_pool_forgets_bans_too() -> None:
    node = toy_node()
    node.submit(toy_extrinsic(ANN, 0, b"b"))
    node.seal()
    node.submit(toy_extrinsic(BOB, 1))
    assert node.drop_pool() == 1
    node.submit(toy_extrinsic(ANN, 0, b"b"))


class Client:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._news: list[Any] = []

    async def send(self, text: str) -> Any:
        """The reply; what is told before it comes is kept."""
        await self._socket.send(text)
        while "params" in (message := json.loads(await self._socket.recv())):
            self._news.append(message)
        return message

    async def call(self, method: str, *parameters: Any) -> Any:
        reply = await self.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}))
        return reply.get("result", reply.get("error"))

    async def news(self) -> Any:
        """What the next notification tells."""
        told = self._news.pop(0) if self._news else json.loads(await self._socket.recv())
        return told["method"], told["params"]["result"]


@asynccontextmanager
async def talking(node: Node) -> AsyncIterator[Client]:
    async with serving(node) as port, connect(f"ws://127.0.0.1:{port}") as socket:
        yield Client(socket)


def over_the_wire(node: Node, talk: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with talking(node) as client:
            await talk(client)

    asyncio.run(run())


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def test_clients_read_the_chain_at_any_block() -> None:
    node = toy_node(finality_lag=1)
    node.submit(toy_extrinsic(ANN, 0, value=b"\x05"))
    node.seal()
    node.seal()
    register = hexed(b"register" + ANN)

    async def talk(client: Client) -> None:
        hashes = [await client.call("chain_getBlockHash", number) for number in range(4)]
        assert hashes[3] is None
        assert await client.call("chain_getHead") == hashes[2] == await client.call("chain_getBlockHash")
        assert await client.call("chain_getFinalizedHead") == hashes[1]
        assert await client.call("state_getStorage", register, hashes[0]) is None
        assert await client.call("state_getStorageAt", register, hashes[1]) == "0x05"
        assert await client.call("state_getKeysPaged", hexed(b"reg"), 1, None, hashes[1]) == [register]
        assert await client.call("state_queryStorageAt", [register], hashes[0]) == [
            {"block": hashes[0], "changes": [[register, None]]}
        ]
        assert await client.call("state_call", "AccountNonceApi_account_nonce", hexed(ANN), hashes[0]) == "0x00000000"
        header = await client.call("chain_getHeader", hashes[2])
        assert (header["parentHash"], header["number"], header["digest"]) == (
            hashes[1],
            "0x2",
            {"logs": ["0x00086869"]},
        )
        assert len((await client.call("chain_getBlock", hashes[1]))["block"]["extrinsics"]) == 2
        assert (await client.call("state_getRuntimeVersion"))["specVersion"] == 300
        assert await client.call("state_getMetadata") == hexed(b"meta")
        address = Keypair(public_key=ANN, ss58_format=42).ss58_address
        assert await client.call("system_accountNextIndex", address) == 1

    over_the_wire(node, talk)


def test_whatever_comes_in_at_worst_an_error_goes_out() -> None:
    unknown = hexed(b"\x11" * 32)

    async def talk(client: Client) -> None:
        for text in ("{", "[]", "7", '{"id": 1}', '{"id": [], "method": "x"}', "[" * 100_000):
            assert "error" in await client.send(text)
        for method, parameters, code in (
            ("no_such_method", [], -32601),
            ("state_getStorage", ["0x00", unknown], 4003),
            ("state_getStorage", ["zz"], -32602),
            ("state_getKeysPaged", ["0x", 1001], -32602),
            ("state_call", ["No_such", "0x", unknown], 4003),
            ("chain_getBlockHash", [True], -32602),
            ("system_accountNextIndex", ["5FA"], -32602),
            ("dev_newBlock", [{"count": -1}], -32602),
            ("dev_setStorage", [["0x00"]], -32602),
            ("author_submitExtrinsic", ["0x1234"], 1002),
        ):
            assert (await client.call(method, *parameters))["code"] == code, method
        assert await client.call("chain_getHeader", unknown) is None
        assert await client.call("chain_getBlock", unknown) is None
        assert await client.call("author_unwatchExtrinsic", "never") is False

    over_the_wire(toy_node(), talk)


def test_pool_errors_have_substrates_codes_and_words() -> None:
    async def talk(client: Client) -> None:
        first = hexed(toy_extrinsic(ANN, 0))
        assert await client.call("author_submitExtrinsic", first) == hexed(crypto.blake2_256(bytes.fromhex(first[2:])))
        assert (await client.call("author_submitExtrinsic", first))["code"] == 1013
        assert (await client.call("author_submitExtrinsic", hexed(toy_extrinsic(ANN, 0, b"g", b"\x01x"))))[
            "code"
        ] == 1014
        assert await client.call("author_pendingExtrinsics") == [first]
        await client.call("dev_newBlock", {"count": 2})
        assert (await client.call("author_submitExtrinsic", first))["code"] == 1012
        outdated = {"code": 1010, "message": "Invalid Transaction", "data": "Transaction is outdated"}
        assert await client.call("author_submitExtrinsic", hexed(toy_extrinsic(ANN, 0, value=b"\x09"))) == outdated
        assert await client.call("author_submitExtrinsic", hexed(toy_extrinsic(ANN, 2))) is not None
        assert await client.call("dev_dropPool") == 1

    over_the_wire(toy_node(), talk)


def test_a_watched_extrinsic_is_followed_to_its_finality() -> None:
    async def talk(client: Client) -> None:
        update = "author_extrinsicUpdate"
        await client.call("author_submitAndWatchExtrinsic", hexed(toy_extrinsic(ANN, 1)))
        assert await client.news() == (update, "future")
        await client.call("author_submitAndWatchExtrinsic", hexed(toy_extrinsic(BOB, 0)))
        assert await client.news() == (update, "ready")
        await client.call("author_submitAndWatchExtrinsic", hexed(toy_extrinsic(BOB, 0, value=b"\x09")))
        assert [await client.news(), await client.news()] == [(update, "usurped"), (update, "ready")]

    node = toy_node()

    async def blocks(client: Client) -> None:
        await client.call("author_submitAndWatchExtrinsic", hexed(toy_extrinsic(ANN, 0)))
        assert await client.news() == ("author_extrinsicUpdate", "ready")
        first = node.seal()
        assert await client.news() == ("author_extrinsicUpdate", {"inBlock": hexed(first.hash)})
        assert await client.news() == ("author_extrinsicUpdate", {"finalized": hexed(first.hash)})

    over_the_wire(toy_node(), talk)
    over_the_wire(node, blocks)


def test_heads_are_told_as_they_come_and_finalized_ones_when_they_are() -> None:
    node = toy_node(finality_lag=2)

    async def talk(client: Client) -> None:
        finalized = await client.call("chain_subscribeFinalizedHeads")
        assert (await client.news())[1]["number"] == "0x0"
        heads = await client.call("chain_subscribeNewHeads")
        assert (await client.news())[1]["number"] == "0x0"
        node.seal()
        assert [(name, head["number"]) for name, head in [await client.news()]] == [("chain_newHead", "0x1")]
        assert await client.call("chain_unsubscribeNewHeads", heads) is True
        node.seal()
        node.seal()
        told, header = await client.news()
        assert (told, header["number"]) == ("chain_finalizedHead", "0x1")
        assert await client.call("chain_unsubscribeFinalizedHeads", finalized) is True

    over_the_wire(node, talk)
