"""A Hub in a process of its own: killed in the middle of an upload, stopped by a signal, started again."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hivetune.errors import RetryableError
from hub.client import HubClient
from hub.server.tokens import mint_token

_SERVE = """
import sys
from pathlib import Path
from hub.server.app import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]), on_ready=lambda port: print(port, flush=True))
print("stopped", flush=True)
"""


@contextmanager
def hub_process(root: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and the port it listens on, once it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(root), str(port)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def unfinished_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "incoming").iterdir())


def test_an_upload_survives_a_hub_that_is_killed_in_the_middle(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    weights = os.urandom(1 << 20) * 96
    digest = hashlib.sha256(weights).hexdigest()
    token = mint_token(root, "alice")
    revisions: list[str] = []
    failures: list[RetryableError] = []

    def publish(client: HubClient) -> None:
        while not revisions:
            try:
                revisions.append(client.publish("alice/model", {"w.bin": weights, "n.txt": b"2"}, message="second"))
            except RetryableError as error:
                failures.append(error)
                time.sleep(0.2)

    with hub_process(root) as (process, port):
        client = HubClient(f"http://127.0.0.1:{port}", token=token)
        client.ensure_repo("alice/model")
        first = client.publish("alice/model", {"n.txt": b"1"}, message="first")
        uploader = threading.Thread(target=publish, args=(client,))
        uploader.start()
        deadline = time.monotonic() + 20
        while unfinished_bytes(root) < 4 << 20 and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not revisions
    assert unfinished_bytes(root) >= 4 << 20
    assert not list((root / "blobs").rglob(digest))

    with hub_process(root, port):
        observer = HubClient(f"http://127.0.0.1:{port}")
        assert observer.history("alice/model")[-2].revision == first
        uploader.join(timeout=30)
        assert revisions == [observer.head("alice/model")]
        assert observer.read_bytes("alice/model", first, "n.txt", max_bytes=9) == b"1"
        assert [commit.title for commit in observer.history("alice/model")] == ["second", "first", "initial commit"]
        into = tmp_path / "copy"
        observer.fetch("alice/model", revisions[0], "w.bin", sha256=digest, size=len(weights), into=into)
        assert unfinished_bytes(root) == 0


def test_a_kill_between_upload_and_commit_shows_no_half_commit(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    token = mint_token(root, "alice")
    stop = threading.Event()

    def publish_forever(client: HubClient) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            files: dict[str, Path | bytes] = {"a.txt": str(number).encode(), "b.bin": str(number).encode()}
            try:
                client.publish("alice/pair", files, message=str(number))
            except RetryableError:
                time.sleep(0.05)

    with hub_process(root) as (process, port):
        client = HubClient(f"http://127.0.0.1:{port}", token=token)
        client.ensure_repo("alice/pair")
        writer = threading.Thread(target=publish_forever, args=(client,))
        writer.start()
        time.sleep(0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with hub_process(root, port):
        for _ in range(10):
            head = client.head("alice/pair")
            listed = {file.path for file in client.list_files("alice/pair", head)}
            if "a.txt" in listed or "b.bin" in listed:
                first = client.read_bytes("alice/pair", head, "a.txt", max_bytes=9)
                assert first == client.read_bytes("alice/pair", head, "b.bin", max_bytes=9)
        stop.set()
        writer.join(timeout=20)
    assert not writer.is_alive()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    with hub_process(tmp_path) as (process, _):
        process.send_signal(number)
        output, _ = process.communicate(timeout=10)
        assert (process.returncode, output.strip()) == (0, "stopped")
