"""One WebSocket to a node under one clock: whatever the node does, a request ends when the time is up."""

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from substrateinterface.exceptions import SubstrateRequestException
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

MAX_ANSWER_BYTES = 64 << 20  # a thousand weight rows of a full subnet take a fifth of this
_CLOSE_TIMEOUT_S = 0.5


class NoAnswer(Exception):  # noqa: N818 - what happened
    """The time was up before the answer was there."""


class SocketBroken(Exception):  # noqa: N818 - what happened
    """The socket could not be opened, or ended under a request."""


class MalformedAnswer(Exception):  # noqa: N818 - what it is
    """The node sent something that is no answer."""


class Transport:
    """Speaks JSON-RPC for a SubstrateInterface; opened at the first request after `start_clock`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: ClientConnection | None = None
        self._ends = 0.0

    def start_clock(self, timeout_s: float) -> None:
        """All requests from here on, opening included, share this time."""
        self._ends = time.monotonic() + timeout_s

    def rpc_request(self, payload: Mapping[str, Any], result_handler: object = None) -> dict[str, Any]:
        """The answer with the request's id; all others, such as a second copy of an earlier one, are dropped."""
        if result_handler is not None:
            raise NotImplementedError("subscriptions: poll instead, a lost notification would be waited for")
        try:
            opened = self._open()
            opened.send(json.dumps(payload))
            while True:
                answer = _parsed(opened.recv(timeout=self._left_s()))
                if answer.get("id") == payload["id"]:
                    break
        except TimeoutError as error:
            raise NoAnswer from error
        except (WebSocketException, OSError) as error:
            raise SocketBroken(str(error) or type(error).__name__) from error
        if "error" in answer:
            raise SubstrateRequestException(answer["error"])
        if "result" not in answer:
            raise MalformedAnswer("neither result nor error in it")
        return answer

    def _left_s(self) -> float:
        left_s = self._ends - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _open(self) -> ClientConnection:
        left_s = self._left_s()
        if self._socket is None:
            self._socket = connect(
                self._url, open_timeout=left_s, close_timeout=_CLOSE_TIMEOUT_S, max_size=MAX_ANSWER_BYTES,
                compression=None, ping_interval=None,
            )  # fmt: skip
        # A node that does not read would block the sender for ever.
        seconds, fraction = divmod(left_s, 1)
        packed = struct.pack("ll", int(seconds), int(fraction * 1e6) + 1)
        self._socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, packed)
        return self._socket

    def close(self) -> None:
        """The next request opens a new socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _parsed(message: str | bytes) -> dict[str, Any]:
    try:
        answer = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer("no JSON") from error
    if not isinstance(answer, dict):
        raise MalformedAnswer(f"a JSON {type(answer).__name__}, want an object")
    return answer
