"""One socket to a chain: every operation has a timeout, a broken socket is opened again once, threads take turns."""

import json
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from substrateinterface import SubstrateInterface
from substrateinterface.exceptions import BlockNotFound, SubstrateRequestException
from websocket import WebSocketException, WebSocketTimeoutException

from hivetune.errors import ConfigError, RetryableError

SS58_FORMAT = 42

Result = TypeVar("Result")


class NodeRefused(RetryableError):  # noqa: N818 - a verdict
    """The node answered with an error."""

    def __init__(self, url: str, error: SubstrateRequestException) -> None:
        self.code, self.message = _describe(error)
        super().__init__(f"chain at {url}: error {self.code}: {self.message}")


class Connection:
    """Opened at the first use. `use` runs an action on the library's interface object."""

    def __init__(self, url: str, timeout_s: float) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise ConfigError(f"chain URL is {url!r}, want ws://... or wss://...")
        self.url = url
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._interface: Any = None
        self._broken = False

    def use(self, action: Callable[[Any], Result]) -> Result:
        """Runs the action; it may run twice, when the socket breaks under it. RetryableError for all that can pass."""
        with self._lock:
            try:
                return self._run(action)
            except WebSocketTimeoutException as error:
                self._broken = True
                raise RetryableError(f"chain at {self.url}: no answer within {self._timeout_s} s") from error
            except (WebSocketException, OSError, json.JSONDecodeError):
                self._broken = True
            try:
                return self._run(action)
            except (WebSocketException, OSError, json.JSONDecodeError) as error:
                self._broken = True
                raise RetryableError(f"chain at {self.url}: {error or type(error).__name__}") from error

    def _run(self, action: Callable[[Any], Result]) -> Result:
        try:
            return action(self._open())
        except SubstrateRequestException as error:
            raise NodeRefused(self.url, error) from error
        except BlockNotFound as error:
            raise RetryableError(f"chain at {self.url}: {error}") from error

    def _open(self) -> Any:
        if self._interface is None:
            self._interface = SubstrateInterface(
                url=self.url,
                ss58_format=SS58_FORMAT,
                auto_reconnect=False,
                ws_options={"timeout": self._timeout_s},
            )
        elif self._broken:
            self._interface.connect_websocket()
        self._broken = False
        return self._interface

    def close(self) -> None:
        with self._lock:
            if self._interface is not None:
                self._interface.close()
                self._interface = None


def _describe(error: SubstrateRequestException) -> tuple[int, str]:
    body = error.args[0] if error.args else ""
    if not isinstance(body, dict):
        return 0, str(body)
    parts = [str(body.get("message", "")), str(body.get("data", ""))]
    return int(body.get("code", 0)), ": ".join(part for part in parts if part)
