"""Following the owner's pointer: what is taken, what is refused, and what stands on disk."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from hivetune.commitments import ReceiptPointer, ReleasePointer, SubmissionPointer, pack
from hivetune.errors import RetryableError
from hivetune.model import BaseModel
from hivetune.records import Parent, Release
from hivetune.releases import MANIFEST_NAME, ReleaseFollower, read_pointers
from tests.conftest import entry_of, locate, make_layout, make_release

REPO = "owner/releases"


@dataclass(frozen=True)
class OnChain:
    block: int
    data: bytes


@dataclass
class Chain:
    """The owner's one commitment."""

    pointer: OnChain | None = None

    def owner_hotkey(self) -> str:
        return "5Owner"

    def commitment(self, hotkey: str, at: str | None = None) -> OnChain | None:
        assert hotkey == "5Owner"
        return self.pointer


@dataclass
class Store:
    """Files by repository, revision and path. Like the Hub client, it hands out verified bytes or raises."""

    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def read_bytes(self, repo: str, revision: str, path: str, *, max_bytes: int) -> bytes:
        if (repo, revision, path) not in self.files:
            raise RetryableError(f"{repo} has no {path} at {revision}")
        return self.files[repo, revision, path]

    def fetch(
        self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path,
        kind: Literal["model", "dataset"] = "model",
    ) -> Path:  # fmt: skip
        data = self.read_bytes(repo, revision, path, max_bytes=size)
        entry = entry_of(path, data)
        if (entry.sha256, entry.size) != (sha256, size):
            raise RetryableError(f"{path}: other bytes than promised")
        self.fetched.append(path)
        into.write_bytes(data)
        return into


class Owner:
    """Publishes releases one after another, honestly or not."""

    def __init__(self, base: BaseModel) -> None:
        self.chain, self.store = Chain(), Store()
        self._first = make_release(make_layout(base), files=(entry_of("config.json", b"0"), entry_of("w/x", b"w0")))
        self.published: list[tuple[Release, str]] = []  # with revisions

    def publish(self, *, block: int, text: str = "", change: Callable[[Release], Release] = lambda r: r) -> Release:
        """The next release, set on the chain in a block; `text` makes it another one of the same number."""
        number = len(self.published)
        parent = None
        if self.published:
            last, revision = self.published[-1]
            parent = Parent(manifest_sha256=last.digest(), repo=REPO, revision=revision)
        config = f"{number}{text}".encode()
        files = (entry_of("config.json", config), entry_of("w/x", f"w{number}".encode()))
        release = change(self._first.model_copy(update={"number": number, "parent": parent, "files": files}))
        revision = locate(release).sha256[:40]
        self.published.append((release, revision))
        self.store.files |= {
            (REPO, revision, MANIFEST_NAME): release.to_bytes(),
            (REPO, revision, "config.json"): config,
            (REPO, revision, "w/x"): f"w{number}".encode(),
        }
        self.point_at(release, revision, block=block)
        return release

    def point_at(self, release: Release, revision: str, *, block: int, number: int | None = None) -> None:
        pointer = ReleasePointer(
            number=release.number if number is None else number,
            manifest_sha256=release.digest(),
            revision=revision,
            repo=REPO,
        )
        self.chain.pointer = OnChain(block, pack(pointer))


@pytest.fixture
def owner(llama: BaseModel) -> Owner:
    return Owner(llama)


@pytest.fixture
def follower(owner: Owner, tmp_path: Path) -> ReleaseFollower:
    return ReleaseFollower(owner.chain, owner.store, tmp_path / "state")


def test_the_current_release_is_the_one_the_owner_points_to(owner: Owner, follower: ReleaseFollower) -> None:
    release = owner.publish(block=50)
    located, set_at = follower.current()
    assert (located.release, located.sha256, located.repo, set_at) == (release, release.digest(), REPO, 50)


def test_before_the_first_release_a_node_waits(follower: ReleaseFollower) -> None:
    with pytest.raises(RetryableError, match="no release yet"):
        follower.current()


