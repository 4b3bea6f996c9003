"""The client against the embedded Hub, and against servers that lie, drip, stall, reset or limit."""

import hashlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hivetune.errors import ConfigError, RetryableError
from hub.client import CorruptDownload, HubClient, HubTrouble, NotOnHub, RemoteFile
from hub.server.app import RunningHub, running_hub
from hub.server.routing import Limits
from hub.server.tokens import mint_token
from tests.strange_server import Answer, headers, server_that

REVISION = "a" * 40
CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with running_hub(tmp_path_factory.mktemp("hub"), limits=Limits(part=1 << 20)) as running:
        yield running


@pytest.fixture
def alice(hub: RunningHub) -> HubClient:
    return HubClient(hub.url, token=mint_token(hub.root, "alice"))


@pytest.fixture
def bob(hub: RunningHub) -> HubClient:
    return HubClient(hub.url, token=mint_token(hub.root, "bob"))


def fetch_from(url: str, into: Path, *, deadline_s: float = 3.0, size: int = len(CONTENT)) -> Path:
    client = HubClient(url, timeout_s=2.0)
    return client.fetch(
        "alice/model", REVISION, "w.safetensors", sha256=DIGEST, size=size, into=into, deadline_s=deadline_s
    )


# What a well-behaved Hub answers


def test_published_files_come_back_as_they_were_in_one_commit(alice: HubClient, tmp_path: Path) -> None:
    source = tmp_path / "w.safetensors"
    source.write_bytes(CONTENT)
    alice.ensure_repo("alice/first")
    before = alice.head("alice/first")
    revision = alice.publish("alice/first", {"a/w.safetensors": source, "config.json": b"{}"}, message="round 1")
    assert alice.head("alice/first") == revision != before
    assert [commit.revision for commit in alice.history("alice/first")] == [revision, before]
    assert alice.history("alice/first", limit=1)[0].title == "round 1"
    assert abs(alice.history("alice/first")[0].created_unix_s - time.time()) < 60
    into = tmp_path / "deep" / "copy"
    fetched = alice.fetch("alice/first", revision, "a/w.safetensors", sha256=DIGEST, size=len(CONTENT), into=into)
    assert fetched == into
    assert into.read_bytes() == CONTENT
    assert [path.name for path in into.parent.iterdir()] == ["copy"]
    assert alice.read_bytes("alice/first", "main", "config.json", max_bytes=10) == b"{}"


def test_describe_gives_size_and_digest_and_leaves_out_what_is_absent(alice: HubClient) -> None:
    alice.ensure_repo("alice/described", kind="dataset")
    files: dict[str, Path | bytes] = {"data/w.safetensors": CONTENT, "note.txt": b"text"}
    revision = alice.publish("alice/described", files, message="m", kind="dataset")
    asked = ["data/w.safetensors", "note.txt", "data", "nope"]
    assert alice.describe("alice/described", revision, asked, kind="dataset") == {
        "data/w.safetensors": RemoteFile(path="data/w.safetensors", size=len(CONTENT), sha256=DIGEST),
        "note.txt": RemoteFile(path="note.txt", size=4, sha256=None),
    }
    listed = [file.path for file in alice.list_files("alice/described", revision, kind="dataset")]
    assert listed == [".gitattributes", "data/w.safetensors", "note.txt"]
    assert alice.describe("alice/described", revision, [], kind="dataset") == {}


def test_a_large_file_goes_up_in_parts(alice: HubClient, tmp_path: Path) -> None:
    large = CONTENT * 30
    alice.ensure_repo("alice/large")
    revision = alice.publish("alice/large", {"w.bin": large, "v.bin": large[::-1]}, message="m")
    digest = hashlib.sha256(large).hexdigest()
    fetched = alice.fetch("alice/large", revision, "w.bin", sha256=digest, size=len(large), into=tmp_path / "w")
    assert fetched.read_bytes() == large


def test_an_empty_file_can_be_published_and_fetched(alice: HubClient, tmp_path: Path) -> None:
    alice.ensure_repo("alice/empty")
    revision = alice.publish("alice/empty", {"none.txt": b""}, message="m")
    digest = hashlib.sha256(b"").hexdigest()
    assert (
        alice.fetch("alice/empty", revision, "none.txt", sha256=digest, size=0, into=tmp_path / "e").read_bytes() == b""
    )


