"""One submission from commitment to factors, with everything that costs nothing checked before anything that does."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hivetune.adapter import FILE_NAME, Stamp, file_size, write_adapter
from hivetune.commitments import ReceiptPointer, ReleasePointer, SubmissionPointer, pack
from hivetune.errors import RejectedSubmission
from hivetune.files import sha256_of
from hivetune.model import BaseModel
from hivetune.releases import Located
from hivetune.rounds import round_by_id
from hivetune.submissions import committed, open_submission
from tests.conftest import locate, make_layout, make_plan, make_release, random_factors, same_factors, weights_of

NOW = round_by_id(make_plan(), 2)
WHERE = f"round-000002/{FILE_NAME}"


@dataclass(frozen=True)
class Remote:
    """What the Hub says of a file."""

    size: int
    sha256: str | None


@dataclass
class Shelf:
    """Revealed files of one folder; what it says of them can be bent. Like the Hub client, it checks no content."""

    folder: Path
    said: dict[str, Remote] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)

    def revealed(self, repo: str, path: str) -> tuple[str, Remote] | None:
        file = self.folder / repo / path
        if not file.exists():
            return None
        return "f" * 40, self.said.get(repo, Remote(size=file.stat().st_size, sha256=sha256_of(file)))

    def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path:
        self.downloads.append(repo)
        into.write_bytes((self.folder / repo / path).read_bytes())
        return into


@dataclass(frozen=True)
class OnChain:
    block: int
    data: bytes


@pytest.fixture
def located(llama: BaseModel) -> Located:
    return locate(make_release(make_layout(llama)))


@pytest.fixture
def shelf(tmp_path: Path, llama: BaseModel, located: Located) -> Shelf:
    """Alice's good file, revealed."""
    file = tmp_path / "hub" / "alice" / "x" / WHERE
    file.parent.mkdir(parents=True)
    stamp = Stamp(hotkey="5Alice", round_id=2, release_sha256=located.sha256)
    write_adapter(file, located.release.layout, stamp, random_factors(weights_of(llama)))
    return Shelf(tmp_path / "hub")


def promise(located: Located, shelf: Shelf) -> SubmissionPointer:
    digest = sha256_of(shelf.folder / "alice" / "x" / WHERE)
    return SubmissionPointer(round_id=2, release_prefix=located.sha256[:16], file_sha256=digest, repo="alice/x")


def reason_of_commitment(located: Located, block: int, data: bytes) -> str:
    with pytest.raises(RejectedSubmission) as caught:
        committed("5Alice", OnChain(block, data), located, NOW)
    return caught.value.reason


def reason_of_file(located: Located, pointer: SubmissionPointer, shelf: Shelf, hotkey: str = "5Alice") -> str:
    with pytest.raises(RejectedSubmission) as caught:
        open_submission(hotkey, pointer, located, NOW, shelf, shelf.folder / "inbox" / "file")
    return caught.value.reason


@pytest.mark.parametrize("block", [NOW.first_block, NOW.deadline])
def test_a_commitment_of_this_round_counts_up_to_the_deadline(located: Located, shelf: Shelf, block: int) -> None:
    pointer = promise(located, shelf)
    assert committed("5Alice", OnChain(block, pack(pointer)), located, NOW) == pointer


def test_every_other_commitment_has_its_reason(located: Located, shelf: Shelf) -> None:
    good = promise(located, shelf)
    block = NOW.deadline
    assert reason_of_commitment(located, NOW.deadline + 1, pack(good)) == "late"
    assert reason_of_commitment(located, NOW.first_block - 1, pack(good)) == "too_early"
    assert reason_of_commitment(located, block, pack(replace(good, round_id=1))) == "wrong_round"
    assert reason_of_commitment(located, block, pack(replace(good, round_id=3))) == "wrong_round"
    assert reason_of_commitment(located, block, pack(replace(good, release_prefix="00" * 8))) == "wrong_release"
    assert reason_of_commitment(located, block, b"anything") == "bad_commitment"
    receipt = ReceiptPointer(round_id=2, receipt_sha256="0" * 64, revision="0" * 40, repo="alice/x")
    release = ReleasePointer(number=2, manifest_sha256="0" * 64, revision="0" * 40, repo="alice/x")
    assert reason_of_commitment(located, block, pack(receipt)) == "bad_commitment"
    assert reason_of_commitment(located, block, pack(release)) == "bad_commitment"


