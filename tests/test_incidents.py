"""Incidents of other networks and of the libraries this one stands on, each by a test of what would have been needed.

Not here, because nothing of them is this code's to hold:

| incident | why not |
|---|---|
| subnet 73: the owner changed hyperparameters so that validators could not set weights | the owner is trusted with the subnet (docs/threat-model.md); a refused call is named in the log |
| Gradients: rewards for preference data that could be hacked | the loss on held-out text is the only measure |
| CVE-2026-1839: Trainer reads a checkpoint's random state by torch.load | no Trainer here; see tests/test_loaders.py |
| noisy winner-take-all: UIDs hoarded for a lottery | pay is linear; see win rates below |
"""  # noqa: E501 - a table

import json
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from averager.selection import approved_hotkeys
from hivetune.adapter import read_adapter
from hivetune.commitments import SubmissionPointer, pack
from hivetune.draws import draw_sequences
from hivetune.errors import RejectedSubmission
from hivetune.model import BaseModel
from hivetune.records import BadRecord, FileEntry, Receipt
from hivetune.statistics import Estimate
from hivetune.submissions import committed
from hub.client import HubClient, NotOnHub
from hub.names import check_path
from tests.conftest import entry_of, locate, make_release, random_factors
from tests.hostile_commitments import COMMITMENTS
from tests.hostile_corpus import CORPUS
from tests.hostile_files import CANARY, LAYOUT, STAMP, Hostile, entry, good_file
from tests.strange_server import headers, server_that
from tests.test_intake import NOW, Fair
from tests.test_selection import make_metagraph
from tests.test_submissions import OnChain
from validator.intake import Candidate, reject_duplicates
from validator.receipts import Registration, make_receipt
from validator.scoring import Scores, pay, to_drop

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
HONEST = {"a1": "", "b2": "", "c3": ""}


@pytest.fixture
def fair(tmp_path: Path, llama: BaseModel) -> Fair:
    fair = Fair(tmp_path, llama)
    for index, hotkey in enumerate(HONEST):
        fair.honest(hotkey, seed=index)
    return fair


def requirements() -> set[str]:
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return {re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-") for lines in lists for line in lines}


def distance(one: str, other: str) -> int:
    """Of Levenshtein."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, against in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != against))
    return row[-1]


def test_bittensor_6_12_2_sent_decrypted_coldkeys_away() -> None:
    """No node opens a coldkey: the commands of an owner of funds do, which no role's module imports."""
    openers = {"load_coldkey", "unlock_coldkey", "keypair_from_phrase"}
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in ("hivetune", "hub", "miner", "validator", "averager", "neurons")
        for path in (ROOT / folder).rglob("*.py")
        if any(word in path.read_text() for word in openers)
    }
    roles = ("miner/", "validator/", "averager/", "hub/", "hivetune/", "neurons/wiring.py", "neurons/daemon.py")
    assert users
    assert not [name for name in users if name.startswith(roles)]
    assert "bittensor" not in requirements()


def test_packages_with_almost_the_name_of_bittensor_took_stakes() -> None:
    """Nothing that is installed has almost the name of something well known."""
    known = {
        "bittensor", "substrate-interface", "huggingface-hub", "transformers", "safetensors", "datasets", "websockets",
        "starlette", "cryptography", "requests", "tokenizers",
    }  # fmt: skip
    installed = {name.lower().replace("_", "-") for name in PINNED} | requirements()
    near = {(name, other) for name in installed - known for other in known if 0 < distance(name, other) <= 2}
    assert near == set()


def test_subnet_6_miners_wrote_into_the_validators_data(tmp_path: Path) -> None:
    """The text is the owner's file at a pinned digest, and a draw holds no row twice."""
    with pytest.raises(BadRecord):
        FileEntry.parse(entry_of("data/evaluation.parquet", b"").to_bytes().replace(b'"sha256":"', b'"sha256":"main'))
    rows = [
        row for draw in draw_sequences("0xab", ["one"] * 30 + ["two"] * 30, range(60), [20, 20, 20]) for row in draw
    ]
    assert sorted(rows) == list(range(60))
    content = b"not what was pinned"
    with server_that(lambda peer, _: peer.sendall(headers(len(content)) + content)) as url:
        fetch = HubClient(url).fetch
        with pytest.raises(Exception, match="sha256"):
            fetch(
                "a/b", "a" * 40, "evaluation", sha256="0" * 64, size=len(content), into=tmp_path / "x", kind="dataset"
            )


def test_subnet_6_a_model_was_cloned_within_a_minute(fair: Fair) -> None:
    """By then commitments are closed, and a commitment made before names what nobody else could know."""
    assert NOW.deadline < NOW.beacon_block <= NOW.reveal_end
    fair.honest("0-clone", seed=1, block=NOW.deadline + 1)
    fair.honest("1-clone", seed=1, block=NOW.deadline)
    assert fair.reasons() == HONEST | {"0-clone": "late", "1-clone": "duplicate"}


