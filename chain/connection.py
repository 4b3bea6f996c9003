"""One endpoint of a chain: every use has a deadline, a broken socket is opened again once, threads take turns."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from scalecodec.exceptions import InvalidScaleTypeValueException, RemainingScaleBytesNotEmptyException
from substrateinterface.exceptions import BlockNotFound, StorageFunctionNotFound, SubstrateRequestException

from chain.interface import Interface
from chain.transport import MalformedAnswer, NoAnswer, SocketBroken, Transport
from hivetune.errors import RetryableError

# What the library raises on answers that have the wrong shape or do not decode.
_UNREADABLE = (
    MalformedAnswer,
    InvalidScaleTypeValueException,
    RemainingScaleBytesNotEmptyException,
    StorageFunctionNotFound,
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)

Result = TypeVar("Result")


class NodeRefused(RetryableError):  # noqa: N818 - a verdict
    """The node answered with an error."""

    def __init__(self, url: str, error: SubstrateRequestException) -> None:
        self.code, self.message = _describe(error)
        super().__init__(f"chain at {url}: error {self.code}: {self.message}")


class WrongChain(RetryableError):  # noqa: N818 - a verdict
    """The endpoint serves another chain than the pinned one."""


class Connection:
    """Opened at the first use. `use` runs an action on the library's interface object."""

    def __init__(self, url: str, timeout_s: float, genesis_hash: str = "") -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._genesis_hash = genesis_hash.lower()
        self._lock = threading.RLock()
        self._transport = Transport(url)
        self._interface: Interface | None = None

    def use(self, action: Callable[[Any], Result]) -> Result:
        """Runs the action; it may run twice, when the socket breaks under it. RetryableError for all that can pass."""
        with self._lock:
            self._transport.start_clock(self._timeout_s)
            try:
                return self._run(action)
            except SocketBroken:
                self._forget()
            try:
                return self._run(action)
            except SocketBroken as error:
                self._forget()
                raise RetryableError(f"chain at {self.url}: {error}") from error

    def _run(self, action: Callable[[Any], Result]) -> Result:
        try:
            return action(self._open())
        except NoAnswer as error:
            self._forget()
            raise RetryableError(f"chain at {self.url}: no answer within {self._timeout_s} s") from error
        except SubstrateRequestException as error:
            self._forget_runtime()
            raise NodeRefused(self.url, error) from error
        except BlockNotFound as error:
            self._forget_runtime()
            raise RetryableError(f"chain at {self.url}: {error}") from error
        except _UNREADABLE as error:
            self._forget()
            reason = f"{type(error).__name__}: {error}"
            raise RetryableError(f"chain at {self.url}: an answer that does not decode ({reason[:300]})") from error

    def _open(self) -> Interface:
        if self._interface is None:
            interface = Interface(self._transport)
            self._check_genesis(interface)
            self._interface = interface
        return self._interface

    def _check_genesis(self, interface: Interface) -> None:
        if not self._genesis_hash:
            return
        found = str(interface.get_block_hash(0)).lower()
        if found != self._genesis_hash:
            raise WrongChain(f"chain at {self.url}: genesis {found}, want {self._genesis_hash}")

    def _forget_runtime(self) -> None:
        if self._interface is not None:
            self._interface.forget_runtime()

    def _forget(self) -> None:
        """What half an answer left in the library's object, such as a version without its metadata, must not stay."""
        self._transport.close()
        self._interface = None

    def ask_anew(self) -> None:
        """Forgets what the endpoint said about its chain and runtime; the socket stays."""
        with self._lock:
            self._interface = None

    def close(self) -> None:
        with self._lock:
            self._forget()


def _describe(error: SubstrateRequestException) -> tuple[int, str]:
    body = error.args[0] if error.args else ""
    if not isinstance(body, dict):
        return 0, str(body)
    parts = [str(body.get("message", "")), str(body.get("data", ""))]
    code = body.get("code", 0)
    return code if isinstance(code, int) else 0, ": ".join(part for part in parts if part)
