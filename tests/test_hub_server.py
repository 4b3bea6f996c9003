"""The embedded Hub at the level of single requests: what it refuses, what it hides, and which ids it gives out."""

import base64
import hashlib
import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivetune.errors import ConfigError
from hub.server.app import RunningHub, running_hub
from hub.server.errors import HubError
from hub.server.gitobjects import Entry, commit_id, folder_ids, inline_entry, lfs_entry, lfs_pointer
from hub.server.names import check_path
from hub.server.ratelimit import RateLimiter
from hub.server.routing import Limits
from hub.server.tokens import mint_token

BLOB = b"weights" * 1000
DIGEST = hashlib.sha256(BLOB).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded


@dataclass(frozen=True, slots=True)
class Peer:
    """Speaks to a Hub with raw paths, as one owner or as nobody."""

    hub: RunningHub
    token: str | None = None

    def ask(self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Reply:
        payload = body if isinstance(body, bytes) else (None if body is None else json.dumps(body).encode())
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=20)
        try:
            connection.request(method, path, payload, sent)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def create(self, name: str, **fields: object) -> Reply:
        return self.ask("POST", "/api/repos/create", {"name": name, **fields})

    def commit(self, repo: str, *operations: tuple[str, object], branch: str = "main") -> Reply:
        lines = [json.dumps({"key": key, "value": value}) for key, value in operations]
        return self.ask("POST", f"/api/models/{repo}/commit/{branch}", "\n".join(lines).encode())

    def upload_link(self, repo: str, sha256: str = DIGEST, size: int = len(BLOB)) -> str | None:
        """None if the repository holds the bytes already."""
        body = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": sha256, "size": size}]}
        reply = self.ask("POST", f"/{repo}.git/info/lfs/objects/batch", body)
        assert reply.status == 200, reply
        answer = json.loads(reply.body)["objects"][0]
        if "actions" not in answer:
            return None
        link = urlsplit(answer["actions"]["upload"]["href"])
        return f"{link.path}?{link.query}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    limits = Limits(json_body=10_000, commit_body=50_000, file=1 << 20, part=4000, silence_s=0.5)
    with running_hub(tmp_path_factory.mktemp("hub"), limits=limits) as running:
        yield running


@pytest.fixture
def alice(hub: RunningHub) -> Peer:
    return Peer(hub, mint_token(hub.root, "alice"))


@pytest.fixture
def bob(hub: RunningHub) -> Peer:
    return Peer(hub, mint_token(hub.root, "bob"))


@pytest.fixture
def nobody(hub: RunningHub) -> Peer:
    return Peer(hub)


def inline(path: str, data: bytes = b"text") -> tuple[str, object]:
    return "file", {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def files_of(peer: Peer, repo: str, revision: str = "main") -> list[str]:
    items = json.loads(peer.ask("GET", f"/api/models/{repo}/tree/{revision}?recursive=true").body)
    return [item["path"] for item in items if item["type"] == "file"]


# Who may do what


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/repos/create"),
        ("DELETE", "/api/repos/delete"),
        ("POST", "/api/models/alice/open/commit/main"),
        ("POST", "/api/models/alice/open/preupload/main"),
        ("POST", "/alice/open.git/info/lfs/objects/batch"),
        ("POST", "/api/models/alice/open/tag/main"),
        ("POST", "/api/models/alice/open/branch/dev"),
        ("DELETE", "/api/models/alice/open/tag/v1"),
        ("DELETE", "/api/models/alice/open/branch/dev"),
    ],
)
def test_every_write_needs_a_write_token(method: str, path: str, hub: RunningHub, alice: Peer, nobody: Peer) -> None:
    alice.create("open")
    reader = Peer(hub, mint_token(hub.root, "alice", role="read"))
    assert nobody.ask(method, path, {}).status == 401
    assert reader.ask(method, path, {}).status == 403
    assert Peer(hub, "hf_wrong").ask(method, path, {}).status == 401


def test_another_owners_repository_cannot_be_written(alice: Peer, bob: Peer) -> None:
    alice.create("guarded")
    attempts = (
        bob.create("guarded", organization="alice"),
        bob.commit("alice/guarded", ("header", {"summary": "m"}), inline("a.txt")),
        bob.ask("POST", "/api/models/alice/guarded/preupload/main", {"files": []}),
        bob.ask("POST", "/alice/guarded.git/info/lfs/objects/batch", {"objects": []}),
        bob.ask("POST", "/api/models/alice/guarded/tag/main", {"tag": "v"}),
        bob.ask("DELETE", "/api/repos/delete", {"name": "guarded", "organization": "alice"}),
    )
    assert [reply.status for reply in attempts] == [403] * 6
    assert files_of(alice, "alice/guarded") == [".gitattributes"]


