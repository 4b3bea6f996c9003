"""What a validator remembers of earlier rounds: which files, where from, and what happens when one is gone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from hivetune.adapter import FILE_NAME, Stamp, file_size, write_adapter
from hivetune.errors import RejectedSubmission, RetryableError
from hivetune.files import sha256_of
from hivetune.merging import merge_deltas, moved, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.records import Receipt
from hub.client import HubClient
from hub.revealed import RevealedFiles
from hub.server.app import running_hub
from hub.server.tokens import mint_token
from tests.conftest import admitted, make_layout, random_factors, weights_of
from tests.test_intake import HONEST, NOW, SIZE, Fair
from tests.test_receipt_check import entry, receipt
from tests.test_submissions import Remote
from validator.earlier import MEMORY_ROUNDS, EarlierFile, EarlierFiles, Gathered, works_of
from validator.intake import Intake
from validator.receipt_check import first_difference, unrepeatable

REVISION = "c" * 40


@dataclass
class Attic:
    """Files of earlier rounds by repository, as a Hub keeps them at their revisions."""

    files: dict[str, Path] = field(default_factory=dict)
    asked: list[tuple[str, str, str, int]] = field(default_factory=list)

    def revealed(self, repo: str, path: str) -> tuple[str, Remote] | None:
        raise AssertionError("the receipt names the revision")

    def download(self, repo: str, revision: str, path: str, *, sha256: str, size: int, into: Path) -> Path:
        self.asked.append((repo, revision, path, size))
        if repo not in self.files:
            raise RejectedSubmission("download_failed", f"{repo} is gone")
        into.write_bytes(self.files[repo].read_bytes())
        assert sha256_of(into) == sha256
        return into


@dataclass
class Past:
    """Rounds that were scored: their files and this validator's receipts."""

    base: BaseModel
    folder: Path
    attic: Attic = field(default_factory=Attic)
    receipts: dict[int, Receipt] = field(default_factory=dict)

    def add(self, round_id: int, hotkey: str, seed: int, **changes: object) -> str:
        """The digest of a file that was admitted, or not, as the changes say."""
        stamp = Stamp(hotkey=hotkey, round_id=round_id, release_sha256="d" * 64)
        path = self.folder / f"{hotkey}-{round_id}"
        factors = random_factors(weights_of(self.base), seed=seed, size=SIZE)
        digest = write_adapter(path, make_layout(self.base), stamp, factors)
        repo = f"{hotkey}/x{round_id}"
        self.attic.files[repo] = path
        known = self.receipts[round_id].entries if round_id in self.receipts else ()
        told: dict[str, Any] = {"repo": repo, "revision": REVISION, "file_sha256": digest, "verdict": "unpaid"}
        entries = (*known, entry(hotkey, **(told | changes)))
        self.receipts[round_id] = receipt(round_id=round_id, entries=entries)
        return digest

    def gather(self, files: EarlierFiles, round_id: int, submissions: Path | None = None) -> Gathered:
        return files.gather(list(self.receipts.values()), round_id, make_layout(self.base), submissions)

    def kept(self) -> EarlierFiles:
        return EarlierFiles(source=self.attic, folder=self.folder / "earlier")


@pytest.fixture
def past(tmp_path: Path, llama: BaseModel) -> Past:
    return Past(llama, tmp_path)


def test_the_admitted_of_the_last_rounds_are_fetched_once_and_the_others_never(past: Past) -> None:
    wanted = [past.add(round_id, hotkey, seed=round_id) for round_id in range(6, 9) for hotkey in ("a", "b")]
    past.add(5, "a", seed=5)  # too long ago
    past.add(8, "rejected", seed=9, verdict="rejected", reason="near_copy")
    past.add(9, "a", seed=10)  # this round's own
    found = past.gather(past.kept(), 9)
    assert MEMORY_ROUNDS == 3
    assert found.missing == ()
    assert [sha256_of(file.path) for file in found.files] == wanted
    assert [(file.stamp.hotkey, file.stamp.round_id) for file in found.files][:3] == [("a", 6), ("b", 6), ("a", 7)]
    stamp = found.files[0].stamp
    size = file_size(make_layout(past.base), stamp)
    assert past.attic.asked[0] == ("a/x6", REVISION, f"round-000006/{FILE_NAME}", size)
    asked = len(past.attic.asked)
    assert past.gather(past.kept(), 9) == found
    assert len(past.attic.asked) == asked == len(wanted)
    past.gather(past.kept(), 10)
    assert len(list((past.folder / "earlier").iterdir())) == 5, "rounds 7, 8 and 9: what is too old has gone"


def test_the_last_rounds_submissions_need_no_second_download(past: Past) -> None:
    digest = past.add(7, "a", seed=1)
    past.add(7, "b", seed=2)
    inbox = past.folder / "inbox"
    inbox.mkdir()
    (inbox / "a.safetensors").write_bytes((past.folder / "a-7").read_bytes())
    (inbox / "b.safetensors").write_bytes(b"another file")
    found = past.gather(past.kept(), 8, inbox)
    assert [repo for repo, *_ in past.attic.asked] == ["b/x7"]
    assert sha256_of(found.files[0].path) == digest
    assert [path.name for path in inbox.iterdir()] == ["b.safetensors"]


def test_a_file_that_is_gone_is_missing_and_stops_nobody(past: Past) -> None:
    gone, there = past.add(7, "a", seed=1), past.add(7, "b", seed=2)
    del past.attic.files["a/x7"]
    found = past.gather(past.kept(), 8)
    assert found.missing == (gone,)
    assert [sha256_of(file.path) for file in found.files] == [there]
    without = EarlierFiles(source=past.attic, folder=past.folder / "other", without=frozenset({there}))
    assert past.gather(without, 8) == Gathered(files=(), missing=tuple(sorted((gone, there))))


