"""The averager in a subnet with momentum: what it publishes goes on from the last step, and anybody can repeat it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from averager.merge import MERGE_PLANS
from averager.merged_base import Merge, write_merged_base
from averager.node import AveragerNode
from averager.release import list_files, next_release
from averager.repetition import first_difference
from hivetune.adapter import Stamp, write_adapter
from hivetune.commitments import PREFIX_BYTES, ReleasePointer, SubmissionPointer, unpack
from hivetune.corpus import Corpus, Row, write_corpus
from hivetune.dora import Factors
from hivetune.files import sha256_of
from hivetune.merging import prepare_all, uniform_coefficients
from hivetune.model import BaseModel
from hivetune.records import MergeReport, Release
from hivetune.releases import MANIFEST_NAME, Located
from hivetune.rounds import round_by_id
from hivetune.submissions import Opened
from tests.conftest import DOMAINS, locate, make_layout, make_release, make_scoring, weights_of

ROUND = 2
FIRST_STEP = 0.5  # of what is merged again in the second round


@dataclass
class World:
    """The owner's chain and Hub, as far as a merge needs them, and the releases on disk."""

    parent_of: Mapping[int, Located]
    folders: Mapping[int, Path]
    evaluation: Path
    hotkey: str = "5Owner"
    published: dict[str, Path | bytes] = field(default_factory=dict)
    pointer: bytes = b""

    def owner_hotkey(self) -> str:
        return self.hotkey

    def block_hash(self, block: int) -> str:
        return f"0x{block:064x}"

    def set_commitment(self, data: bytes) -> None:
        self.pointer = data

    def publish(self, _repo: str, contents: dict[str, Path | bytes], *, message: str) -> str:
        assert message
        self.published = {name: c.read_bytes() if isinstance(c, Path) else c for name, c in contents.items()}
        return "c" * 40

    def parent(self, located: Located) -> Located:
        return self.parent_of[located.release.number]

    def base_folder(self, located: Located) -> Path:
        return self.folders[located.release.number]

    def data_file(self, _release: Release, _entry: object) -> Path:
        return self.evaluation


@pytest.fixture
def world(
    llama: BaseModel, base_folders: dict[str, Path], trained: dict[str, dict[str, Factors]], tmp_path: Path
) -> World:
    """Release 1 went half the way that the trained adapters point."""
    layout, rows = make_layout(llama), [DOMAINS[i % 3][i // 3 :] + DOMAINS[i % 3] for i in range(48)]
    text = [Row(text=row, domain=f"domain-{i % 3}", document=i) for i, row in enumerate(rows)]
    corpus = write_corpus(Corpus(train=text, evaluation=text, test=text), tmp_path / "corpus")
    scoring = make_scoring(select_sequences=12, accept_sequences=24)
    first = locate(make_release(layout, merging=MERGE_PLANS["momentum"], scoring=scoring))
    adapters = prepare_all(dict(sorted(trained.items())), weights_of(llama), layout.scale)
    merge = Merge(adapters=adapters, coefficients=uniform_coefficients(adapters), step=FIRST_STEP, layout=layout)
    files = list_files(write_merged_base(base_folders["llama"], merge, tmp_path / "second"))
    report = MergeReport(
        round_id=ROUND - 1, beacon="0xab", method="momentum", scale=FIRST_STEP, momentum=0.0, clip=1.0,
        contributions=(),
        loss_before=2.0, loss_after=1.5, improvement=0.5, lower=0.4, upper=0.6,
    )  # fmt: skip
    second = locate(next_release(first, files, report))
    return World(
        parent_of={1: first, 2: second},
        folders={0: base_folders["llama"], 1: tmp_path / "second"},
        evaluation=corpus["evaluation"],
    )


def test_a_release_goes_on_from_the_last_step_and_is_repeated_to_the_bit(
    world: World, trained: dict[str, dict[str, Factors]], tmp_path: Path
) -> None:
    located = world.parent_of[2]
    layout, now = located.release.layout, round_by_id(located.release.rounds, ROUND)
    opened = []
    for hotkey, factors in sorted(trained.items()):
        path = tmp_path / f"{hotkey}.safetensors"
        write_adapter(path, layout, Stamp(hotkey=hotkey, round_id=ROUND, release_sha256=located.sha256), factors)
        prefix = located.sha256[: 2 * PREFIX_BYTES]
        pointer = SubmissionPointer(
            round_id=ROUND, release_prefix=prefix, file_sha256=sha256_of(path), repo="a/b"
        )  # fmt: skip
        opened.append(Opened(hotkey=hotkey, pointer=pointer, revision="d" * 40, path=path, factors=factors))
    anything = cast(Any, world)
    node = AveragerNode(
        ledger=anything, hub=anything, source=anything, follower=anything, repo="owner/releases",
        state=tmp_path / "state", report=lambda _status: None,
    )  # fmt: skip

    outcome = node._merge_opened(located, now, opened)

    assert outcome.published
    assert outcome.report is not None
    assert 0 < outcome.report.momentum <= 0.8
    release = Release.parse(cast(bytes, world.published[MANIFEST_NAME]))
    pointer_of = unpack(world.pointer)
    assert isinstance(pointer_of, ReleasePointer)
    assert (pointer_of.number, pointer_of.manifest_sha256) == (2, release.digest())
    submissions = {one.hotkey: one.path for one in opened}
    repeat = (release, outcome.report, located, world.folders[1], submissions)
    assert first_difference(*repeat, tmp_path / "again", 2, world.folders[0]) == ""
    elsewhere = first_difference(*repeat, tmp_path / "other", 2, world.folders[1])
    assert re.fullmatch(r"model.safetensors has sha256 \w+, repeated \w+", elsewhere)
