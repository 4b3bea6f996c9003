"""A server on a real socket that answers as a test wants, alone or in front of the embedded Hub."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

Answer = Callable[[socket.socket, str], None]


@contextmanager
def server_that(answer: Answer) -> Iterator[str]:
    """A server on a real socket; `answer` gets each connection and the head of its first request."""
    stopped = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(4096)
                if not received:
                    return
                head += received
            try:
                answer(connection, head.decode())
            except OSError:
                return  # the client hung up, as it should

    def accept(listener: socket.socket) -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)


def headers(length: int | None, status: str = "200 OK", **more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{name}: {value}" for name, value in more.items())]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def hub_where(real: str, chooses: Callable[[str], Answer | None]) -> Iterator[str]:
    """The Hub at `real`, but for requests whose first line `chooses` gives an answer for."""
    address = urlsplit(real)

    def answer(peer: socket.socket, head: str) -> None:
        strange = chooses(head.partition("\r\n")[0])
        if strange is not None:
            strange(peer, head)
            return
        with socket.create_connection((address.hostname, address.port)) as hub:
            first, _, rest = head.partition("\r\n")
            hub.sendall(f"{first}\r\nConnection: close\r\n{rest}".encode())
            announced = next((line for line in rest.lower().split("\r\n") if line.startswith("content-length:")), "")
            left = int(announced.partition(":")[2] or 0) - len(rest.partition("\r\n\r\n")[2])
            while left > 0 and (received := peer.recv(min(left, 65536))):
                hub.sendall(received)
                left -= len(received)
            while received := hub.recv(65536):
                peer.sendall(received)

    with server_that(answer) as url:
        yield url
