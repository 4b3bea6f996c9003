"""One client of the embedded chain: answers in order, and subscriptions that live and die with the socket."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from chain.devnode.blocks import Block
from chain.devnode.endpoint import Armed, Endpoint
from chain.devnode.extrinsics import blake256
from chain.devnode.faults import parse_faults
from chain.devnode.misbehaviour import Misbehaviour, NoAnswer, Outgoing, spoil
from chain.devnode.rpc import INVALID_PARAMS, NO_METHOD, Methods, Parameters, RpcError, header_json, hexed, read_request

MAX_NEW_BLOCKS = 10_000
MAX_WAITING_MESSAGES = 10_000  # a client that subscribes and never reads is let go
HEADS = (
    "chain_subscribeNewHeads",
    "chain_subscribeNewHead",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeAllHeads",
)


class Session:
    def __init__(self, socket: ServerConnection, endpoint: Endpoint) -> None:
        self._socket = socket
        self._endpoint = endpoint
        self._misbehaviour = Misbehaviour(endpoint, socket)
        self._outbox: asyncio.Queue[Outgoing] = asyncio.Queue()
        self._after_reply: list[str] = []
        self._watched: dict[bytes, str] = {}  # extrinsic hash -> subscription
        self._landed: dict[bytes, Block] = {}  # of those watched: the block that an extrinsic is in
        self._heads: dict[str, str] = {}  # subscription -> name of its notifications
        self._told_finalized = endpoint.node.finalized.number
        self._made = 0

    async def run(self) -> None:
        node = self._endpoint.node
        node.on_head.append(self._head_moved)
        node.on_dropped.append(self._extrinsic_dropped)
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                await self._answer(message)
                for notification in self._after_reply:
                    self._outbox.put_nowait(Outgoing(notification))
                self._after_reply.clear()
        except ConnectionClosed:
            pass
        finally:
            node.on_head.remove(self._head_moved)
            node.on_dropped.remove(self._extrinsic_dropped)
            writer.cancel()

    async def _write(self) -> None:
        try:
            while self._outbox.qsize() < MAX_WAITING_MESSAGES:
                outgoing = await self._outbox.get()
                await self._socket.send(outgoing.fragments() if outgoing.seconds else outgoing.text)
            await self._socket.close(1008, "too many unread messages")
        except ConnectionClosed:
            return

    async def _answer(self, message: str | bytes) -> None:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": None}
        struck: Sequence[Armed] = ()
        try:
            reply["id"], method, values = read_request(message)
            parameters = Parameters(values)
            struck = self._endpoint.struck(method, parameters)
            execute = partial(self._call, method, parameters)
            if struck:
                reply["result"] = await self._misbehaviour.call(struck, method, parameters, execute)
            else:
                reply["result"] = await execute(self._endpoint.methods)
        except RpcError as error:
            reply["error"] = error.body
        except NoAnswer:
            return
        for outgoing in spoil(struck, reply):
            self._outbox.put_nowait(outgoing)

    async def _call(self, method: str, parameters: Parameters, methods: Methods) -> Any:
        if method == "author_submitAndWatchExtrinsic":
            return self._watch(parameters.hex(0))
        if method in HEADS:
            return self._subscribe_heads(method, methods)
        if method == "author_unwatchExtrinsic" or method.startswith("chain_unsubscribe"):
            return self._unsubscribe(parameters.optional(0))
        if method == "dev_newBlock":
            return await self._new_blocks(parameters)
        if method == "dev_setFaults":
            return self._set_faults(parameters)
        handler = methods.table.get(method)
        if handler is None:
            raise RpcError(NO_METHOD, f"Method not found: {method[:80]}")
        return handler(parameters)

    async def _new_blocks(self, parameters: Parameters) -> str:
        options = {} if parameters.optional(0) is None else parameters.optional(0)
        if not isinstance(options, dict):
            raise RpcError(INVALID_PARAMS, 'want {"count": N}')
        for _ in range(Parameters([options.get("count", 1)]).integer(0, MAX_NEW_BLOCKS)):
            self._endpoint.node.seal()
            await asyncio.sleep(0)  # others get their answers in between
        return hexed(self._endpoint.node.head.hash)

    def _set_faults(self, parameters: Parameters) -> int:
        try:
            faults = parse_faults(parameters.optional(0))
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, str(error)) from error
        self._endpoint.set_faults(faults)
        return len(faults)

    def _next_subscription(self) -> str:
        self._made += 1
        return f"{id(self):x}-{self._made}"

    def _watch(self, raw: bytes) -> str:
        submitted = self._endpoint.methods.submit(raw)
        subscription = self._watched[submitted] = self._next_subscription()
        self._after_reply.append(_notification("author_extrinsicUpdate", subscription, "ready"))
        return subscription

    def _subscribe_heads(self, method: str, methods: Methods) -> str:
        subscription = self._next_subscription()
        is_final = "Finalized" in method
        name = self._heads[subscription] = "chain_finalizedHead" if is_final else "chain_newHead"
        head = methods.view.finalized if is_final else methods.view.head
        self._after_reply.append(_notification(name, subscription, header_json(head)))
        return subscription

    def _unsubscribe(self, subscription: Any) -> bool:
        if not isinstance(subscription, str):
            raise RpcError(INVALID_PARAMS, "want a subscription id")
        known = subscription in self._watched.values() or subscription in self._heads
        self._watched = {key: one for key, one in self._watched.items() if one != subscription}
        self._landed = {key: block for key, block in self._landed.items() if key in self._watched}
        self._heads.pop(subscription, None)
        return known

    def _notify(self, method: str, subscription: str, result: Any) -> None:
        self._outbox.put_nowait(Outgoing(_notification(method, subscription, result)))

    def _head_moved(self, abandoned: Sequence[Block], joined: Sequence[Block]) -> None:
        if self._endpoint.is_stale:
            return
        node = self._endpoint.node
        for subscription, name in self._heads.items():
            if name == "chain_newHead":
                self._notify(name, subscription, header_json(joined[-1]))
        gone = {block.hash for block in abandoned}
        for watched in [watched for watched, block in self._landed.items() if block.hash in gone]:
            self._tell(watched, {"retracted": hexed(self._landed.pop(watched).hash)})
            if watched in node.pool or any(watched in map(blake256, block.extrinsics) for block in joined):
                self._tell(watched, "ready")
        for block in joined if self._watched else ():
            for found in {blake256(raw) for raw in block.extrinsics} & self._watched.keys():
                self._landed[found] = block
                self._tell(found, {"inBlock": hexed(block.hash)})
        self._tell_finalized(node.finalized.number)

    def _tell_finalized(self, number: int) -> None:
        listening = [subscription for subscription, name in self._heads.items() if name == "chain_finalizedHead"]
        for final in range(self._told_finalized + 1, number + 1) if listening else ():
            header = header_json(self._endpoint.node.block(final))
            for subscription in listening:
                self._notify("chain_finalizedHead", subscription, header)
        self._told_finalized = max(self._told_finalized, number)
        for watched in [watched for watched, block in self._landed.items() if block.number <= number]:
            self._tell(watched, {"finalized": hexed(self._landed.pop(watched).hash)})
            del self._watched[watched]

    def _tell(self, extrinsic: bytes, status: Any) -> None:
        self._notify("author_extrinsicUpdate", self._watched[extrinsic], status)

    def _extrinsic_dropped(self, dropped: bytes) -> None:
        self._landed.pop(dropped, None)
        subscription = self._watched.pop(dropped, None)
        if subscription is not None:
            self._notify("author_extrinsicUpdate", subscription, "dropped")


def _notification(method: str, subscription: str, result: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": result}})