@pytest.mark.parametrize(
    "data",
    [
        b"anything",
        pack(SubmissionPointer(round_id=1, release_prefix="0" * 16, file_sha256="0" * 64, repo="a/b")),
        pack(ReceiptPointer(round_id=1, receipt_sha256="0" * 64, revision="0" * 40, repo="a/b")),
    ],
)
def test_a_pointer_to_something_else_is_waited_out(owner: Owner, follower: ReleaseFollower, data: bytes) -> None:
    owner.chain.pointer = OnChain(50, data)
    with pytest.raises(RetryableError, match="5Owner points to"):
        follower.current()


def test_a_manifest_with_another_digest_is_refused(owner: Owner, follower: ReleaseFollower) -> None:
    release = owner.publish(block=50)
    key = next(key for key in owner.store.files if key[2] == MANIFEST_NAME)
    owner.store.files[key] = release.model_copy(update={"code_version": "evil"}).to_bytes()
    with pytest.raises(RetryableError, match="not the one the chain points to"):
        follower.current()


def test_a_manifest_that_is_no_release_is_refused(owner: Owner, follower: ReleaseFollower) -> None:
    owner.publish(block=50, change=lambda r: r.model_copy(update={"protocol": 2}))
    with pytest.raises(RetryableError, match="Release: protocol"):
        follower.current()


def test_a_release_under_another_number_is_refused(owner: Owner, follower: ReleaseFollower) -> None:
    release = owner.publish(block=50)
    owner.point_at(release, owner.published[0][1], block=51, number=4)
    with pytest.raises(RetryableError, match="release 0 stands where the chain says 4"):
        follower.current()


def test_a_release_seen_before_under_another_number_is_refused(owner: Owner, follower: ReleaseFollower) -> None:
    release = owner.publish(block=50)
    follower.current()
    owner.point_at(release, owner.published[0][1], block=51, number=4)
    with pytest.raises(RetryableError, match="release 0 stands where the chain says 4"):
        follower.current()


def test_a_node_follows_over_several_releases(owner: Owner, follower: ReleaseFollower) -> None:
    owner.publish(block=50)
    follower.current()
    for block in (60, 70, 80):
        release = owner.publish(block=block)
    located, _ = follower.current()
    assert (located.release, located.release.number) == (release, 3)


def test_a_rollback_is_refused_also_after_a_restart(owner: Owner, follower: ReleaseFollower, tmp_path: Path) -> None:
    first = owner.publish(block=50)
    owner.publish(block=60)
    follower.current()
    owner.point_at(first, owner.published[0][1], block=70)
    for node in (follower, ReleaseFollower(owner.chain, owner.store, tmp_path / "state")):
        with pytest.raises(RetryableError, match="points back to release 0 from 1"):
            node.current()
    fresh = ReleaseFollower(owner.chain, owner.store, tmp_path / "fresh")
    assert fresh.current()[0].release == first


def test_another_release_of_the_same_number_is_refused(owner: Owner, follower: ReleaseFollower, tmp_path: Path) -> None:
    owner.publish(block=50)
    owner.publish(block=60)
    follower.current()
    owner.published.pop()
    owner.publish(block=70, text="changed")
    for node in (follower, ReleaseFollower(owner.chain, owner.store, tmp_path / "state")):
        with pytest.raises(RetryableError, match="release 1 has changed"):
            node.current()


def test_a_child_of_another_past_is_refused(owner: Owner, follower: ReleaseFollower) -> None:
    owner.publish(block=50)
    owner.publish(block=60)
    follower.current()
    owner.published.pop()
    owner.publish(block=70, text="changed")
    owner.publish(block=80)
    with pytest.raises(RetryableError, match="release 1 has changed"):
        follower.current()


def test_a_gap_is_refused_by_a_node_that_starts_again(owner: Owner, follower: ReleaseFollower, tmp_path: Path) -> None:
    owner.publish(block=50)
    follower.current()
    owner.publish(block=60, change=lambda r: r.model_copy(update={"number": 2}))
    with pytest.raises(RetryableError, match="release 0 stands where the chain says 1"):
        ReleaseFollower(owner.chain, owner.store, tmp_path / "state").current()


