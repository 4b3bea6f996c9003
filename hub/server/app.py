"""Running the Hub, in its own process or in a thread: socket, signals, and one server a folder."""

import fcntl
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn

from hivetune.errors import ConfigError
from hub.server.asgi import HubApp
from hub.server.routing import Limits

_KEEP_ALIVE_S = 60
_SHUTDOWN_S = 5


class _Server(uvicorn.Server):
    """Reports when it answers, and ends a signalled run by returning: uvicorn would raise the signal again."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it so
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class RunningHub:
    """A bound server. The port is known from the start; `run` blocks, `start` and `stop` use a thread."""

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rate_limits: Mapping[str, tuple[int, int]] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.root = root
        self._host = host
        self._rate_limits = rate_limits
        self._limits = limits
        self._socket = _bound_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self._host == "0.0.0.0" else self._host
        return f"http://{host}:{self.port}"

    def run(self, on_ready: Callable[[int], None] | None = None) -> None:
        """Serve until a signal or `stop`."""

        def announce() -> None:
            self._ready.set()
            if on_ready is not None:
                on_ready(self.port)

        with self._socket, _only_server(self.root):
            app = HubApp(self.root, rate_limits=self._rate_limits, limits=self._limits)
            try:
                self._server = _Server(_uvicorn_config(app), announce)
                self._server.run(sockets=[self._socket])
            finally:
                app.close()

    def start(self) -> None:
        """Return once requests are answered."""
        self._thread = threading.Thread(target=self.run, name="hub-server", daemon=True)
        self._thread.start()
        while not self._ready.wait(timeout=0.05):
            if not self._thread.is_alive():
                raise ConfigError(f"the Hub on {self.root} did not start; see the error above")

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()


def serve(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    rate_limits: Mapping[str, tuple[int, int]] | None = None,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serve `root` until SIGTERM or SIGINT; port 0 takes a free one. `on_ready` gets the port once it answers.

    Buckets of `rate_limits` are "api", "resolvers" (downloads) and "commits", each as (requests, window in seconds).
    """
    RunningHub(root, host=host, port=port, rate_limits=rate_limits).run(on_ready)


@contextmanager
def running_hub(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    rate_limits: Mapping[str, tuple[int, int]] | None = None,
    limits: Limits | None = None,
) -> Iterator[RunningHub]:
    """A Hub in a thread of this process, for tests and the one-machine network."""
    hub = RunningHub(root, host=host, port=port, rate_limits=rate_limits, limits=limits)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def _bound_socket(host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns TCP_NODELAY on only then, which saves 40 ms an answer.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise ConfigError(f"the Hub cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


def _uvicorn_config(app: HubApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


@contextmanager
def _only_server(root: Path) -> Iterator[None]:
    """The kernel drops this lock with the process, so a killed server does not block the next one."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another Hub serves {root} already") from None
        yield