def test_publishing_the_same_again_makes_no_new_commit(alice: HubClient) -> None:
    alice.ensure_repo("alice/same")
    first = alice.publish("alice/same", {"a.txt": b"1", "w.bin": CONTENT}, message="m")
    assert alice.publish("alice/same", {"a.txt": b"1", "w.bin": CONTENT}, message="again") == first


def test_a_stale_parent_is_a_retryable_error(alice: HubClient) -> None:
    alice.ensure_repo("alice/raced")
    parent = alice.head("alice/raced")
    alice.publish("alice/raced", {"a.txt": b"1"}, message="m", parent=parent)
    with pytest.raises(RetryableError, match="somebody else changed it first"):
        alice.publish("alice/raced", {"a.txt": b"2"}, message="m", parent=parent)


def test_of_parallel_commits_on_one_parent_exactly_one_wins(alice: HubClient) -> None:
    alice.ensure_repo("alice/parallel")
    parent = alice.head("alice/parallel")

    def attempt(number: int) -> str | None:
        try:
            return alice.publish("alice/parallel", {"n.txt": str(number).encode()}, message="m", parent=parent)
        except RetryableError:
            return None

    with ThreadPoolExecutor(8) as pool:
        revisions = [revision for revision in pool.map(attempt, range(8)) if revision]
    assert revisions == [alice.head("alice/parallel")]
    assert len(alice.history("alice/parallel")) == 2


def test_a_tag_may_be_set_again_but_not_moved(alice: HubClient) -> None:
    alice.ensure_repo("alice/tagged")
    first = alice.publish("alice/tagged", {"a.txt": b"1"}, message="m")
    second = alice.publish("alice/tagged", {"a.txt": b"2"}, message="m")
    alice.tag("alice/tagged", "release-1", first)
    alice.tag("alice/tagged", "release-1", first)
    assert alice.read_bytes("alice/tagged", "release-1", "a.txt", max_bytes=9) == b"1"
    with pytest.raises(RetryableError, match="exists already"):
        alice.tag("alice/tagged", "release-1", second)


def test_what_is_not_there_is_not_on_hub(alice: HubClient, tmp_path: Path) -> None:
    alice.ensure_repo("alice/some")
    head = alice.head("alice/some")
    for call in (
        lambda: alice.head("alice/none"),
        lambda: alice.describe("alice/some", REVISION, ["a"]),
        lambda: alice.list_files("alice/some", "no-branch"),
        lambda: alice.history("bob/none"),
        lambda: alice.read_bytes("alice/some", head, "none.txt", max_bytes=9),
        lambda: alice.fetch("alice/some", head, "none.txt", sha256=DIGEST, size=9, into=tmp_path / "x"),
        lambda: alice.publish("alice/none", {"a": b"1"}, message="m"),
    ):
        with pytest.raises(NotOnHub):
            call()
    assert list(tmp_path.iterdir()) == []


def test_impossible_names_never_reach_the_network(tmp_path: Path) -> None:
    client = HubClient("http://127.0.0.1:9", timeout_s=1.0)
    for repo in (
        "",
        "alice",
        "alice/",
        "/model",
        "a/b/c",
        "../x",
        "alice/..",
        "alice/a b",
        "alice/x.git",
        "a/b?c",
        "é/x",
    ):
        with pytest.raises(NotOnHub, match="cannot be a repository"):
            client.head(repo)
    for path in ("", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "a/.git/config", "a\nb", "x" * 2000):
        with pytest.raises(NotOnHub, match="cannot be a path"):
            client.describe("alice/x", REVISION, [path])
        with pytest.raises(NotOnHub, match="cannot be a path"):
            client.publish("alice/x", {path: b""}, message="m")
    for revision in ("main", "a" * 39, "A" * 40, "../" + "a" * 37):
        with pytest.raises(NotOnHub, match="not an immutable revision"):
            client.fetch("alice/x", revision, "w", sha256=DIGEST, size=1, into=tmp_path / "w")
    with pytest.raises(NotOnHub, match="cannot be a revision"):
        client.list_files("alice/x", "../../etc")