def test_a_good_submission_opens_with_its_own_factors(located: Located, shelf: Shelf, llama: BaseModel) -> None:
    into = shelf.folder / "inbox" / "file"
    opened = open_submission("5Alice", promise(located, shelf), located, NOW, shelf, into)
    assert same_factors(opened.factors, random_factors(weights_of(llama)))
    assert (opened.hotkey, opened.revision, opened.path) == ("5Alice", "f" * 40, into)
    assert shelf.downloads == ["alice/x"]


def test_a_file_that_is_not_there_is_not_revealed(located: Located, shelf: Shelf) -> None:
    assert reason_of_file(located, replace(promise(located, shelf), repo="bob/x"), shelf) == "not_revealed"
    assert shelf.downloads == []


@pytest.mark.parametrize("difference", [-1, 1, 10**12])
def test_a_wrong_size_costs_no_download(located: Located, shelf: Shelf, difference: int) -> None:
    pointer = promise(located, shelf)
    stamp = Stamp(hotkey="5Alice", round_id=2, release_sha256=located.sha256)
    size = file_size(located.release.layout, stamp) + difference
    shelf.said["alice/x"] = Remote(size=size, sha256=pointer.file_sha256)
    assert reason_of_file(located, pointer, shelf) == "wrong_size"
    assert shelf.downloads == []


@pytest.mark.parametrize("said", ["0" * 64, None])
def test_a_wrong_digest_costs_no_download(located: Located, shelf: Shelf, said: str | None) -> None:
    pointer = promise(located, shelf)
    found = shelf.revealed("alice/x", WHERE)
    assert found is not None
    shelf.said["alice/x"] = replace(found[1], sha256=said)
    assert reason_of_file(located, pointer, shelf) == "wrong_digest"
    assert shelf.downloads == []


def test_one_byte_changed_after_the_commitment_is_a_wrong_digest(located: Located, shelf: Shelf) -> None:
    pointer = promise(located, shelf)
    file = shelf.folder / "alice" / "x" / WHERE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert reason_of_file(located, pointer, shelf) == "wrong_digest"
    assert shelf.downloads == []


def test_a_copied_file_names_its_owner(located: Located, shelf: Shelf) -> None:
    """Bob commits to Alice's digest and repository once he sees them on the chain."""
    assert reason_of_file(located, promise(located, shelf), shelf, hotkey="5Bobby") == "wrong_owner"


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (Stamp(hotkey="5Alice", round_id=1, release_sha256=""), "wrong_round"),
        (Stamp(hotkey="5Alice", round_id=2, release_sha256="0" * 64), "wrong_release"),
    ],
)
def test_a_file_of_another_round_or_release_is_refused(
    located: Located, shelf: Shelf, llama: BaseModel, stamp: Stamp, expected: str
) -> None:
    stamp = replace(stamp, release_sha256=stamp.release_sha256 or located.sha256)
    file = shelf.folder / "alice" / "x" / WHERE
    write_adapter(file, located.release.layout, stamp, random_factors(weights_of(llama)))
    assert reason_of_file(located, promise(located, shelf), shelf) == expected


def test_only_the_committed_digest_is_asked_for(located: Located, shelf: Shelf) -> None:
    asked = []

    class Asked(Shelf):
        def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path:
            asked.append((repo, revision, path, sha256, size))
            return super().download(repo, revision, path, sha256=sha256, size=size, into=into)

    pointer = promise(located, shelf)
    size = (shelf.folder / "alice" / "x" / WHERE).stat().st_size
    open_submission("5Alice", pointer, located, NOW, Asked(shelf.folder), shelf.folder / "inbox" / "file")
    assert asked == [("alice/x", "f" * 40, WHERE, pointer.file_sha256, size)]
