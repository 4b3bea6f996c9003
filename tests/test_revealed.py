"""One bad repository costs its own submission and no other; an outage of the Hub is nobody's fault."""

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hivetune.adapter import FILE_NAME
from hivetune.errors import RejectedSubmission, RetryableError
from hub.client import HubClient
from hub.revealed import RevealedFiles
from hub.server.app import RunningHub, running_hub
from hub.server.tokens import mint_token
from tests.strange_server import Answer, headers, hub_where, server_that

PATH = f"round-000002/{FILE_NAME}"
CONTENT = bytes(range(256)) * 40
REVISION = "a" * 40
OWN = "validator/receipts"  # does not exist yet, which the Hub says


def silent(peer: socket.socket, _: str) -> None:
    peer.recv(1)  # until the client hangs up: a client without a deadline would wait for ever


def dripping_head(peer: socket.socket, _: str) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nX-Filler: ")
    while True:
        peer.sendall(b"a")
        time.sleep(0.02)


def dripping_body(peer: socket.socket, _: str) -> None:
    peer.sendall(headers(len(CONTENT)))
    for byte in CONTENT:
        peer.sendall(bytes([byte]))
        time.sleep(0.02)


def endless(peer: socket.socket, _: str) -> None:
    peer.sendall(headers(None) + b'["')
    while True:
        peer.sendall(b"x" * 65536)


def resetting(peer: socket.socket, _: str) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def resetting_halfway(peer: socket.socket, _: str) -> None:
    peer.sendall(headers(len(CONTENT)) + CONTENT[:1000])
    resetting(peer, "")


def saying(status: str, body: bytes = b"", **more: str) -> Answer:
    return lambda peer, _: peer.sendall(headers(len(body), status, **more) + body)


def with_length(length: int | None, body: bytes) -> Answer:
    return lambda peer, _: peer.sendall(headers(length) + body)


def turning_in_circles(peer: socket.socket, head: str) -> None:
    peer.sendall(headers(0, "302 Found", Location=head.split()[1]))