def test_a_tiny_fixed_text_was_learnt_by_heart() -> None:
    """Every round has its own text, that its beacon draws after the deadline."""
    draws = [set(draw_sequences(f"0x{beacon:064x}", ["one"] * 2000, range(2000), [100])[0]) for beacon in range(5)]
    assert all(len(one & other) < 25 for one in draws for other in draws if one is not other)


def estimates(credits: dict[str, float]) -> dict[str, Estimate]:
    return {name: Estimate(mean=credit, lower=credit / 2, upper=2 * credit) for name, credit in credits.items()}


def paid(credits: dict[str, float], *names: str) -> dict[str, float]:
    return pay(scores_of(credits, *names))


def scores_of(credits: dict[str, float], *paid: str) -> Scores:
    return Scores(
        solo={}, credit=estimates(credits), credit_nats={}, nodes=0, clip=0.0, merged=paid, paid=paid, rejected={},
        merged_loss=None, completeness_error=None,
    )  # fmt: skip


def test_win_rates_were_gamed_with_entries_made_to_lose(fair: Fair) -> None:
    """Pay is linear in an entry's own credit: neither losers nor copies beside it change anybody's part."""
    alone = paid({"one": 0.2, "two": 0.1}, "one", "two")
    assert alone == pytest.approx({"one": 2 / 3, "two": 1 / 3})
    losers = {f"loser-{index}": -0.1 * index for index in range(20)}
    assert paid({"one": 0.2, "two": 0.1, **losers}, "one", "two") == alone
    for copy in ("x-copy", "y-copy", "z-copy"):
        fair.honest(copy, seed=1, block=NOW.deadline)
    assert fair.reasons() == HONEST | {"x-copy": "duplicate", "y-copy": "duplicate", "z-copy": "duplicate"}


def test_crafted_commitments_crashed_validators_every_night(fair: Fair) -> None:
    hostile = {f"{case.name}": OnChain(case.block, case.data) for case in COMMITMENTS}
    fair.commitments |= hostile
    found = fair.reasons()
    assert {hotkey: found[hotkey] for hotkey in HONEST} == HONEST
    assert all(found[hotkey] for hotkey in hostile)


@pytest.mark.parametrize("word", ["\ud800", "\x1b[2J", "x" * 5000, "\n"])
def test_a_word_in_a_file_kept_validators_from_reading_their_own_receipt(tmp_path: Path, word: str) -> None:
    """Found here: half a surrogate pair in a header went into the receipt, which nobody could read any more."""
    path = tmp_path / "file"
    path.write_bytes(entry(shape=word)(good_file(tmp_path)))
    with pytest.raises(RejectedSubmission) as caught:
        read_adapter(path, LAYOUT, STAMP)
    receipt = receipt_of([Candidate(hotkey="5Mallory", rejection=caught.value)])
    assert Receipt.parse(receipt.to_bytes()) == receipt


def receipt_of(candidates: list[Candidate]) -> Receipt:
    located = locate(make_release(LAYOUT))
    scorer: Any = SimpleNamespace(base_nats=[1.0], base_loss=1.0, replicate_spread=lambda: 0.0)
    nothing = scores_of({})
    return make_receipt(
        validator="5Bob", previous=None, located=located, now=NOW, beacon="0x0", sequence_ids=[0], batch_tokens=[1],
        candidates=candidates, registrations={c.hotkey: Registration(uid=3, block=0) for c in candidates}, earlier=[],
        scorer=scorer, scores=nothing,
    )  # fmt: skip


def test_not_a_number_counted_as_a_win() -> None:
    broken = Estimate(mean=math.nan, lower=math.nan, upper=math.nan)
    credits = estimates({"one": 0.2}) | {"nan": broken}
    assert "nan" in to_drop(credits, patient=False)
    assert "one" not in to_drop(credits, patient=False)


def test_answers_were_given_before_the_question_was_known() -> None:
    """What draws the text is the hash of a block after the last one in which a commitment counts."""
    release = make_release(LAYOUT)
    located = replace(locate(release), sha256="ab" * 32)
    pointer = SubmissionPointer(round_id=2, release_prefix="ab" * 8, file_sha256="cd" * 32, repo="a/b")
    committed("5Alice", OnChain(NOW.deadline, pack(pointer)), located, NOW)
    with pytest.raises(RejectedSubmission, match="late"):
        committed("5Alice", OnChain(NOW.beacon_block, pack(pointer)), located, NOW)


@pytest.mark.parametrize("names", [("a1", "z9"), ("z9", "a1")])
def test_ties_went_to_the_lowest_uid(tmp_path: Path, names: tuple[str, str]) -> None:
    """A tie within a block goes to the smaller digest, which depends on no place and no name."""
    for name in names:
        (tmp_path / f"{name}.safetensors").write_bytes(bytes(8) + b"the same tensors")
    candidates = [Candidate(hotkey=name, file_sha256=digest) for name, digest in zip(names, ("00", "ff"), strict=True)]
    kept = [c.hotkey for c in reject_duplicates(candidates, {"a1": 5, "z9": 5}, tmp_path) if c.rejection is None]
    assert kept == [names[0]]