def test_what_a_strangers_receipt_says_of_files_stays_inside_the_folder(past: Past) -> None:
    past.add(7, "a", seed=1, file_sha256="../../" + "a" * 58)
    past.add(7, "b", seed=2, revision="main")
    past.add(7, "c", seed=3, repo="c/../x")
    assert past.gather(past.kept(), 8) == Gathered(files=(), missing=())
    assert past.attic.asked == []


def test_files_come_from_their_revisions_on_a_real_hub(past: Past, tmp_path: Path) -> None:
    """What was removed from the head since is still there at the revision; an outage is no missing file."""
    with running_hub(tmp_path / "hub") as hub:
        client = HubClient(hub.url, token=mint_token(hub.root, "a"))
        client.ensure_repo("a/x7")
        digest = past.add(7, "a", seed=1)
        name = f"round-000007/{FILE_NAME}"
        revision = client.publish("a/x7", {name: past.folder / "a-7"}, message="round 7")
        client.publish("a/x7", {name: b"another"}, message="gone")
        past.receipts.clear()
        past.add(7, "a", seed=1, revision=revision)
        lost = past.add(7, "b", seed=2)
        source = RevealedFiles(HubClient(hub.url), own_repo="validator/receipts", download_s=10.0)
        files = EarlierFiles(source=source, folder=tmp_path / "kept")
        found = past.gather(files, 8)
        assert [sha256_of(file.path) for file in found.files] == [digest]
        assert found.missing == (lost,)
    source = RevealedFiles(HubClient(hub.url, timeout_s=0.5), own_repo="validator/receipts", download_s=0.5)
    away = EarlierFiles(source=source, folder=tmp_path / "other")
    with pytest.raises(RetryableError):
        past.gather(away, 8)


def test_a_replayed_file_is_a_near_copy_and_fresh_work_is_not(past: Past, tmp_path: Path) -> None:
    """One's own of last round as well as another's, and also after the base has moved."""
    old = [past.add(1, hotkey, seed=20 + index) for index, hotkey in enumerate(("own", "victim"))]
    fair = Fair(tmp_path / "now", past.base)
    layout = fair.located.release.layout
    replayed = [random_factors(weights_of(past.base), seed=seed, size=SIZE) for seed in (20, 21)]
    adapters = [admitted(past.base, str(index), factors) for index, factors in enumerate(replayed)]
    delta = merge_deltas(fair.weights, adapters, uniform_coefficients(adapters), layout.scale)
    files = past.gather(past.kept(), 2).files
    assert [sha256_of(file.path) for file in files] == old
    for index, hotkey in enumerate(HONEST):
        fair.honest(hotkey, seed=index)
    fair.enter("own", replayed[0])
    fair.enter("thief", replayed[1])
    for weights in (fair.weights, moved(fair.weights, delta, 1.0)):
        intake = Intake(
            fair.located, NOW, fair.shelf, weights, tmp_path / "inbox", beacon="0x1",
            earlier=works_of(files, layout, weights),
        )  # fmt: skip
        found = {one.hotkey: one.rejection for one in intake.collect(fair.commitments)}
        assert {hotkey: one.reason if one else "" for hotkey, one in found.items()} == HONEST | {
            "own": "near_copy",
            "thief": "near_copy",
        }
        assert found["thief"] is not None
        assert "victim in round 1, which came first" in found["thief"].detail


def test_an_earlier_file_of_another_layout_is_passed_over(past: Past, tmp_path: Path) -> None:
    past.add(1, "a", seed=1)
    (file,) = past.gather(past.kept(), 2).files
    fair = Fair(tmp_path / "now", past.base)
    for index, hotkey in enumerate(HONEST):
        fair.honest(hotkey, seed=index)
    works = works_of([file], make_layout(past.base, rank=2), fair.weights)
    with pytest.raises(RejectedSubmission):
        works[0].load()
    intake = Intake(fair.located, NOW, fair.shelf, fair.weights, tmp_path / "inbox", beacon="0x1", earlier=works)
    assert all(one.rejection is None for one in intake.collect(fair.commitments))


def test_the_present_base_is_what_an_earlier_file_acts_on(past: Past) -> None:
    past.add(1, "a", seed=1)
    (file,) = past.gather(past.kept(), 2).files
    weights = {name: 1.01 * weight_OI for name, weight_OI in weights_of(past.base).items()}
    (work,) = works_of([EarlierFile(stamp=file.stamp, path=file.path)], make_layout(past.base), weights)
    shapes = work.load().shapes
    now = admitted(past.base, "a", random_factors(weights_of(past.base), seed=1, size=SIZE)).shapes
    name = next(iter(shapes))
    assert not torch.equal(shapes[name].gain_O, now[name].gain_O)


def test_copies_of_files_that_are_gone_cannot_be_held_against_a_receipt() -> None:
    copy = entry("5Bob", verdict="rejected", reason="near_copy", weight=0.0)
    told, digest = receipt(entry(), copy), "9" * 64
    assert unrepeatable(told) == frozenset()
    assert unrepeatable(told, [digest]) == {"5Bob"}
    assert first_difference(told, receipt(missing_earlier=(digest,))) == ""
    assert "5Bob has an entry" in first_difference(told, receipt())
    open_about_it = receipt(entry(), copy, missing_earlier=(digest,))
    assert unrepeatable(open_about_it, [digest]) == frozenset()
    assert "5Bob has an entry" in first_difference(open_about_it, receipt(missing_earlier=(digest,)))


def test_a_file_that_no_receipt_admitted_cannot_have_been_missing() -> None:
    assert "missing_earlier names 999" in first_difference(receipt(missing_earlier=("9" * 64,)), receipt())