def test_a_refused_pointer_leaves_what_was_seen(owner: Owner, follower: ReleaseFollower) -> None:
    owner.publish(block=50)
    good = owner.publish(block=60)
    follower.current()
    revision = owner.published.pop()[1]
    owner.publish(block=70, text="changed")
    with pytest.raises(RetryableError):
        follower.current()
    owner.point_at(good, revision, block=80)
    assert follower.current()[0].release == good


@pytest.mark.parametrize("change", ["no parent", "a gap"])
def test_a_release_that_breaks_the_chain_of_parents_is_refused(
    owner: Owner, follower: ReleaseFollower, change: str
) -> None:
    owner.publish(block=50)
    follower.current()
    if change == "no parent":
        owner.publish(block=60, change=lambda r: r.model_copy(update={"parent": None}))
    else:
        owner.publish(block=60, change=lambda r: r.model_copy(update={"number": 2}))
    with pytest.raises(RetryableError, match=r"has no parent|stands where"):
        follower.current()


def test_a_release_in_time_counts_for_the_round_and_a_late_one_for_the_next(
    owner: Owner, follower: ReleaseFollower
) -> None:
    """Rounds begin at 100, 120, 140: release 1 comes in the last block before one, release 2 in its first."""
    owner.publish(block=50)
    release = owner.publish(block=119)
    located, now = follower.at_block(125)
    assert now is not None
    assert (located.release, now.round_id) == (release, 1)
    late = owner.publish(block=140)
    located, now = follower.at_block(145)
    assert now is not None
    assert (located.release, now.round_id) == (release, 2)
    located, now = follower.at_block(160)
    assert now is not None
    assert (located.release, now.round_id) == (late, 3)


def test_release_zero_counts_at_once(owner: Owner, follower: ReleaseFollower) -> None:
    release = owner.publish(block=130)
    located, now = follower.at_block(131)
    assert (located.release, now is not None and now.round_id) == (release, 1)
    assert follower.at_block(99)[1] is None


def test_a_base_is_fetched_once_and_complete(owner: Owner, follower: ReleaseFollower) -> None:
    owner.publish(block=50)
    located, _ = follower.current()
    folder = follower.base_folder(located)
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == {
        "config.json": b"0",
        "w/x": b"w0",
    }
    assert follower.base_folder(located) == folder
    assert owner.store.fetched == ["config.json", "w/x"]


def test_a_base_with_a_wrong_file_never_gets_its_name(owner: Owner, follower: ReleaseFollower) -> None:
    owner.publish(block=50)
    located, _ = follower.current()
    key = next(key for key in owner.store.files if key[2] == "w/x")
    good, owner.store.files[key] = owner.store.files[key], b"evil"
    with pytest.raises(RetryableError, match="other bytes"):
        follower.base_folder(located)
    owner.store.files[key] = good
    folder = follower.base_folder(located)
    assert (folder / "w" / "x").read_bytes() == b"w0"
    assert owner.store.fetched == ["config.json", "w/x"], "what was fetched before the failure is kept"


def test_old_bases_are_removed_and_the_last_two_stay(owner: Owner, follower: ReleaseFollower, tmp_path: Path) -> None:
    for number in range(4):
        owner.publish(block=50 + number)
        follower.base_folder(follower.current()[0])
    kept = sorted(folder.name[:14] for folder in (tmp_path / "state").glob("release-*"))
    assert kept == ["release-000002", "release-000003"]


def test_data_files_are_kept_by_their_digest(owner: Owner, follower: ReleaseFollower) -> None:
    release = owner.publish(block=50)
    owner.store.files[release.data.repo, release.data.revision, release.data.train.path] = b"train"
    first = follower.data_file(release, release.data.train)
    assert first.read_bytes() == b"train"
    assert follower.data_file(release, release.data.train) == first
    assert owner.store.fetched == [release.data.train.path]


def test_only_well_formed_pointers_are_read() -> None:
    good = ReceiptPointer(round_id=1, receipt_sha256="0" * 64, revision="0" * 40, repo="a/b")
    found = read_pointers({"a": OnChain(5, pack(good)), "b": OnChain(6, b"\0" * 90), "c": OnChain(7, b"")})
    assert found == {"a": (good, 5)}
