"""Whole rounds of hostile commitments, files and repositories: each has its reason, and the honest lose nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hivetune.adapter import FILE_NAME, Stamp, write_adapter
from hivetune.commitments import SubmissionPointer, pack
from hivetune.errors import RejectedSubmission
from hivetune.files import sha256_of
from hivetune.model import BaseModel
from hivetune.releases import Located
from hivetune.submissions import SubmissionSource, committed
from hub.client import HubClient
from hub.revealed import RevealedFiles
from hub.server.app import RunningHub, running_hub
from hub.server.tokens import mint_token
from tests.conftest import locate, make_layout, make_release, random_factors, weights_of
from tests.hostile_commitments import COMMITMENTS, NOW, RELEASE, HostileCommitment
from tests.hostile_corpus import CORPUS, POINTER
from tests.hostile_files import Good
from tests.strange_server import Answer, hub_where
from tests.test_intake import Fair
from tests.test_revealed import ANYWHERE, DOWNLOAD
from tests.test_submissions import OnChain
from validator.intake import Intake

FOLDER = "round-000002"
WHERE = f"{FOLDER}/{FILE_NAME}"
HONEST = {"a1": "", "b2": "", "c3": ""}
SIZE = 0.02  # of the random deltas


@pytest.mark.parametrize("case", COMMITMENTS, ids=lambda case: case.name)
def test_a_hostile_commitment_is_refused_for_its_reason(case: HostileCommitment, llama: BaseModel) -> None:
    located = replace(locate(make_release(make_layout(llama))), sha256=RELEASE)
    with pytest.raises(RejectedSubmission) as caught:
        committed("5Mallory", OnChain(case.block, case.data), located, NOW)
    assert caught.value.reason == case.reason
    assert caught.value.detail.isprintable()


def test_a_round_of_the_whole_corpus_costs_the_honest_nothing(tmp_path: Path, llama: BaseModel) -> None:
    """Every hostile commitment and every hostile file at once, each from a hotkey of its own."""
    fair = Fair(tmp_path, llama)
    for index, hotkey in enumerate(HONEST):
        fair.honest(hotkey, seed=index)
    expected = dict(HONEST)
    commitments = [(f"commitment {case.name}", case) for case in COMMITMENTS if case.reason != "wrong_release"]
    fair.commitments |= {hotkey: OnChain(case.block, case.data) for hotkey, case in commitments}
    expected |= {hotkey: case.reason for hotkey, case in commitments}
    layout, release = fair.located.release.layout, fair.located.sha256
    stamp = Stamp(hotkey="file-000", round_id=2, release_sha256=release)
    write_adapter(tmp_path / "good", layout, stamp, random_factors(fair.weights, seed=9, size=SIZE))
    first = (tmp_path / "good").read_bytes()
    for number, case in enumerate(CORPUS):
        hotkey = f"file-{number:03d}"
        own = replace(stamp, hotkey=hotkey)
        good = Good(layout=layout, stamp=own, data=first.replace(b"file-000", hotkey.encode()))
        data = case.make(good)
        file = fair.shelf.folder / hotkey / "x" / FOLDER / FILE_NAME
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        pointer = SubmissionPointer(
            round_id=2, release_prefix=release[:16], file_sha256=sha256_of(file), repo=f"{hotkey}/x"
        )
        fair.commitments[hotkey] = OnChain(NOW.deadline, pack(pointer))
        expected[hotkey] = case.reason if len(data) == len(first) else "wrong_size"
    assert fair.reasons() == expected
    read = [hotkey for hotkey, reason in expected.items() if reason != "wrong_size" and hotkey.startswith("file")]
    assert {repo.partition("/")[0] for repo in fair.shelf.downloads} == {*read, *HONEST}
    assert sorted(path.stem for path in (tmp_path / "inbox").iterdir()) == list(HONEST)


@dataclass
class Town:
    """Miners of one round on the embedded Hub, honest and not."""

    hub: RunningHub
    folder: Path
    base: BaseModel
    located: Located
    commitments: dict[str, OnChain] = field(default_factory=dict)

    def client(self, owner: str) -> HubClient:
        return HubClient(self.hub.url, token=mint_token(self.hub.root, owner))

    def good(self, owner: str, seed: int, hotkey: str = "") -> bytes:
        stamp = Stamp(hotkey=hotkey or owner, round_id=2, release_sha256=self.located.sha256)
        path = self.folder / "file"
        factors = random_factors(weights_of(self.base), seed=seed, size=SIZE)
        write_adapter(path, self.located.release.layout, stamp, factors)
        return path.read_bytes()

    def publish(self, owner: str, files: Mapping[str, bytes], *, private: bool = False, kind: str = "model") -> None:
        client = self.client(owner)
        client.ensure_repo(f"{owner}/x", private=private, kind=kind)  # type: ignore[arg-type]
        if files:
            client.publish(f"{owner}/x", files, message="round 2", kind=kind)  # type: ignore[arg-type]

    def commit(self, owner: str, data: bytes, repo: str = "", block: int = NOW.first_block) -> None:
        (self.folder / "committed").write_bytes(data)
        pointer = SubmissionPointer(
            round_id=2,
            release_prefix=self.located.sha256[:16],
            file_sha256=sha256_of(self.folder / "committed"),
            repo=repo or f"{owner}/x",
        )
        self.commitments[owner] = OnChain(block, pack(pointer))

    def enter(self, owner: str, seed: int) -> None:
        data = self.good(owner, seed)
        self.publish(owner, {WHERE: data})
        self.commit(owner, data)

    def reasons(self, source: SubmissionSource, inbox: Path) -> dict[str, str]:
        found = Intake(self.located, NOW, source, weights_of(self.base), inbox, beacon="").collect(self.commitments)
        return {c.hotkey: c.rejection.reason if c.rejection else "" for c in found}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, llama: BaseModel) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with running_hub(folder / "hub") as hub:
        town = Town(hub, folder, llama, locate(make_release(make_layout(llama))))
        for index, owner in enumerate(HONEST):
            town.enter(owner, seed=index)
        yield town


Set = Callable[[Town, str, bytes], None]


def at(path: str, make: Callable[[bytes], bytes] = lambda good: good, **options: object) -> Set:
    def enter(town: Town, owner: str, good: bytes) -> None:
        town.publish(owner, {path: make(good)}, **options)  # type: ignore[arg-type]
        town.commit(owner, good)

    return enter


def committing(make: Callable[[bytes], bytes]) -> Set:
    """What is committed to is there, and is no adapter."""

    def enter(town: Town, owner: str, good: bytes) -> None:
        town.publish(owner, {WHERE: make(good)})
        town.commit(owner, make(good))

    return enter


def pointing_to(repo: str) -> Set:
    return lambda town, owner, good: town.commit(owner, good, repo)


def rewritten(make: Callable[[bytes], bytes]) -> Set:
    """The file that was committed to is replaced after the deadline."""

    def enter(town: Town, owner: str, good: bytes) -> None:
        town.publish(owner, {WHERE: good})
        town.commit(owner, good)
        town.publish(owner, {WHERE: make(good)})

    return enter


def empty(town: Town, owner: str, good: bytes) -> None:
    town.publish(owner, {})
    town.commit(owner, good)


def taking_the_victims_commitment(town: Town, owner: str, _: bytes) -> None:
    town.commit(owner, town.good("a1", 0), repo="a1/x")


def uploading_the_victims_file(town: Town, owner: str, _: bytes) -> None:
    town.publish(owner, {WHERE: town.good("a1", 0)})
    town.commit(owner, town.good("a1", 0))


def stamping_the_victims_tensors(town: Town, owner: str, _: bytes) -> None:
    data = town.good(owner, 0)
    town.publish(owner, {WHERE: data})
    town.commit(owner, data, block=NOW.first_block + 1)


# Hotkeys of the victim's length where the stamp shall be found out, as all are on a chain.
REPOSITORIES: dict[str, tuple[str, Set]] = {
    "absent": ("not_revealed", pointing_to("nobody/nothing")),
    "empty": ("not_revealed", empty),
    "private": ("not_revealed", at(WHERE, private=True)),
    "dataset": ("not_revealed", at(WHERE, kind="dataset")),
    "round-before": ("not_revealed", at(f"round-000001/{FILE_NAME}")),
    "in-the-root": ("not_revealed", at(FILE_NAME)),
    "capitals": ("not_revealed", at(f"Round-000002/{FILE_NAME}")),
    "a-folder": ("not_revealed", at(f"{WHERE}/x")),
    "a-pickle": ("not_revealed", at(f"{FOLDER}/adapter_model.bin")),
    "in-parts": ("not_revealed", at(f"{FOLDER}/adapter_model-00001-of-00002.safetensors")),
    "ends-in-git": ("not_revealed", pointing_to("mallory/x.git")),
    "starts-with-a-dash": ("not_revealed", pointing_to("-rf/x")),
    "two-dashes": ("not_revealed", pointing_to("a--b/x")),
    "a-note": ("wrong_size", at(WHERE, lambda good: b"soon")),
    "nothing": ("wrong_size", at(WHERE, lambda good: b"")),
    "lfs-pointer": ("wrong_size", at(WHERE, lambda good: POINTER)),
    "one-byte-less": ("wrong_size", at(WHERE, lambda good: good[:-1])),
    "one-byte-more": ("wrong_size", at(WHERE, lambda good: good + b"\0")),
    "much-more": ("wrong_size", at(WHERE, lambda good: good * 8)),
    "rewritten": ("wrong_digest", rewritten(lambda good: good[:-1] + bytes([good[-1] ^ 1]))),
    "rewritten-all": ("wrong_digest", rewritten(lambda good: good[::-1])),
    "zeros": ("bad_header", committing(lambda good: bytes(len(good)))),
    "noise": ("bad_header", committing(lambda good: good[::-1])),
    "r9": ("wrong_owner", taking_the_victims_commitment),
    "u9": ("wrong_owner", uploading_the_victims_file),
    "forger": ("duplicate", stamping_the_victims_tensors),
}


def test_hostile_repositories_have_their_reasons_and_cost_the_honest_nothing(town: Town, tmp_path: Path) -> None:
    hostile = replace(town, commitments=dict(town.commitments))
    for number, (owner, (_, enter)) in enumerate(REPOSITORIES.items()):
        enter(hostile, owner, hostile.good(owner, seed=100 + number))
    source = RevealedFiles(HubClient(town.hub.url), own_repo="validator/receipts", download_s=5.0)
    expected = HONEST | {owner: reason for owner, (reason, _) in REPOSITORIES.items()}
    assert hostile.reasons(source, tmp_path / "inbox") == expected


def test_a_hub_that_fails_for_some_costs_the_others_nothing(town: Town, tmp_path: Path) -> None:
    """Slow, endless, wrong, limiting and resetting answers in one round, to listings and to downloads."""
    tricks: dict[str, Answer] = {}
    for name in ("silent", "dripping head", "endless", "resetting", "429", "500"):
        tricks[f"/api/models/list-{len(tricks)}/"] = ANYWHERE[name]
    for name in ("one byte flipped", "a length of a terabyte", "a body longer than its length", "resetting halfway"):
        tricks[f"/file-{len(tricks)}/x/resolve/"] = (ANYWHERE | DOWNLOAD)[name]
    tricks["/file-slow/x/resolve/"] = ANYWHERE["dripping body"]
    bad = replace(town, commitments=dict(town.commitments))
    for number, start in enumerate(tricks):
        owner = start.removeprefix("/api/models").split("/")[1]
        bad.enter(owner, seed=200 + number)
    expected = HONEST | {owner: "download_failed" for owner in bad.commitments if owner not in HONEST}

    def chooses(line: str) -> Answer | None:
        return next((answer for start, answer in tricks.items() if line.split()[1].startswith(start)), None)

    with hub_where(town.hub.url, chooses) as url:
        source = RevealedFiles(HubClient(url, timeout_s=0.4), own_repo="validator/receipts", download_s=0.5)
        assert bad.reasons(source, tmp_path / "inbox") == expected
