"""The training author from shard to file, with a chain and a release of plain values."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hivetune.adapter import Stamp, read_adapter
from hivetune.corpus import Corpus, Row, write_corpus
from hivetune.draws import assign_shard
from hivetune.model import load_base
from hivetune.rounds import round_by_id
from hivetune.status import Status
from miner.author import TrainingAuthor
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

    def build(*, block: int = NOW.first_block, **given: object) -> tuple[TrainingAuthor, Follower, list[Status]]:
        settings = MinerSettings(network="local", netuid=1, wallet="w", hub="http://hub", steps=4, **given)
        follower, shown = Follower(base_folders["llama"], data), []
        return TrainingAuthor(settings, Chain(block), follower, shown.append), follower, shown

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
