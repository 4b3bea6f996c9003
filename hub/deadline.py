"""A clock on every byte: no call to a Hub outlives its deadline.

huggingface_hub sets no timeouts and sleeps between its own retries, up to minutes after a 429. A read timeout alone
does not help either, since a server that sends one byte now and then never lets it expire. So the clock sits in the
socket layer, below headers, bodies and TLS, and failures leave the library as errors that it does not retry.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Any
from urllib.request import getproxies

import httpcore2
import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import hf_request_event_hook, parse_ratelimit_headers
from huggingface_hub.utils.tqdm import disable_progress_bars

from hub.failures import HubTrouble

# For other users of the library in this process, whose calls carry no deadline.
_DEFAULT_SILENCE_S = 60.0
_WRITE_BYTES = 64 << 10
_RESET_PAUSE_S = 0.1
_DEFAULT_RATE_PAUSE_S = 5.0
_MIN_RATE_PAUSE_S = 0.5

_SocketOptions = Iterable[Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What one call may use: the time it ends, the longest silence in it, and the bytes of one answer."""

    ends_at: float  # time.monotonic()
    silence_s: float
    max_body_bytes: int

    def remaining_s(self) -> float:
        return self.ends_at - time.monotonic()


_BUDGET: ContextVar[Budget | None] = ContextVar("hub_budget", default=None)


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Every request that this thread sends through huggingface_hub meanwhile is bound by the budget."""
    previous = _BUDGET.set(budget)
    try:
        yield
    finally:
        _BUDGET.reset(previous)


@cache
def install() -> None:
    """Set the library up once a process: deadlines, plain LFS instead of Xet, no bars and no chatter on stderr.

    Xet is off because the library cannot negotiate it: with it on, uploads to any Hub without a Xet store fail.
    """
    constants.HF_HUB_DISABLE_XET = True
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    set_client_factory(_new_session)


def _new_session() -> httpx2.Client:
    """The library's own client (`default_client_factory`) on transports that keep the deadline, proxies included."""
    return httpx2.Client(
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        timeout=None,
        transport=_DeadlineTransport(),
        mounts=_proxy_mounts(getproxies()),
    )


def _proxy_mounts(proxies: Mapping[str, str]) -> dict[str, httpx2.BaseTransport | None]:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, which httpx reads only for its own transports."""
    excluded = [host.strip() for host in proxies.get("no", "").split(",") if host.strip()]
    if "*" in excluded:
        return {}
    mounts: dict[str, httpx2.BaseTransport | None] = {}
    for scheme in ("http", "https", "all"):
        if address := proxies.get(scheme):
            mounts[f"{scheme}://"] = _DeadlineTransport(address if "://" in address else f"http://{address}")
    for host in excluded if mounts else []:
        is_exact = host == "localhost" or host.replace(".", "").isdigit()
        mounts[f"all://{host}" if is_exact else f"all://*{host}"] = None
    return mounts


class _DeadlineTransport(httpx2.HTTPTransport):
    """Turns every way of not getting an answer into HubTrouble, for calls that have a budget."""

    def __init__(self, proxy: str | None = None) -> None:
        super().__init__(proxy=proxy)
        # httpx offers no parameter for httpcore's public `network_backend`.
        self._pool._network_backend = _ClockedBackend(self._pool._network_backend)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        budget = _BUDGET.get()
        if budget is None:
            return super().handle_request(request)
        where = f"{request.method} {request.url.copy_with(query=None)}"
        with _trouble(where):
            response = super().handle_request(request)
        if response.status_code == 429:
            response.close()
            raise HubTrouble(f"{where}: rate limit", wait_s=_asked_pause_s(response.headers), rate_limited=True)
        if response.status_code >= 500 or response.status_code == 408:
            response.close()
            raise HubTrouble(f"{where}: the Hub answered {response.status_code}", wait_s=_RESET_PAUSE_S)
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _BoundedBody(response.stream, where, budget.max_body_bytes)
        return response


class _BoundedBody(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, where: str, max_bytes: int) -> None:
        self._inner = inner
        self._where = where
        self._left = max_bytes

    def __iter__(self) -> Iterator[bytes]:
        with _trouble(self._where):
            for chunk in self._inner:
                self._left -= len(chunk)
                if self._left < 0:
                    raise HubTrouble(f"{self._where}: the answer is larger than any that is wanted")
                yield chunk

    def close(self) -> None:
        self._inner.close()


@contextmanager
def _trouble(where: str) -> Iterator[None]:
    try:
        yield
    except httpx2.TimeoutException as error:
        raise HubTrouble(f"{where}: too slow ({error})") from error
    except httpx2.TransportError as error:
        raise HubTrouble(f"{where}: {error or type(error).__name__}", wait_s=_RESET_PAUSE_S) from error


def _asked_pause_s(headers: httpx2.Headers) -> float:
    """From `RateLimit` or an integer `Retry-After`; the other form of the latter, a date, is not used by the Hub."""
    limit = parse_ratelimit_headers(headers)
    if limit is not None:
        return max(float(limit.reset_in_seconds), _MIN_RATE_PAUSE_S)
    retry_after = headers.get("retry-after", "")
    if not retry_after.isascii() or not retry_after.isdigit():
        return _DEFAULT_RATE_PAUSE_S
    return max(float(retry_after), _MIN_RATE_PAUSE_S)


class _ClockedStream(httpcore2.NetworkStream):
    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout=_allowed_s(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):
            piece = buffer[start : start + _WRITE_BYTES]
            self._inner.write(piece, timeout=_allowed_s(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        allowed_s = _allowed_s(timeout, httpcore2.ConnectTimeout)
        return _ClockedStream(self._inner.start_tls(ssl_context, server_hostname, allowed_s))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _ClockedBackend(httpcore2.NetworkBackend):
    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore2.NetworkStream:
        allowed_s = _allowed_s(timeout, httpcore2.ConnectTimeout)
        return _ClockedStream(self._inner.connect_tcp(host, port, allowed_s, local_address, socket_options))


def _allowed_s(timeout: float | None, expired: type[httpcore2.TimeoutException]) -> float:
    """How long the next step on a socket may take; raises once nothing is left."""
    budget = _BUDGET.get()
    if budget is None:
        return _DEFAULT_SILENCE_S if timeout is None else timeout
    remaining_s = budget.remaining_s()
    if remaining_s <= 0:
        raise expired("deadline reached")
    return min(remaining_s, budget.silence_s)
