"""What was measured survives a kill at any byte, to the last bit."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.journal import Journal


@given(st.dictionaries(st.text(max_size=8), st.lists(st.floats(allow_nan=False, allow_infinity=False)), max_size=5))
def test_losses_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, found: dict[str, list[float]]) -> None:
    path = tmp_path_factory.mktemp("journal") / "round.jsonl"
    journal = Journal(path)
    for hotkey, nats in found.items():
        journal[hotkey] = tuple(nats)
    assert dict(Journal(path)) == dict(journal) == {hotkey: tuple(nats) for hotkey, nats in found.items()}


def test_a_line_cut_off_by_a_kill_is_forgotten_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "round.jsonl"
    Journal(path)["first"] = (1.0, 2.0)
    whole = path.read_bytes()
    Journal(path)["second"] = (3.0,)
    for end in range(len(whole), path.stat().st_size):
        cut = tmp_path / "cut" / "round.jsonl"
        cut.parent.mkdir(exist_ok=True)
        cut.write_bytes(path.read_bytes()[:end])
        journal = Journal(cut)
        assert dict(journal) == {"first": (1.0, 2.0)}
        journal["third"] = (4.0,)
        assert dict(Journal(cut)) == {"first": (1.0, 2.0), "third": (4.0,)}


def test_another_rounds_journal_is_removed(tmp_path: Path) -> None:
    Journal(tmp_path / "000001.jsonl")["first"] = (1.0,)
    assert dict(Journal(tmp_path / "000002.jsonl")) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["000002.jsonl"]