ANYWHERE: dict[str, Answer] = {
    "silent": silent,
    "dripping head": dripping_head,
    "dripping body": dripping_body,
    "endless": endless,
    "resetting": resetting,
    "closing": lambda peer, _: None,
    "no http": lambda peer, _: peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "429": saying("429 Too Many Requests", **{"Retry-After": "300"}),
    "500": saying("500 Oops"),
    "504": saying("504 Gateway Timeout"),
    "403": saying("403 Forbidden"),
    "451": saying("451 Unavailable For Legal Reasons"),
    "418": saying("418 Teapot"),
    "404 without the Hub's words": saying("404 Not Found"),
    "redirect in circles": turning_in_circles,
    "redirect to a file": saying("302 Found", Location="file:///etc/passwd"),
    "redirect nowhere": saying("302 Found", Location="http://127.0.0.1:9/x"),
}
LISTING: dict[str, Answer] = {
    "not json": saying("200 OK", b"<html>"),
    "no object": saying("200 OK", b"[]"),
    "no revision": saying("200 OK", b'{"id": "a/b"}'),
    "a branch for a revision": saying("200 OK", b'{"id": "a/b", "sha": "main"}'),
    "a deep answer": saying("200 OK", b"[" * 100_000),
}
DOWNLOAD: dict[str, Answer] = {
    "one byte flipped": with_length(len(CONTENT), CONTENT[:-1] + b"\0"),
    "other bytes": with_length(len(CONTENT), CONTENT[::-1]),
    "one byte short": with_length(len(CONTENT) - 1, CONTENT[:-1]),
    "one byte more": with_length(len(CONTENT) + 1, CONTENT + b"x"),
    "a length of a terabyte": with_length(1 << 40, b""),
    "a body shorter than its length": with_length(len(CONTENT), CONTENT[:-1]),
    "a body longer than its length": with_length(None, CONTENT + b"x"),
    "nothing": with_length(0, b""),
    "an LFS pointer": with_length(None, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "gzip": saying("200 OK", CONTENT[::-1], **{"Content-Encoding": "gzip"}),
    "a range nobody asked for": saying("206 Partial Content", CONTENT[1:], **{"Content-Range": "bytes 1-9/10"}),
    "resetting halfway": resetting_halfway,
}  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """Alice and Mallory have the same file."""
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        for name in ("alice", "mallory"):
            client = HubClient(running.url, token=mint_token(running.root, name))
            client.ensure_repo(f"{name}/x")
            client.publish(f"{name}/x", {PATH: CONTENT}, message="round 2")
        yield running


def open_file(source: RevealedFiles, repo: str, into: Path) -> bytes:
    """What a submission's check does with a source."""
    found = source.revealed(repo, PATH)
    assert found is not None
    revision, remote = found
    assert remote.sha256 is not None
    return source.download(
        repo, revision, PATH, sha256=remote.sha256, size=remote.size, into=into / repo.partition("/")[0]
    ).read_bytes()


def source_at(url: str) -> RevealedFiles:
    return RevealedFiles(HubClient(url, timeout_s=0.4), own_repo=OWN, download_s=0.5)


def check_that_only_mallory_pays(hub: RunningHub, into: Path, chooses: Callable[[str], Answer | None]) -> None:
    with hub_where(hub.url, chooses) as url:
        source = source_at(url)
        with pytest.raises(RejectedSubmission) as caught:
            open_file(source, "mallory/x", into)
        assert caught.value.reason == "download_failed"
        assert open_file(source, "alice/x", into) == CONTENT
    assert [path.name for path in into.iterdir() if path.suffix != ".part"] == ["alice"]


@pytest.mark.parametrize("name", [*ANYWHERE, *LISTING])
def test_a_repository_whose_listing_fails_is_rejected_alone(hub: RunningHub, tmp_path: Path, name: str) -> None:
    answer = (ANYWHERE | LISTING)[name]
    check_that_only_mallory_pays(hub, tmp_path, lambda line: answer if "/mallory/" in line else None)


@pytest.mark.parametrize("name", [*ANYWHERE, *DOWNLOAD])
def test_a_file_whose_download_fails_is_rejected_alone(hub: RunningHub, tmp_path: Path, name: str) -> None:
    answer = (ANYWHERE | DOWNLOAD)[name]
    check_that_only_mallory_pays(hub, tmp_path, lambda line: answer if "/mallory/x/resolve/" in line else None)


@pytest.mark.parametrize("name", ["silent", "dripping head", "resetting", "429", "500", "504", "no http"])
def test_an_outage_of_the_hub_rejects_nobody(hub: RunningHub, tmp_path: Path, name: str) -> None:
    down = True
    with hub_where(hub.url, lambda _: ANYWHERE[name] if down else None) as url:
        source = source_at(url)
        with pytest.raises(RetryableError):
            open_file(source, "alice/x", tmp_path)
        down = False
        assert open_file(source, "alice/x", tmp_path) == CONTENT


@pytest.mark.parametrize("where", ["/api/models/alice/", "/alice/x/resolve/"])
def test_an_outage_that_ends_before_it_is_noticed_rejects_nobody(hub: RunningHub, tmp_path: Path, where: str) -> None:
    """It ends between the failure and the question whether the Hub answers."""
    down = True

    def comes_back(line: str) -> Answer | None:
        nonlocal down
        down = down and OWN not in line
        return resetting if down and where in line else None

    with hub_where(hub.url, comes_back) as url:
        assert open_file(source_at(url), "alice/x", tmp_path) == CONTENT
    assert not down


def test_a_hub_that_goes_down_during_a_download_rejects_nobody(hub: RunningHub, tmp_path: Path) -> None:
    down = False

    def goes_down(line: str) -> Answer | None:
        nonlocal down
        down = down or "/resolve/" in line
        return resetting if down else None

    with hub_where(hub.url, goes_down) as url, pytest.raises(RetryableError):
        open_file(source_at(url), "alice/x", tmp_path)


def test_a_repository_that_vanishes_before_its_download_is_rejected(hub: RunningHub, tmp_path: Path) -> None:
    """Were it an outage, its owner could make the round start over as often as he likes."""
    gone = saying("404 Not Found", **{"X-Error-Code": "RepoNotFound"})
    check_that_only_mallory_pays(hub, tmp_path, lambda line: gone if "/mallory/x/resolve/" in line else None)


def test_a_repository_that_the_hub_does_not_have_is_not_revealed(hub: RunningHub) -> None:
    source = source_at(hub.url)
    for repo in ("mallory/none", "nobody/x", "mallory/x.git", "-a/b", "a/--b"):
        assert source.revealed(repo, PATH) is None
    assert source.revealed("alice/x", "round-000003/" + FILE_NAME) is None


def test_a_million_files_beside_the_wanted_one_cost_nothing() -> None:
    """The head is asked for without the list of files, and two short answers are all that is read of a repository."""
    asked = []

    def crowded(peer: socket.socket, head: str) -> None:
        asked.append(head.partition("\r\n")[0])
        siblings = [{"rfilename": f"{number:0200d}"} for number in range(20_000)]
        body = json.dumps({"id": "mallory/x", "sha": REVISION, "siblings": siblings}).encode()
        peer.sendall(headers(len(body)) + body)

    with server_that(crowded) as url, pytest.raises(RetryableError, match="larger than any that is wanted"):
        HubClient(url).head("mallory/x")
    assert asked == ["GET /api/models/mallory/x?expand=sha HTTP/1.1"]


def test_the_embedded_hub_lists_no_files_when_the_head_alone_is_asked_for(hub: RunningHub) -> None:
    heads = []

    def watch(line: str) -> None:
        heads.append(line)

    with hub_where(hub.url, watch) as url:
        assert len(HubClient(url).head("alice/x")) == 40
    assert heads == ["GET /api/models/alice/x?expand=sha HTTP/1.1"]


def test_nothing_but_the_one_file_is_asked_for(hub: RunningHub, tmp_path: Path) -> None:
    """No config, tokenizer, code or README of a stranger is ever read, whatever lies in the repository."""
    client = HubClient(hub.url, token=mint_token(hub.root, "eve"))
    client.ensure_repo("eve/x")
    config = b'{"auto_map": {"AutoModel": "evil.py"}, "_attn_implementation_internal": "evil/kernels"}'
    files: dict[str, Path | bytes] = {
        PATH: CONTENT, "config.json": config, "evil.py": b"raise SystemExit", "tokenizer.json": b"{}",
        "round-000002/adapter_config.json": config, "round-000002/adapter_model.bin": b"\x80\x04.",
    }  # fmt: skip
    client.publish("eve/x", files, message="round 2")
    asked = []

    def watch(line: str) -> None:
        asked.append(line.split()[1])

    with hub_where(hub.url, watch) as url:
        assert open_file(source_at(url), "eve/x", tmp_path) == CONTENT
    head, listing, file, *stored = asked
    revision = client.head("eve/x")
    assert head == "/api/models/eve/x?expand=sha"
    assert listing == f"/api/models/eve/x/paths-info/{revision}"
    assert file == f"/eve/x/resolve/{revision}/{PATH}"
    assert all("evil" not in path and "config" not in path for path in stored)


def test_a_pinned_repository_is_seen_as_it_was(hub: RunningHub) -> None:
    client = HubClient(hub.url, token=mint_token(hub.root, "zoe"))
    client.ensure_repo("zoe/x")
    then = client.publish("zoe/x", {PATH: CONTENT}, message="round 2")
    client.publish("zoe/x", {PATH: CONTENT + b"!"}, message="another file in its place")
    source = RevealedFiles(HubClient(hub.url), own_repo=OWN, download_s=5.0, revisions={"zoe/x": then})
    now = RevealedFiles(HubClient(hub.url), own_repo=OWN, download_s=5.0).revealed("zoe/x", PATH)
    pinned = source.revealed("zoe/x", PATH)
    assert pinned is not None
    assert now is not None
    assert (pinned[0], pinned[1].size) == (then, len(CONTENT))
    assert now[1].size == len(CONTENT) + 1
    assert source.revealed("alice/x", PATH) is not None