def test_a_private_repository_answers_like_an_absent_one(alice: Peer, bob: Peer, nobody: Peer) -> None:
    alice.create("hidden", visibility="private")
    alice.commit("alice/hidden", ("header", {"summary": "m"}), inline("a.txt"))
    assert alice.ask("GET", "/alice/hidden/resolve/main/a.txt").body == b"text"
    for path in ("/api/models/alice/{}", "/alice/{}/resolve/main/a.txt", "/api/models/alice/{}/tree/main"):
        for peer, status in ((bob, 404), (nobody, 401)):
            hidden, absent = peer.ask("GET", path.format("hidden")), peer.ask("GET", path.format("absent"))
            assert hidden.status == absent.status == status
            assert hidden.body == absent.body
            assert hidden.headers["X-Error-Code"] == "RepoNotFound"


def test_tokens_are_stored_as_hashes_only(hub: RunningHub) -> None:
    token = mint_token(hub.root, "dora", token="a-secret-of-my-own")
    assert Peer(hub, token).ask("GET", "/api/whoami-v2").json["name"] == "dora"
    assert all(token.encode() not in path.read_bytes() for path in hub.root.rglob("*") if path.is_file())
    for owner, role, text in (("a/b", "write", None), ("a", "admin", None), ("a", "read", ""), ("a", "read", "a b")):
        with pytest.raises(ConfigError):
            mint_token(hub.root, owner, role=role, token=text)  # type: ignore[arg-type]


# Uploads


def test_uploaded_bytes_can_be_committed_and_read_back_by_range(alice: Peer, nobody: Peer) -> None:
    alice.create("upload")
    link = alice.upload_link("alice/upload")
    assert link is not None
    put = nobody.ask("PUT", link, BLOB)
    assert (put.status, put.headers["ETag"]) == (200, f'"{DIGEST}"')
    assert alice.upload_link("alice/upload") is None
    lfs = {"path": "w.bin", "algo": "sha256", "oid": DIGEST, "size": len(BLOB)}
    assert alice.commit("alice/upload", ("header", {"summary": "m"}), ("lfsFile", lfs)).status == 200
    whole = nobody.ask("GET", "/alice/upload/resolve/main/w.bin")
    assert (whole.body, whole.headers["ETag"]) == (BLOB, f'"{DIGEST}"')
    part = nobody.ask("GET", "/alice/upload/resolve/main/w.bin", headers={"Range": "bytes=7-13"})
    assert (part.status, part.body) == (206, b"weights")
    assert part.headers["Content-Range"] == f"bytes 7-13/{len(BLOB)}"
    assert nobody.ask("GET", "/alice/upload/resolve/main/w.bin", headers={"Range": "bytes=9999999-"}).status == 416
    head = nobody.ask("HEAD", "/alice/upload/resolve/main/w.bin")
    assert (head.status, head.body, head.headers["X-Linked-Size"]) == (200, b"", str(len(BLOB)))
    assert len(head.headers["X-Repo-Commit"]) == 40


@pytest.mark.parametrize("sent", [b"", BLOB[:-1], BLOB + b"!", BLOB[::-1]])
def test_wrong_bytes_are_refused_and_leave_nothing(sent: bytes, hub: RunningHub, alice: Peer, nobody: Peer) -> None:
    digest = hashlib.sha256(b"wrong" + sent).hexdigest()
    alice.create("wrong")
    link = alice.upload_link("alice/wrong", digest)
    assert link is not None
    assert nobody.ask("PUT", link, sent).status == 400
    assert alice.upload_link("alice/wrong", digest) is not None
    assert list((hub.root / "incoming").iterdir()) == []
    assert not list((hub.root / "blobs").rglob(digest))
    lfs = {"path": "w.bin", "algo": "sha256", "oid": digest, "size": len(BLOB)}
    assert alice.commit("alice/wrong", ("header", {"summary": "m"}), ("lfsFile", lfs)).status == 400


