"""One client of the host: answers in order, and subscriptions that live and die with the socket."""

import asyncio
import json
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tools.substrate_host.blocks import Block, header_json
from tools.substrate_host.crypto import blake2_256
from tools.substrate_host.rpc import (
    CLIENT_ERROR,
    INVALID_PARAMS,
    NO_METHOD,
    Methods,
    Parameters,
    RpcError,
    hexed,
    read_request,
)
from tools.substrate_host.runtime import RuntimeFailed

MAX_NEW_BLOCKS = 10_000
MAX_WAITING_MESSAGES = 10_000  # a client that subscribes and never reads is let go
WATCHED = "author_extrinsicUpdate"
# Each subscription and the name of its notifications.
HEADS = {
    "chain_subscribeNewHeads": "chain_newHead",
    "chain_subscribeNewHead": "chain_newHead",
    "chain_subscribeAllHeads": "chain_allHead",
    "chain_subscribeFinalizedHeads": "chain_finalizedHead",
}


class Session:
    def __init__(self, socket: ServerConnection, methods: Methods) -> None:
        self._socket = socket
        self._methods = methods
        self._node = methods.node
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._after_reply: list[str] = []
        self._watched: dict[bytes, str] = {}  # extrinsic hash -> subscription
        self._unfinalized: list[tuple[Block, str]] = []  # the block a watched extrinsic is in
        self._heads: dict[str, str] = {}  # subscription -> name of its notifications
        self._finalized = self._node.finalized.number
        self._made = 0

    async def run(self) -> None:
        self._node.on_block.append(self._block_sealed)
        self._node.on_gone.append(self._extrinsic_gone)
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                self._outbox.put_nowait(await self._answer(message))
                for notification in self._after_reply:
                    self._outbox.put_nowait(notification)
                self._after_reply.clear()
        except ConnectionClosed:
            pass
        finally:
            self._node.on_block.remove(self._block_sealed)
            self._node.on_gone.remove(self._extrinsic_gone)
            writer.cancel()

    async def _write(self) -> None:
        try:
            while self._outbox.qsize() < MAX_WAITING_MESSAGES:
                await self._socket.send(await self._outbox.get())
            await self._socket.close(1008, "too many unread messages")
        except ConnectionClosed:
            return

    async def _answer(self, message: str | bytes) -> str:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": None}
        try:
            reply["id"], method, values = read_request(message)
            reply["result"] = await self._call(method, Parameters(values))
        except RpcError as error:
            reply["error"] = error.body
        except RuntimeFailed as error:
            reply["error"] = RpcError(CLIENT_ERROR, f"Client error: Execution failed: {error}").body
        return json.dumps(reply)

    async def _call(self, method: str, parameters: Parameters) -> Any:
        if method == "author_submitAndWatchExtrinsic":
            return self._watch(parameters.hex(0))
        if method in HEADS:
            return self._subscribe_heads(method)
        if method == "author_unwatchExtrinsic" or method.startswith("chain_unsubscribe"):
            return self._unsubscribe(parameters.text(0))
        if method == "dev_newBlock":
            return await self._new_blocks(parameters)
        handler = self._methods.table.get(method)
        if handler is None:
            raise RpcError(NO_METHOD, f"Method not found: {method[:80]}")
        return handler(parameters)

    async def _new_blocks(self, parameters: Parameters) -> str:
        options = {} if parameters.optional(0) is None else parameters.optional(0)
        if not isinstance(options, dict):
            raise RpcError(INVALID_PARAMS, 'want {"count": N}')
        for _ in range(Parameters([options.get("count", 1)]).integer(0, MAX_NEW_BLOCKS)):
            self._node.seal()
            await asyncio.sleep(0)  # others get their answers in between
        return hexed(self._node.head.hash)

    def _next_subscription(self) -> str:
        self._made += 1
        return f"{id(self):x}-{self._made}"

    def _watch(self, raw: bytes) -> str:
        submitted = self._methods.submit(raw)
        subscription = self._watched[submitted] = self._next_subscription()
        status = "ready" if self._node.is_ready(submitted) else "future"
        self._after_reply.append(_notification(WATCHED, subscription, status))
        return subscription

    def _subscribe_heads(self, method: str) -> str:
        subscription = self._next_subscription()
        name = self._heads[subscription] = HEADS[method]
        block = self._node.finalized if name == "chain_finalizedHead" else self._node.head
        self._after_reply.append(_notification(name, subscription, header_json(block)))
        return subscription

    def _unsubscribe(self, subscription: str) -> bool:
        known = subscription in self._watched.values() or subscription in self._heads
        self._watched = {key: one for key, one in self._watched.items() if one != subscription}
        self._unfinalized = [item for item in self._unfinalized if item[1] != subscription]
        self._heads.pop(subscription, None)
        return known

    def _notify(self, method: str, subscription: str, result: Any) -> None:
        self._outbox.put_nowait(_notification(method, subscription, result))

    def _block_sealed(self, block: Block) -> None:
        self._tell_heads("chain_newHead", block)
        self._tell_heads("chain_allHead", block)
        if self._watched:
            for found in [blake2_256(raw) for raw in block.extrinsics]:
                subscription = self._watched.pop(found, None)
                if subscription is not None:
                    self._notify(WATCHED, subscription, {"inBlock": hexed(block.hash)})
                    self._unfinalized.append((block, subscription))
        while self._finalized < self._node.finalized.number:
            self._finalized += 1
            finalized = self._node.block_by_number(self._finalized)
            assert finalized is not None
            self._tell_heads("chain_finalizedHead", finalized)
        for included, subscription in self._unfinalized:
            if included.number <= self._finalized:
                self._notify(WATCHED, subscription, {"finalized": hexed(included.hash)})
        self._unfinalized = [item for item in self._unfinalized if item[0].number > self._finalized]

    def _tell_heads(self, name: str, block: Block) -> None:
        for subscription, wanted in self._heads.items():
            if wanted == name:
                self._notify(name, subscription, header_json(block))

    def _extrinsic_gone(self, digest: bytes, word: str) -> None:
        subscription = self._watched.pop(digest, None)
        if subscription is not None:
            self._notify(WATCHED, subscription, word)


def _notification(method: str, subscription: str, result: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": result}})
