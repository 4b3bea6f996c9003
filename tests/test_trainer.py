"""Training inside a round: packing, the schedule, the deadline, and restarts that change nothing."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hivetune.adapter import FILE_NAME, Stamp, read_adapter, write_adapter
from hivetune.dora import Factors, dora_weight
from hivetune.errors import ConfigError
from hivetune.evaluation import losses, make_batches
from hivetune.model import load_base
from miner.engine import Engine, PeftEngine
from miner.fast_engine import FastEngine
from miner.trainer import Progress, TrainingPlan, learning_rate_at, pack_sequences, steps_that_fit, train
from tests.conftest import DOMAINS, byte_tokenizer, make_layout, same_factors, weights_of

Kind = type[PeftEngine] | type[FastEngine]
PLAN = TrainingPlan(
    steps=8, batch_sequences=4, micro_batch_sequences=2, learning_rate=2e-3, checkpoint_steps=2, seed=7
)  # fmt: skip


class Recorder:
    """An engine that only remembers what it was given."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[list[int]], float]] = []

    def step(self, micro_batches: Iterable[Tensor], learning_rate: float) -> float:
        self.steps.append(([batch[:, 0].tolist() for batch in micro_batches], learning_rate))
        return 1.0 / len(self.steps)

    def factors(self) -> dict[str, Factors]:
        return {}

    def state(self) -> dict[str, Tensor]:
        return {"count": torch.tensor(len(self.steps))}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.steps = [([], 0.0)] * int(state["count"])


class Killed(Exception):
    """The process ended here."""


def rows(count: int = 10) -> Tensor:
    return torch.arange(count).unsqueeze(1).expand(count, 4)


def run(
    engine: Engine,
    sequences_NT: Tensor,
    checkpoint: Path,
    *,
    plan: TrainingPlan = PLAN,
    block: Callable[[], int] = lambda: 0,
    kill_after: int | None = None,
) -> Progress:
    def progress(now: Progress) -> None:
        if now.step == kill_after:
            raise Killed

    return train(engine, sequences_NT, plan, checkpoint, block=block, last_block=100, progress=progress)


def test_texts_are_packed_end_to_end_without_padding() -> None:
    tokenizer = byte_tokenizer()
    sequences_NT = pack_sequences(tokenizer, ["abc", "de", "fghij"], 4)
    assert sequences_NT.shape == (3, 4)
    assert tokenizer.decode(sequences_NT.flatten().tolist()) == "abc<eos>de<eos>fghij"