def test_a_link_is_good_for_what_it_was_signed_for_only(alice: Peer, nobody: Peer) -> None:
    alice.create("signed")
    data = b"signed bytes"
    digest = hashlib.sha256(data).hexdigest()
    link = alice.upload_link("alice/signed", digest, len(data))
    assert link is not None
    path, _, signature = link.partition("?")
    _, _, repo, _, size, expires, part = path.split("/")
    other = hashlib.sha256(b"other").hexdigest()
    for forged in (
        f"/_lfs/{repo}/{other}/{size}/{expires}/{part}?{signature}",
        f"/_lfs/{int(repo) + 1}/{digest}/{size}/{expires}/{part}?{signature}",
        f"/_lfs/{repo}/{digest}/{int(size) + 1}/{expires}/{part}?{signature}",
        f"/_lfs/{repo}/{digest}/{size}/{int(expires) + 1}/{part}?{signature}",
        f"/_lfs/{repo}/{digest}/{size}/1/{part}?{signature}",
        f"/_lfs/{repo}/{digest}/{size}/{expires}/1?{signature}",
        f"{path}?sig=",
        f"{path}?sig=%C3%A9",
        path,
    ):
        assert nobody.ask("PUT", forged, data).status == 403, forged
    assert nobody.ask("POST", link, data).status == 405
    assert nobody.ask("PUT", "/_lfs/../../etc/passwd", data).status == 404
    assert nobody.ask("PUT", link, data).status == 200


def test_knowing_a_digest_does_not_open_another_owners_bytes(alice: Peer, bob: Peer, nobody: Peer) -> None:
    secret = b"private weights"
    digest = hashlib.sha256(secret).hexdigest()
    alice.create("vault", visibility="private")
    link = alice.upload_link("alice/vault", digest, len(secret))
    assert link is not None
    assert nobody.ask("PUT", link, secret).status == 200
    bob.create("thief")
    lfs = {"path": "w.bin", "algo": "sha256", "oid": digest, "size": len(secret)}
    assert bob.commit("bob/thief", ("header", {"summary": "m"}), ("lfsFile", lfs)).status == 400
    assert bob.upload_link("bob/thief", digest, len(secret)) is not None
    assert files_of(bob, "bob/thief") == [".gitattributes"]


def test_deleting_a_repository_frees_only_bytes_that_no_other_holds(hub: RunningHub, alice: Peer, bob: Peer) -> None:
    shared, own = b"shared by two", b"held by one"
    alice.create("leaving")
    bob.create("staying")
    for peer, repo, data in (
        (alice, "alice/leaving", own),
        (alice, "alice/leaving", shared),
        (bob, "bob/staying", shared),
    ):
        assert peer.commit(repo, ("header", {"summary": "m"}), inline(f"{len(data)}.txt", data)).status == 200
    assert alice.ask("DELETE", "/api/repos/delete", {"name": "leaving"}).status == 200
    kept = {path.name for path in (hub.root / "blobs").rglob("*") if path.is_file()}
    assert hashlib.sha256(shared).hexdigest() in kept
    assert hashlib.sha256(own).hexdigest() not in kept
    assert alice.ask("GET", "/api/models/alice/leaving").status == 404
    assert bob.ask("GET", "/bob/staying/resolve/main/13.txt").body == shared


# Hostile requests


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/", "a\\b", ".git/config", "a/.GIT/x"),
        *("a\x00b", "a\nb", "x" * 1025, "x" * 256, "\ud800"),
    ],
)
def test_bad_paths_cannot_be_committed(path: str, alice: Peer) -> None:
    alice.create("paths")
    assert alice.commit("alice/paths", ("header", {"summary": "m"}), inline(path)).status == 400
    assert files_of(alice, "alice/paths") == [".gitattributes"]


@pytest.mark.parametrize(
    "path",
    [
        "/alice/walk/resolve/main/../../../../etc/passwd",
        "/alice/walk/resolve/main/..%2F..%2F..%2Fhub.sqlite",
        "/alice/walk/resolve/main/%2e%2e/%2e%2e/signing.key",
        "/alice/walk/resolve/..%2F..%2Fmain/.gitattributes",
        "/alice/walk/resolve/main//etc/passwd",
        "/alice/walk/raw/main/%00",
        "/../../etc/passwd",
        "/api/models/alice/walk/tree/main/..%2F..",
        "/api/models/..%2F../walk/tree/main",
        "/api/spaces/alice/walk",
        "/" + "a" * 5000,
    ],
)
def test_no_url_leads_out_of_a_repository(path: str, alice: Peer) -> None:
    alice.create("walk")
    assert alice.ask("GET", path).status == 404


