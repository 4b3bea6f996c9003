"""The training author from shard to file, with a chain and a release of plain values."""

import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hivetune.adapter import Stamp, read_adapter
from hivetune.corpus import Corpus, Row, write_corpus
from hivetune.draws import assign_shard
from hivetune.errors import ConfigError
from hivetune.model import load_base
from hivetune.rounds import round_by_id
from hivetune.status import Status
from miner.author import TrainingAuthor
from miner.secret import load_secret, training_seed
from miner.settings import MinerSettings
from tests.conftest import DOMAINS, locate, make_layout, make_plan, make_release, same_factors

NOW = round_by_id(make_plan(), 2)
UID = 5


class Chain:
    """A height that stands still, and one neuron."""

    hotkey = "5Miner"

    def __init__(self, block: int) -> None:
        self._block = block

    def head(self) -> Any:
        return SimpleNamespace(number=self._block)

    def metagraph(self) -> Any:
        return SimpleNamespace(by_hotkey=lambda hotkey: SimpleNamespace(uid=UID))


class Follower:
    """A release on disk; counts how often its text is read."""

    def __init__(self, base: Path, data: Path) -> None:
        self._base, self._data, self.reads = base, data, 0

    def base_folder(self, located: object) -> Path:
        return self._base

    def data_file(self, release: object, entry: object) -> Path:
        self.reads += 1
        return self._data


Make = Callable[..., tuple[TrainingAuthor, Follower, list[Status]]]


@pytest.fixture
def make(base_folders: dict[str, Path], tmp_path: Path) -> Make:
    rows = [Row(text=DOMAINS[shard % 3] * 6, domain="x", document=shard, shard=shard) for shard in range(8)]
    data = write_corpus(Corpus(train=rows, evaluation=rows[:1], test=rows[:1]), tmp_path / "corpus")["train"]

    def build(
        *, block: int = NOW.first_block, secret: bytes = b"s" * 32, **given: object
    ) -> tuple[TrainingAuthor, Follower, list[Status]]:
        settings = MinerSettings(network="local", netuid=1, wallet="w", hub="http://hub", steps=4, **given)
        follower, shown = Follower(base_folders["llama"], data), []
        return TrainingAuthor(settings, Chain(block), follower, shown.append, secret=secret), follower, shown

    return build


def test_both_engines_write_the_adapter_of_the_assigned_shard(
    make: Make, base_folders: dict[str, Path], tmp_path: Path
) -> None:
    layout = make_layout(load_base(base_folders["llama"]))
    located = locate(make_release(layout))
    stamp = Stamp(hotkey=Chain.hotkey, round_id=2, release_sha256=located.sha256)
    found = []
    for engine in ("fast", "peft", "fast"):
        author, follower, shown = make(engine=engine)
        path = tmp_path / "state" / "rounds" / f"{len(found):06d}" / "adapter.safetensors"
        path.parent.mkdir(parents=True)
        assert author.write(located, NOW, path)
        found.append(read_adapter(path, layout, stamp))
        assert follower.reads == (0 if len(found) > 1 else 1), "the shard is read and tokenised once"
        shard = assign_shard(located.sha256, 2, UID, 8)
        assert shown[-1].activity == f"training on shard {shard}"
        assert [entry.name for entry in path.parent.iterdir()] == [path.name], "no checkpoint is left"
    assert same_factors(found[0], found[2])
    for name, layer in found[0].items():
        assert float((layer.magnitude_O - found[1][name].magnitude_O).abs().max()) < 1e-4


def test_too_few_blocks_write_nothing(make: Make, base_folders: dict[str, Path], tmp_path: Path) -> None:
    located = locate(make_release(make_layout(load_base(base_folders["llama"]))))
    author, follower, _ = make(block=NOW.deadline)
    assert not author.write(located, NOW, tmp_path / "state" / "rounds" / "000002" / "adapter.safetensors")
    assert follower.reads == 0


def test_two_miners_with_one_hotkey_train_differently_and_a_restart_trains_as_before(
    make: Make, base_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Whoever knows hotkey, round and settings cannot repeat the training: the secret stays in the state folder."""
    layout = make_layout(load_base(base_folders["llama"]))
    located = locate(make_release(layout))
    stamp = Stamp(hotkey=Chain.hotkey, round_id=2, release_sha256=located.sha256)
    found = []
    for run, state in enumerate(("mine", "a-thiefs", "mine")):
        author, _, _ = make(secret=load_secret(tmp_path / state / "training-secret"))
        path = tmp_path / state / "rounds" / str(run) / "adapter.safetensors"
        path.parent.mkdir(parents=True)
        assert author.write(located, NOW, path)
        found.append(read_adapter(path, layout, stamp))
    assert same_factors(found[0], found[2])
    for name, layer in found[0].items():
        assert not torch.equal(layer.down_RI, found[1][name].down_RI)


def test_the_secret_is_for_its_owner_alone_and_a_half_written_one_is_drawn_anew(tmp_path: Path) -> None:
    path = tmp_path / "state" / "training-secret"
    path.parent.mkdir()
    path.with_name("training-secret.part").write_bytes(b"half")
    secret = load_secret(path)
    assert len(secret) == 32
    assert load_secret(path) == secret
    assert load_secret(tmp_path / "other") != secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(secret[:31])
    with pytest.raises(ConfigError, match="31 bytes"):
        load_secret(path)


def test_every_round_and_choice_has_a_seed_of_its_own() -> None:
    one, other = b"1" * 32, b"2" * 32
    given = [(one, "5A", 1, 0), (other, "5A", 1, 0), (one, "5B", 1, 0), (one, "5A", 2, 0), (one, "5A", 1, 1)]
    assert len({training_seed(*each) for each in given}) == len(given)