def test_a_private_repository_looks_absent_to_others(hub: RunningHub, alice: HubClient, bob: HubClient) -> None:
    alice.ensure_repo("alice/secret", private=True)
    assert alice.head("alice/secret")
    for stranger in (bob, HubClient(hub.url)):
        with pytest.raises(NotOnHub):
            stranger.head("alice/secret")


def test_missing_rights_stop_the_node_with_one_clear_line(hub: RunningHub, alice: HubClient, bob: HubClient) -> None:
    alice.ensure_repo("alice/mine")
    reader = HubClient(hub.url, token=mint_token(hub.root, "alice", role="read"))
    for call in (
        lambda: bob.ensure_repo("alice/mine"),
        lambda: bob.ensure_repo("alice/new"),
        lambda: bob.publish("alice/mine", {"a": b"1"}, message="m"),
        lambda: HubClient(hub.url).publish("alice/mine", {"w.bin": CONTENT}, message="m"),
        lambda: reader.publish("alice/mine", {"a": b"1"}, message="m"),
        lambda: bob.tag("alice/mine", "t", alice.head("alice/mine")),
    ):
        with pytest.raises(ConfigError, match=r"alice/.*write access") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_wrong_token_is_a_config_error(hub: RunningHub, alice: HubClient) -> None:
    assert alice.whoami() == "alice"
    for client in (HubClient(hub.url), HubClient(hub.url, token="hf_wrong")):
        with pytest.raises(ConfigError):
            client.whoami()
    with pytest.raises(ConfigError, match="wrong or expired"):
        HubClient(hub.url, token="hf_wrong").head("alice/any")


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://host", "http://"])
def test_an_unusable_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match="Hub URL"):
        HubClient(url)


def test_a_small_read_stops_at_its_limit(alice: HubClient) -> None:
    alice.ensure_repo("alice/big-note")
    revision = alice.publish("alice/big-note", {"n.txt": b"x" * 1000}, message="m")
    with pytest.raises(CorruptDownload, match="1000 bytes, at most 999"):
        alice.read_bytes("alice/big-note", revision, "n.txt", max_bytes=999)


def test_a_broken_download_is_resumed_by_range(alice: HubClient, tmp_path: Path) -> None:
    alice.ensure_repo("alice/resumed")
    revision = alice.publish("alice/resumed", {"w.bin": CONTENT}, message="m")
    for leftover in (CONTENT[:1000], CONTENT, b"other bytes", CONTENT + b"more"):
        into = tmp_path / "w"
        into.with_name("w.part").write_bytes(leftover)
        alice.fetch("alice/resumed", revision, "w.bin", sha256=DIGEST, size=len(CONTENT), into=into)
        assert into.read_bytes() == CONTENT
        assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_client_prints_nothing_and_reads_no_environment(hub: RunningHub, tmp_path: Path) -> None:
    code = (
        "import sys; from hub.client import HubClient; c = HubClient(sys.argv[1], token=sys.argv[2])\n"
        "c.ensure_repo('carol/quiet'); c.publish('carol/quiet', {'w.bin': b'1' * 3000000}, message='m')\n"
        "c.publish('carol/quiet', {'w.bin': b'1' * 3000000}, message='m')\n"
        "try: HubClient(sys.argv[1]).whoami()\n"
        "except Exception as error: assert 'no Hub token' in str(error)\n"
        "assert HubClient(sys.argv[1]).head('carol/quiet')\n"
    )
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_implicit", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, hub.url, mint_token(hub.root, "carol")]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What a hostile or broken Hub answers