def test_malformed_requests_are_bad_requests(alice: Peer) -> None:
    alice.create("malformed")
    repo = "/api/models/alice/malformed"
    header = ("header", {"summary": "m"})
    deep = b"[" * 5000
    replies = {
        "no json": alice.ask("POST", "/api/repos/create", b"{"),
        "not an object": alice.ask("POST", "/api/repos/create", []),
        "deep": alice.ask("POST", "/api/repos/create", deep),
        "no name": alice.ask("POST", "/api/repos/create", {}),
        "name type": alice.ask("POST", "/api/repos/create", {"name": 5}),
        "kind": alice.create("x", type="space"),
        "preupload": alice.ask("POST", repo + "/preupload/main", {"files": [{"path": "a", "size": -1}]}),
        "preupload list": alice.ask("POST", repo + "/preupload/main", {"files": {}}),
        "batch": alice.ask("POST", "/alice/malformed.git/info/lfs/objects/batch", {"objects": [{"oid": 1}]}),
        "commit not json": alice.ask("POST", repo + "/commit/main", b"\xff\xfe"),
        "commit key": alice.commit("alice/malformed", header, ("explode", {})),
        "commit base64": alice.commit("alice/malformed", header, ("file", {"path": "a", "content": "*"})),
        "commit parent": alice.commit("alice/malformed", ("header", {"summary": "m", "parentCommit": "xyz"})),
        "commit title": alice.commit("alice/malformed", ("header", {"summary": ["m"]})),
        "commit lfs": alice.commit("alice/malformed", header, ("lfsFile", {"path": "a", "oid": "../../etc"})),
        "clash": alice.commit("alice/malformed", header, inline("a"), inline("a/b")),
        "tag name": alice.ask("POST", repo + "/tag/main", {"tag": "../x"}),
        "tag like a commit": alice.ask("POST", repo + "/tag/main", {"tag": "a" * 40}),
        "page": alice.ask("GET", repo + "/tree/main?p=x"),
        "paths": alice.ask("POST", repo + "/paths-info/main", b"paths=a&" * 1100),
    }
    assert {name: reply.status for name, reply in replies.items()} == dict.fromkeys(replies, 400)
    assert all("error" in reply.json for reply in replies.values())
    for name in ("..", "a..b", "a--b", "x.git", "-x", "é", "a" * 97, "a/b", "dot."):
        assert alice.create(name).status == 400


def test_an_oversized_body_is_refused(alice: Peer) -> None:
    alice.create("size")
    assert alice.ask("POST", "/api/models/alice/size/preupload/main", b" " * 10_001).status == 413
    assert alice.commit("alice/size", inline("a", b"x" * 50_000)).status == 413
    body = {"objects": [{"oid": DIGEST, "size": (1 << 20) + 1}]}
    answer = alice.ask("POST", "/alice/size.git/info/lfs/objects/batch", body).json
    assert '"code": 422' in json.dumps(answer)


def test_a_sender_that_falls_silent_is_cut_off(hub: RunningHub, alice: Peer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
    connection.putrequest("POST", "/api/repos/create")
    connection.putheader("Authorization", f"Bearer {alice.token}")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


# Commits and refs


def test_of_racing_commits_with_one_parent_exactly_one_wins(alice: Peer) -> None:
    alice.create("race")
    parent = alice.ask("GET", "/api/models/alice/race").json["sha"]
    start = threading.Barrier(12)

    def attempt(number: int) -> int:
        start.wait()
        header = ("header", {"summary": str(number), "parentCommit": parent})
        return alice.commit("alice/race", header, inline("n.txt", str(number).encode())).status

    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(attempt, range(12)))
    assert statuses == [200] + [412] * 11
    assert len(json.loads(alice.ask("GET", "/api/models/alice/race/commits/main").body)) == 2


def test_racing_commits_without_a_parent_are_all_kept(alice: Peer) -> None:
    alice.create("crowd")
    with ThreadPoolExecutor(8) as pool:
        operations = [(("header", {"summary": "m"}), inline(f"{number}.txt")) for number in range(24)]
        statuses = list(pool.map(lambda pair: alice.commit("alice/crowd", *pair).status, operations))
    assert statuses == [200] * 24
    assert len(files_of(alice, "alice/crowd")) == 25