def test_a_file_was_made_after_its_submission(fair: Fair) -> None:
    """What counts is the digest in a block before the deadline: a file made later is another file."""
    late_work = random_factors(fair.weights, seed=99, size=0.02)
    before = fair.commitments["b2"]
    (fair.shelf.folder / "b2" / "x" / "round-000002" / "adapter_model.safetensors").unlink()
    (fair.shelf.folder / "b2" / "x" / "round-000002").rmdir()
    fair.enter("b2", late_work)
    fair.commitments["b2"] = before
    assert fair.reasons() == HONEST | {"b2": "wrong_digest"}


def test_a_small_validator_gave_nothing_to_all_but_its_own() -> None:
    """Subtensor's issue 1868: a minority that sets others to zero takes nobody out of the merge."""
    votes = {"large": {"m-a": 40000, "m-b": 25535}, "small": {"m-c": 65535}}
    assert approved_hotkeys(make_metagraph({"large": 60, "small": 40}, votes), 50) == ["m-a", "m-b"]


def test_gradients_and_redteam_one_submission_came_from_several_hotkeys(fair: Fair) -> None:
    """The file names its owner: who commits to it again has another's file, who stamps it anew has its tensors."""
    fair.commitments["z9"] = fair.commitments["a1"]
    fair.honest("y8", seed=0, block=NOW.deadline)
    assert fair.reasons() == HONEST | {"z9": "wrong_owner", "y8": "duplicate"}


def test_templar_gradients_were_missing_late_or_not_numbers(fair: Fair) -> None:
    factors = random_factors(fair.weights, seed=7, size=0.02)
    next(iter(factors.values())).magnitude_O[0] = math.inf
    fair.enter("not-finite", factors)
    fair.honest("late", seed=8, block=NOW.deadline + 1)
    fair.commitments["missing"] = replace(fair.commitments["a1"], data=fair.commitments["a1"].data[:-4] + b"no/x")
    assert fair.reasons() == HONEST | {"not-finite": "not_finite", "late": "late", "missing": "not_revealed"}


PICKLES = [case for case in CORPUS if any(word in case.name for word in ("pickle", "torch", "numpy"))]


@pytest.mark.parametrize("case", PICKLES, ids=lambda case: case.name)
def test_jfrog_and_nullifai_models_ran_code_that_scanners_did_not_see(
    case: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one parser and no scanner: what is not the expected header is never loaded."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file"
    path.write_bytes(case.make(good_file(tmp_path)))
    with pytest.raises(RejectedSubmission):
        read_adapter(path, LAYOUT, STAMP)
    assert not CANARY.exists()


def versions(name: str) -> Iterator[tuple[int, ...]]:
    """The floor in the project, and the version that is tested with."""
    line = next(line for line in PROJECT["dependencies"] if line.startswith(f"{name}>="))
    for text in (re.split(r"[>=,<]+", line)[1], PINNED[name]):
        yield tuple(int(part) for part in text.split("."))


def test_cve_2026_4372_and_5241_a_config_ran_code_without_trust() -> None:
    """Fixed in transformers 5.3.0; and no file of a miner but the adapter is asked for (tests/test_revealed.py)."""
    assert all(version >= (5, 3) for version in versions("transformers"))


@pytest.mark.parametrize(
    "name", ["../../../.bashrc", "..\\..\\evil", "/etc/passwd", "a/../../b", "C:\\x", ".git/config"]
)
def test_huggingface_hub_wrote_outside_its_folder(name: str, tmp_path: Path) -> None:
    """One name is asked for, and a Hub that answers with others is not listened to; a release's names are plain."""
    with pytest.raises(NotOnHub):
        check_path(name)
    with pytest.raises(BadRecord):
        FileEntry.parse(entry_of("x", b"").to_bytes().replace(b'"x"', json.dumps(name).encode()))
    body = json.dumps([{"type": "file", "path": name, "size": 1, "oid": "a" * 40}]).encode()
    with server_that(lambda peer, _: peer.sendall(headers(len(body)) + body)) as url:
        assert HubClient(url).describe("alice/x", "a" * 40, ["round-000002/adapter_model.safetensors"]) == {}
    assert list(tmp_path.iterdir()) == []


def test_flock_a_validator_trusted_code_and_tokenizers_of_miners() -> None:
    """No name of a repository reaches a loader: models come from folders of verified files, in one module."""
    source = (ROOT / "hivetune" / "model.py").read_text()
    assert source.count("from_pretrained(") == source.count("trust_remote_code=False") > 0
    assert "trust_remote_code=True" not in source
