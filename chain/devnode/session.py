"""One client of the embedded chain: answers in order, and subscriptions that live and die with the socket."""

import asyncio
import json
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chain.devnode.extrinsics import blake256
from chain.devnode.rpc import INVALID_PARAMS, NO_METHOD, Methods, Parameters, RpcError, header_json, hexed, read_request
from chain.devnode.store import Block

MAX_NEW_BLOCKS = 10_000
MAX_WAITING_MESSAGES = 10_000  # a client that subscribes and never reads is let go
HEADS = (
    "chain_subscribeNewHeads",
    "chain_subscribeNewHead",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeAllHeads",
)


class Session:
    def __init__(self, socket: ServerConnection, methods: Methods) -> None:
        self._socket = socket
        self._methods = methods
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._after_reply: list[str] = []
        self._watched: dict[bytes, str] = {}  # extrinsic hash -> subscription
        self._heads: dict[str, str] = {}  # subscription -> name of its notifications
        self._made = 0

    async def run(self) -> None:
        node = self._methods.node
        node.on_block.append(self._block_sealed)
        node.on_dropped.append(self._extrinsic_dropped)
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
            node.on_block.remove(self._block_sealed)
            node.on_dropped.remove(self._extrinsic_dropped)
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
        return json.dumps(reply)

    async def _call(self, method: str, parameters: Parameters) -> Any:
        if method == "author_submitAndWatchExtrinsic":
            return self._watch(parameters.hex(0))
        if method in HEADS:
            return self._subscribe_heads(method)
        if method == "author_unwatchExtrinsic" or method.startswith("chain_unsubscribe"):
            return self._unsubscribe(parameters.optional(0))
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
            self._methods.node.seal()
            await asyncio.sleep(0)  # others get their answers in between
        return hexed(self._methods.node.head.hash)

    def _next_subscription(self) -> str:
        self._made += 1
        return f"{id(self):x}-{self._made}"

    def _watch(self, raw: bytes) -> str:
        submitted = self._methods.submit(raw)
        subscription = self._watched[submitted] = self._next_subscription()
        self._after_reply.append(_notification("author_extrinsicUpdate", subscription, "ready"))
        return subscription

    def _subscribe_heads(self, method: str) -> str:
        subscription = self._next_subscription()
        name = self._heads[subscription] = "chain_finalizedHead" if "Finalized" in method else "chain_newHead"
        self._after_reply.append(_notification(name, subscription, header_json(self._methods.node.head)))
        return subscription

    def _unsubscribe(self, subscription: Any) -> bool:
        if not isinstance(subscription, str):
            raise RpcError(INVALID_PARAMS, "want a subscription id")
        known = subscription in self._watched.values() or subscription in self._heads
        self._watched = {key: one for key, one in self._watched.items() if one != subscription}
        self._heads.pop(subscription, None)
        return known

    def _notify(self, method: str, subscription: str, result: Any) -> None:
        self._outbox.put_nowait(_notification(method, subscription, result))

    def _block_sealed(self, block: Block) -> None:
        for subscription, name in self._heads.items():
            self._notify(name, subscription, header_json(block))
        if not self._watched:
            return
        for found in {blake256(raw) for raw in block.extrinsics} & self._watched.keys():
            subscription = self._watched.pop(found)
            self._notify("author_extrinsicUpdate", subscription, {"inBlock": hexed(block.hash)})
            self._notify("author_extrinsicUpdate", subscription, {"finalized": hexed(block.hash)})

    def _extrinsic_dropped(self, dropped: bytes) -> None:
        subscription = self._watched.pop(dropped, None)
        if subscription is not None:
            self._notify("author_extrinsicUpdate", subscription, "dropped")


def _notification(method: str, subscription: str, result: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": result}})