def test_files_and_folders_can_be_deleted_but_not_twice(alice: Peer) -> None:
    alice.create("shrink")
    header = ("header", {"summary": "m"})
    alice.commit("alice/shrink", header, inline("a.txt"), inline("d/b.txt"), inline("d/c.txt"))
    for operation in (("deletedFile", {"path": "a.txt"}), ("deletedFolder", {"path": "d/"})):
        assert alice.commit("alice/shrink", header, operation).status == 200
        again = alice.commit("alice/shrink", header, operation)
        assert (again.status, again.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert files_of(alice, "alice/shrink") == [".gitattributes"]


def test_refs_with_slashes_are_routed_undecoded(alice: Peer) -> None:
    alice.create("refs")
    repo = "/api/models/alice/refs"
    assert alice.ask("POST", f"{repo}/tag/main", {"tag": "v/1"}).status == 200
    assert alice.ask("POST", f"{repo}/tag/main", {"tag": "v/1"}).status == 409
    assert alice.ask("GET", f"{repo}/revision/{quote('v/1', safe='')}").status == 200
    assert alice.ask("GET", f"{repo}/revision/v/1").status == 404
    assert alice.ask("DELETE", f"{repo}/branch/main").status == 403
    gone = alice.ask("DELETE", f"{repo}/tag/none")
    assert (gone.status, gone.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert alice.commit("alice/refs", inline("a.txt"), branch=quote("v/1", safe="")).status == 404


def test_long_listings_come_in_pages_by_link(alice: Peer) -> None:
    alice.create("pages")
    for number in range(55):
        alice.commit("alice/pages", ("header", {"summary": str(number)}), inline("n.txt", str(number).encode()))
    first = alice.ask("GET", "/api/models/alice/pages/commits/main")
    link = urlsplit(first.headers["Link"].partition(">")[0].lstrip("<"))
    second = alice.ask("GET", f"{link.path}?{link.query}")
    assert (len(json.loads(first.body)), len(json.loads(second.body)), second.headers["Link"]) == (50, 6, None)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_ids_are_those_of_git(tmp_path: Path) -> None:
    sizes = {"a.b": 1, "a/b": 2, "a-b": 3, "a/c/d": 4, "a0": 5, "z.bin": 6, "é/ü": 7}
    entries: dict[str, Entry] = {}
    for path, size in sizes.items():
        data = b"x" * size
        is_large = path.endswith(".bin")
        sha256 = hashlib.sha256(data).hexdigest()
        entries[path] = lfs_entry(sha256, size) if is_large else inline_entry(data)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(lfs_pointer(sha256, size) if is_large else data)

    def git(*arguments: str) -> str:
        identity = {name: "alice" for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME")}
        identity |= {name: "alice@hub" for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")}
        identity |= {name: "@1700000000 +0000" for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE")}
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path), **identity}
        done = subprocess.run(
            ["git", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", "-A")
    tree = git("write-tree")
    assert folder_ids(entries)[""] == tree
    assert folder_ids(entries)["a"] == git("rev-parse", f"{tree}:a")
    wanted = git("commit-tree", tree, "-m", "title")
    assert commit_id(tree=tree, parent=None, author="alice", message="title\n", unix_time=1700000000) == wanted


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_path_that_is_accepted_stays_inside_any_folder(path: str) -> None:
    try:
        check_path(path)
    except HubError:
        return
    root = Path("/root/of/repo")
    assert root in (root / path).parents
    assert ".." not in path.split("/")


# Limits and processes


def test_a_rate_limit_is_announced_as_the_client_reads_it(tmp_path: Path) -> None:
    with running_hub(tmp_path, rate_limits={"api": (3, 3600)}) as limited:
        alice = Peer(limited, mint_token(tmp_path, "alice"))
        assert [alice.ask("GET", "/api/whoami-v2").status for _ in range(4)] == [200, 200, 200, 429]
        refused = alice.ask("GET", "/api/whoami-v2")
        assert refused.headers["RateLimit"].startswith('"api";r=0;t=')
        assert refused.headers["RateLimit-Policy"] == '"fixed window";"api";q=3;w=3600'
        bob = Peer(limited, mint_token(tmp_path, "bob"))
        assert bob.ask("GET", "/api/whoami-v2").status == 200
        assert alice.ask("GET", "/alice/x/resolve/main/a").status == 404


@pytest.mark.parametrize("limits", [{"nonsense": (1, 1)}, {"api": (-1, 1)}, {"api": (1, 0)}])
def test_an_impossible_rate_limit_is_a_config_error(limits: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(ConfigError, match="rate limit"):
        RateLimiter(limits)


def test_a_second_server_on_the_same_folder_or_port_is_refused(hub: RunningHub) -> None:
    with pytest.raises(ConfigError, match="another Hub serves"):
        RunningHub(hub.root).run()
    with pytest.raises(ConfigError, match="cannot listen"):
        RunningHub(hub.root, port=hub.port)