def test_a_flipped_byte_is_corrupt(tmp_path: Path) -> None:
    flipped = CONTENT[:-1] + b"\x00"

    def lie(peer: socket.socket, _: str) -> None:
        peer.sendall(headers(len(flipped)) + flipped)

    with server_that(lie) as url, pytest.raises(CorruptDownload, match="sha256"):
        fetch_from(url, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("announced", [len(CONTENT) - 1, len(CONTENT) + 1, 10**15])
def test_a_wrong_length_is_refused_before_the_body(announced: int, tmp_path: Path) -> None:
    def announce(peer: socket.socket, _: str) -> None:
        peer.sendall(headers(announced))

    with server_that(announce) as url, pytest.raises(CorruptDownload, match="want 102400"):
        fetch_from(url, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_an_endless_body_is_cut_at_the_promised_size(tmp_path: Path) -> None:
    sent = 0

    def pour(peer: socket.socket, _: str) -> None:
        nonlocal sent
        peer.sendall(headers(None))
        while True:
            sent += peer.send(b"x" * 65536)

    with server_that(pour) as url, pytest.raises(CorruptDownload, match="more than"):
        fetch_from(url, tmp_path / "w")
    assert sent < 50 << 20
    assert list(tmp_path.iterdir()) == []


def test_a_short_body_without_a_length_is_corrupt(tmp_path: Path) -> None:
    def stop_short(peer: socket.socket, _: str) -> None:
        peer.sendall(headers(None) + CONTENT[:500])

    with server_that(stop_short) as url, pytest.raises(CorruptDownload, match="500 bytes, want"):
        fetch_from(url, tmp_path / "w")


def test_a_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    def bomb(peer: socket.socket, _: str) -> None:
        peer.sendall(headers(len(CONTENT), **{"Content-Encoding": "gzip"}) + CONTENT[::-1])

    with server_that(bomb) as url, pytest.raises(CorruptDownload, match="sha256"):
        fetch_from(url, tmp_path / "w")


def drip_body(peer: socket.socket, _: str) -> None:
    peer.sendall(headers(len(CONTENT)))
    for position in range(len(CONTENT)):
        peer.sendall(CONTENT[position : position + 1])
        time.sleep(0.05)


def drip_headers(peer: socket.socket, _: str) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nX-Filler: ")
    while True:
        peer.sendall(b"a")
        time.sleep(0.05)


def stay_silent(peer: socket.socket, _: str) -> None:
    time.sleep(20)


@pytest.mark.parametrize("answer", [drip_body, drip_headers, stay_silent])
def test_a_slow_server_cannot_stretch_the_deadline_of_a_download(answer: Answer, tmp_path: Path) -> None:
    started = time.monotonic()
    with server_that(answer) as url, pytest.raises(HubTrouble, match="too slow") as caught:
        fetch_from(url, tmp_path / "w", deadline_s=0.7)
    assert url in str(caught.value)
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("answer", [drip_body, drip_headers, stay_silent])
def test_a_slow_server_cannot_stretch_a_metadata_call(answer: Answer) -> None:
    with server_that(answer) as url:
        client = HubClient(url, token="hf_x", timeout_s=0.3)
        for call in (
            client.whoami,
            lambda: client.list_files("alice/x", REVISION),
            lambda: client.publish("alice/x", {"w.bin": CONTENT}, message="m", deadline_s=0.3),
        ):
            started = time.monotonic()
            with pytest.raises(RetryableError):
                call()
            assert time.monotonic() - started < 1.2


def test_a_reset_connection_is_retried_and_then_resumed(tmp_path: Path) -> None:
    ranges = []

    def reset_halfway(peer: socket.socket, head: str) -> None:
        asked = next((line for line in head.split("\r\n") if line.lower().startswith("range:")), "")
        ranges.append(asked.partition("=")[2])
        start = int(asked.partition("=")[2].rstrip("-") or 0)
        content_range = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        status = "206 Partial Content" if start else "200 OK"
        peer.sendall(headers(len(CONTENT) - start, status, **content_range))
        if start:
            peer.sendall(CONTENT[start:])
            return
        peer.sendall(CONTENT[:5000])
        time.sleep(0.1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with server_that(reset_halfway) as url:
        assert fetch_from(url, tmp_path / "w").read_bytes() == CONTENT
    assert ranges == ["", "5000-"]


def test_a_server_that_always_resets_ends_as_trouble(tmp_path: Path) -> None:
    def reset(peer: socket.socket, _: str) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with server_that(reset) as url, pytest.raises(HubTrouble, match=url):
        fetch_from(url, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_range_is_corrupt(tmp_path: Path) -> None:
    def shifted(peer: socket.socket, _: str) -> None:
        peer.sendall(headers(10, "206 Partial Content", **{"Content-Range": "bytes 7-16/17"}) + b"x" * 10)

    (tmp_path / "w.part").write_bytes(CONTENT[:100])
    with server_that(shifted) as url, pytest.raises(CorruptDownload, match="asked for bytes from 100"):
        fetch_from(url, tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ignores_the_range_is_read_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT[:100])
    with server_that(lambda peer, _: peer.sendall(headers(len(CONTENT)) + CONTENT)) as url:
        assert fetch_from(url, tmp_path / "w").read_bytes() == CONTENT


def test_an_outage_is_never_taken_for_an_absent_file(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for status in ("500 Oops", "503 Busy", "404 Not Found", "403 Forbidden", "418 Teapot"):
        with server_that(lambda peer, _, status=status: peer.sendall(headers(0, status))) as url:
            with pytest.raises(RetryableError, match=url) as caught:
                fetch_from(url, tmp_path / "w")
            assert not isinstance(caught.value, NotOnHub)
    with pytest.raises(HubTrouble, match=refused):
        HubClient(refused).head("alice/x")


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b"null", b'{"sha": 5}', b'[{"type": "file", "path": 1, "size": "x", "oid": 2}]']
)
def test_an_unreadable_answer_is_retryable(body: bytes) -> None:
    with server_that(lambda peer, _: peer.sendall(headers(len(body)) + body)) as url:
        client = HubClient(url, timeout_s=2.0)
        with pytest.raises(RetryableError):
            client.head("alice/x")
        with pytest.raises(RetryableError):
            client.publish("alice/x", {"a": b"1"}, message="m", deadline_s=2.0)
        if body != b"[]":
            with pytest.raises(RetryableError):
                client.list_files("alice/x", REVISION)


def test_an_endless_listing_ends_at_its_limit() -> None:
    def pour(peer: socket.socket, _: str) -> None:
        peer.sendall(headers(None) + b'["')
        while True:
            peer.sendall(b"x" * 65536)

    with server_that(pour) as url, pytest.raises(HubTrouble, match="larger than any that is wanted"):
        HubClient(url, timeout_s=5.0).head("alice/x")


def test_a_rate_limit_is_waited_out_inside_the_deadline() -> None:
    answered = []

    def limit_once(peer: socket.socket, _: str) -> None:
        answered.append(time.monotonic())
        if len(answered) == 1:
            limits = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=1;w=300'}
            peer.sendall(headers(0, "429 Too Many Requests", **limits))
            return
        body = b'{"id": "alice/x", "sha": "%s", "siblings": []}' % REVISION.encode()
        peer.sendall(headers(len(body)) + body)

    with server_that(limit_once) as url:
        assert HubClient(url, timeout_s=5.0).head("alice/x") == REVISION
    assert answered[1] - answered[0] >= 1.0


@pytest.mark.parametrize("pause", [{"RateLimit": '"api";r=0;t=290'}, {"Retry-After": "290"}, {}])
def test_a_rate_limit_beyond_the_deadline_is_given_up_at_once(pause: dict[str, str]) -> None:
    with server_that(lambda peer, _: peer.sendall(headers(0, "429 Too Many Requests", **pause))) as url:
        started = time.monotonic()
        with pytest.raises(HubTrouble, match="rate limit"):
            HubClient(url, token="hf_x", timeout_s=2.0).publish("alice/x", {"a": b"1"}, message="m", deadline_s=2.0)
        assert time.monotonic() - started < 1.0


def test_a_token_does_not_follow_a_redirect_to_another_host(tmp_path: Path) -> None:
    seen = []

    def deliver(peer: socket.socket, head: str) -> None:
        seen.append(head.lower())
        peer.sendall(headers(len(CONTENT)) + CONTENT)

    with server_that(deliver) as storage:
        elsewhere = storage.replace("127.0.0.1", "localhost")
        with server_that(lambda peer, _: peer.sendall(headers(0, "302 Found", Location=elsewhere + "/blob"))) as url:
            client = HubClient(url, token="hf_secret")
            fetched = client.fetch("alice/x", REVISION, "w.bin", sha256=DIGEST, size=len(CONTENT), into=tmp_path / "w")
    assert fetched.read_bytes() == CONTENT
    assert "hf_secret" not in seen[0]


def test_clients_with_different_timeouts_live_side_by_side(alice: HubClient) -> None:
    alice.ensure_repo("alice/patient")
    with server_that(stay_silent) as url:
        for timeout_s in (0.2, 0.6):
            started = time.monotonic()
            with pytest.raises(HubTrouble, match="too slow"):
                HubClient(url, timeout_s=timeout_s).head("alice/x")
            assert timeout_s <= time.monotonic() - started < timeout_s + 0.5
    assert alice.head("alice/patient")
