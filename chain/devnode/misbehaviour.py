"""How faults strike a request: before it is executed, after that, and on the answer's way out."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection

from chain.devnode.endpoint import Armed, Endpoint
from chain.devnode.extrinsics import blake256
from chain.devnode.faults import Fault
from chain.devnode.lies import Answer, bend
from chain.devnode.node import ALREADY_IMPORTED
from chain.devnode.rpc import Methods, Parameters, RpcError, hexed

FRAGMENT_PAUSE_S = 0.05
NESTED = 100_000
MEGABYTE = 10**6


class NoAnswer(Exception):  # noqa: N818 - what the client gets
    """The request gets none."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way; it takes `seconds` when that is not zero."""

    text: str
    seconds: float = 0.0

    async def fragments(self) -> AsyncIterator[str]:
        count = math.ceil(self.seconds / FRAGMENT_PAUSE_S)
        text = self.text.ljust(count)  # JSON may end in spaces
        size = math.ceil(len(text) / count)
        for start in range(0, len(text), size):
            yield text[start : start + size]
            await asyncio.sleep(self.seconds / count)


class Misbehaviour:
    """Of one client's session."""

    def __init__(self, endpoint: Endpoint, socket: ServerConnection) -> None:
        self._endpoint = endpoint
        self._socket = socket

    async def call(
        self,
        struck: Sequence[Armed],
        method: str,
        parameters: Parameters,
        execute: Callable[[Methods], Awaitable[Any]],
    ) -> Any:
        """The result as the faults leave it; they strike in the order in which they were set."""
        for armed in struck:
            if armed.fault.variant == "forget":
                return hexed(blake256(parameters.hex(0)))
            if not armed.fault.after:
                await self._strike(armed.fault)
        methods = next((armed.methods for armed in struck if armed.methods is not None), self._endpoint.methods)
        result = await execute(methods)
        for armed in struck:
            if armed.fault.kind == "lie":
                handed = self._endpoint.handed
                answer = Answer(
                    method=method, parameters=parameters.values, result=result, view=methods.view, handed=handed
                )
                result = bend(armed.fault, answer)
            elif armed.fault.variant == "imported":
                raise RpcError(ALREADY_IMPORTED, "Transaction Already Imported")
            elif armed.fault.after:
                await self._strike(armed.fault)
        return result

    async def _strike(self, fault: Fault) -> None:
        if fault.kind == "delay":
            await self._pause(fault.seconds)
        elif fault.kind == "error":
            raise RpcError(fault.code, fault.message)
        elif fault.kind == "disconnect":
            self._socket.transport.abort()
            raise NoAnswer
        elif fault.kind == "drop":
            raise NoAnswer

    async def _pause(self, seconds: float) -> None:
        """Ends early when the client leaves: what it asked for is executed all the same."""
        try:
            await asyncio.wait_for(self._socket.wait_closed(), seconds)
        except TimeoutError:
            return


def spoil(struck: Sequence[Armed], reply: dict[str, Any]) -> list[Outgoing]:
    """What is sent in the place of a reply."""
    text = json.dumps(reply)
    seconds, copies = 0.0, 1
    for armed in struck:
        fault = armed.fault
        if fault.kind == "garbage":
            text = _garbage(fault, reply)
        elif fault.kind == "dribble":
            seconds = max(seconds, fault.seconds)
        elif fault.kind == "duplicate" and not fault.variant:
            copies = 2
    return [Outgoing(text, seconds)] * copies


def _garbage(fault: Fault, reply: dict[str, Any]) -> str:
    result = reply.get("result")
    if fault.variant in ("empty", "not_json"):
        return "" if fault.variant == "empty" else json.dumps(reply)[:-1]
    if fault.variant == "deep":
        return json.dumps({**reply, "result": 0})[:-2] + "[" * NESTED + "]" * NESTED + "}"
    if fault.variant == "list":
        return json.dumps([reply])
    if fault.variant == "no_result":
        return json.dumps({name: reply[name] for name in ("jsonrpc", "id")})
    changed: dict[str, dict[str, Any]] = {
        "huge": {"result": "0x" + "0" * MEGABYTE * fault.amount},
        "null_result": {"result": None},
        "wrong_id": {"id": f"not {reply['id']}"},
        "wrong_type": {"result": 7 if isinstance(result, str) else "0x00"},
    }
    return json.dumps({**reply, **changed[fault.variant]})