@given(st.lists(st.text(alphabet="abc ", min_size=1, max_size=30), min_size=1, max_size=8), st.integers(2, 16))
def test_packing_keeps_the_order_and_drops_less_than_one_sequence(texts: list[str], length: int) -> None:
    tokenizer = byte_tokenizer()
    stream = list(itertools.chain(*([*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts)))
    if len(stream) < length:
        with pytest.raises(ConfigError, match=f"one sequence takes {length}"):
            pack_sequences(tokenizer, texts, length)
        return
    packed = pack_sequences(tokenizer, texts, length)
    assert packed.flatten().tolist() == stream[: packed.numel()]
    assert len(stream) - packed.numel() < length


def test_a_tokenizer_without_an_end_of_text_still_packs() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    assert pack_sequences(tokenizer, ["abcd", "efgh"], 4).shape == (2, 4)


@given(st.integers(1, 500), st.floats(1e-5, 0.1))
def test_the_learning_rate_warms_up_then_falls_to_a_tenth(total: int, peak: float) -> None:
    rates = [learning_rate_at(step, total, peak) for step in range(total)]
    assert all(0 < rate <= peak for rate in rates)
    warm = min(5, max(1, total // 4))
    assert rates[:warm] == sorted(rates[:warm]) or total < 8
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    assert learning_rate_at(total, total, peak) == pytest.approx(0.1 * peak)


def test_the_schedule_has_the_shape_of_a_cosine() -> None:
    assert learning_rate_at(0, 100, 1.0) == pytest.approx(0.2)
    assert learning_rate_at(50, 100, 1.0) == pytest.approx(0.55)
    assert learning_rate_at(25, 100, 1.0) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(-20, 50))
def test_the_steps_that_fit_keep_what_is_done_and_the_plan(done: int, more: int, used: int, left: int) -> None:
    fitting = steps_that_fit(done, done + more, used, left)
    assert done <= fitting <= done + more
    if done and used and left > 0:
        assert (fitting - done) * used <= done * left


def test_the_pace_so_far_decides_what_fits() -> None:
    assert steps_that_fit(0, 100, 3, 5) == 100
    assert steps_that_fit(10, 100, 0, 5) == 100
    assert steps_that_fit(10, 100, 5, 5) == 20
    assert steps_that_fit(10, 100, 5, 0) == 10
    assert steps_that_fit(10, 100, 5, -3) == 10


def test_every_row_is_seen_once_an_epoch_in_micro_batches(tmp_path: Path) -> None:
    engine = Recorder()
    reached = run(engine, rows(8), tmp_path / "checkpoint")
    assert (reached.step, reached.total) == (8, 8)
    seen = [row for batches, _ in engine.steps for batch in batches for row in batch]
    assert sorted(seen[:8]) == sorted(seen[8:16]) == list(range(8))
    assert seen[:8] != seen[8:16]
    assert {len(batch) for batches, _ in engine.steps for batch in batches} == {2}


def test_fewer_rows_than_a_batch_are_all_used(tmp_path: Path) -> None:
    engine = Recorder()
    run(engine, rows(3), tmp_path / "checkpoint")
    assert all(sorted(itertools.chain(*batches)) == [0, 1, 2] for batches, _ in engine.steps)


def test_the_deadline_shortens_the_training(tmp_path: Path) -> None:
    """Twenty blocks a step and a hundred blocks in all."""
    engine = Recorder()
    reached = run(engine, rows(), tmp_path / "checkpoint", block=lambda: 20 * len(engine.steps))
    assert reached.step == reached.total == 5
    assert len(engine.steps) == 5


def test_the_shortened_schedule_still_ends_low(tmp_path: Path) -> None:
    engine = Recorder()
    run(engine, rows(), tmp_path / "checkpoint", block=lambda: 20 * len(engine.steps))
    rates = [rate for _, rate in engine.steps]
    assert rates[-1] < 0.35 * max(rates)


def test_a_restart_near_the_deadline_goes_by_its_own_pace(tmp_path: Path) -> None:
    """Steps done before the restart tell nothing of the pace after it."""
    engine = Recorder()
    with pytest.raises(Killed):
        run(engine, rows(), tmp_path / "checkpoint", kill_after=5)
    again = Recorder()
    reached = run(again, rows(), tmp_path / "checkpoint", block=lambda: 80 + 20 * max(0, len(again.steps) - 4))
    assert reached.step == reached.total == 5


@pytest.mark.parametrize("kill_after", [1, 2, 5, 7])
def test_a_restart_goes_on_with_the_same_rows_and_rates(tmp_path: Path, kill_after: int) -> None:
    whole, killed, resumed = Recorder(), Recorder(), Recorder()
    run(whole, rows(), tmp_path / "whole")
    with pytest.raises(Killed):
        run(killed, rows(), tmp_path / "checkpoint", kill_after=kill_after)
    run(resumed, rows(), tmp_path / "checkpoint")
    kept = 2 * ((kill_after - 1) // 2)  # checkpoints come after progress, every two steps
    assert resumed.steps[kept:] == whole.steps[kept:]
    assert len(resumed.steps) == len(whole.steps)


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
def test_loss_falls_and_the_file_holds_what_was_trained(base_folder: Path, tmp_path: Path, kind: Kind) -> None:
    base = load_base(base_folder)
    layout = make_layout(base)
    weights = {name: weight_OI.clone() for name, weight_OI in weights_of(base).items()}
    reference = load_base(base_folder)
    batches = make_batches(base.tokenizer, [DOMAINS[0]] * 4, sequence_length=32, batch_sequences=2)
    before = losses(reference, batches, {})
    engine = kind(base, layout, seed=1, device="cpu")
    sequences_NT = pack_sequences(base.tokenizer, [DOMAINS[0]] * 12, 32)
    reached = run(engine, sequences_NT, tmp_path / "checkpoint")
    stamp = Stamp(hotkey="5Miner", round_id=1, release_sha256="0" * 64)
    write_adapter(tmp_path / FILE_NAME, layout, stamp, engine.factors())
    factors = read_adapter(tmp_path / FILE_NAME, layout, stamp)
    assert same_factors(factors, engine.factors())
    adapted = {name: dora_weight(w, factors[name], layout.scale) for name, w in weights.items()}
    after = losses(reference, batches, adapted)
    assert sum(after) < sum(before) - 0.03 * sum(batch.predicted for batch in batches)
    assert reached.loss < sum(before) / sum(batch.predicted for batch in batches)


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
@pytest.mark.parametrize("name", ["llama", "llama-tied", "gpt-neox", "gpt2"])
def test_a_killed_training_ends_with_the_same_factors(
    base_folders: dict[str, Path], tmp_path: Path, name: str, kind: Kind
) -> None:
    def engine() -> Engine:
        base = load_base(base_folders[name])
        return kind(base, make_layout(load_base(base_folders[name])), seed=3, device="cpu")

    sequences_NT = pack_sequences(byte_tokenizer(), [DOMAINS[1]] * 8, 24)
    whole = engine()
    run(whole, sequences_NT, tmp_path / "whole")
    with pytest.raises(Killed):
        run(engine(), sequences_NT, tmp_path / "checkpoint", kill_after=5)
    assert (tmp_path / "checkpoint").exists()
    resumed = engine()
    reached = run(resumed, sequences_NT, tmp_path / "checkpoint")
    assert reached.step == 8
    assert same_factors(resumed.factors(), whole.factors())


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
def test_micro_batches_change_only_the_memory(base_folders: dict[str, Path], kind: Kind) -> None:
    sequences_NT = pack_sequences(byte_tokenizer(), [DOMAINS[1]] * 8, 24)[:4]
    found = []
    for size in (1, 4):
        base = load_base(base_folders["llama"])
        engine = kind(base, make_layout(load_base(base_folders["llama"])), seed=3, device="cpu")
        loss = engine.step(sequences_NT.split(size), 1e-3)
        found.append((loss, engine.factors()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, layer in found[0][1].items():
        torch.testing.assert_close(layer.magnitude_O, found[1][1][name].magnitude_O, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
def test_state_and_restore_are_a_round_trip(base_folders: dict[str, Path], kind: Kind) -> None:
    sequences_NT = pack_sequences(byte_tokenizer(), [DOMAINS[1]] * 8, 24)[:4]

    def engine(seed: int) -> Engine:
        base = load_base(base_folders["llama"])
        return kind(base, make_layout(load_base(base_folders["llama"])), seed=seed, device="cpu")

    first, second = engine(1), engine(2)
    first.step([sequences_NT], 1e-3)
    second.step([sequences_NT], 1e-3)
    assert not same_factors(first.factors(), second.factors())
    second.restore(first.state())
    assert same_factors(first.factors(), second.factors())
    assert first.state().keys() == second.state().keys()
    assert first.step([sequences_NT], 1e-3) == second.step([sequences_NT], 1e-3)
    assert same_factors(first.factors(), second.factors())


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
def test_an_engine_before_its_first_step_can_be_restored(base_folders: dict[str, Path], kind: Kind) -> None:
    sequences_NT = pack_sequences(byte_tokenizer(), [DOMAINS[1]] * 8, 24)[:4]
    engines = []
    for seed in (1, 2):
        base = load_base(base_folders["llama"])
        engines.append(kind(base, make_layout(load_base(base_folders["llama"])), seed=seed, device="cpu"))
    engines[1].restore(engines[0].state())
    for engine in engines:
        engine.step([sequences_NT], 1e-3)
    assert same_factors(engines[0].factors(), engines[1].factors())


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
def test_the_same_seed_starts_the_same_and_another_does_not(base_folders: dict[str, Path], kind: Kind) -> None:
    found = []
    for seed in (1, 1, 2):
        base = load_base(base_folders["gpt2"])
        found.append(kind(base, make_layout(load_base(base_folders["gpt2"])), seed=seed, device="cpu").factors())
    assert same_factors(found[0], found[1])
    assert not same_factors(found[0], found[2])


@pytest.mark.parametrize("kind", [PeftEngine, FastEngine])
def test_magnitudes_never_become_negative(base_folders: dict[str, Path], kind: Kind) -> None:
    """At an absurd learning rate each step moves every magnitude by far more than its size."""
    sequences_NT = pack_sequences(byte_tokenizer(), [DOMAINS[1]] * 8, 24)[:4]
    base = load_base(base_folders["llama"])
    engine = kind(base, make_layout(load_base(base_folders["llama"])), seed=3, device="cpu")
    for _ in range(3):
        engine.step([sequences_NT], 5.0)
    assert all(float(layer.magnitude_O.min()) >= 0 for layer in engine.factors().values())
    assert any(float(layer.magnitude_O.min()) == 0 for layer in engine.factors().values())
