"""The fast engine trains what PEFT's trains, and the file it leaves is PEFT's."""

import logging
from collections.abc import Sequence
from pathlib import Path

import peft
import pytest
import torch
from torch import Tensor
from torch._dynamo import register_backend

from hivetune.adapter import CONFIG_NAME, FILE_NAME, Stamp, peft_config, read_adapter, write_adapter
from hivetune.errors import ConfigError
from hivetune.model import BaseModel, load_base
from miner.blocks import find_blocks
from miner.engine import PeftEngine
from miner.engines import build_engine, fast_options
from miner.fast_engine import FastEngine, FastOptions
from miner.settings import MinerSettings
from miner.trainer import pack_sequences
from tests.conftest import DOMAINS, byte_tokenizer, capped, make_layout, same_factors

STAMP = Stamp(hotkey="5Miner", round_id=1, release_sha256="0" * 64)


def tokens(count: int = 8) -> Tensor:
    return pack_sequences(byte_tokenizer(), [DOMAINS[1], DOMAINS[2]] * 8, 24)[:count]


def fast(folder: Path, *, seed: int = 3, dtype: torch.dtype = torch.float32, **options: object) -> FastEngine:
    base = load_base(folder, dtype=dtype)
    chosen = FastOptions(**options)
    return FastEngine(base, make_layout(load_base(folder)), seed=seed, device="cpu", options=chosen)


def reference(folder: Path, *, seed: int = 3, dtype: torch.dtype = torch.float32) -> PeftEngine:
    return PeftEngine(load_base(folder, dtype=dtype), make_layout(load_base(folder)), seed=seed, device="cpu")


def train(engine: FastEngine | PeftEngine, steps: int, micro_batch: int = 4) -> list[float]:
    rows = tokens()
    return [engine.step(rows[step % 2 :: 2].split(micro_batch), 2e-3) for step in range(steps)]


@pytest.mark.parametrize(
    ("name", "checkpointed"),
    [("llama", True), ("llama", False), ("llama-tied", False), ("gpt2", False), ("gpt-neox", False)],
)
def test_after_fifty_steps_the_loss_is_pefts(base_folders: dict[str, Path], name: str, checkpointed: bool) -> None:
    engines = [fast(base_folders[name], checkpointed=checkpointed), reference(base_folders[name])]
    assert same_factors(engines[0].factors(), engines[1].factors())
    mine, pefts = (train(engine, 50) for engine in engines)
    assert mine == pytest.approx(pefts, rel=1e-4)
    assert mine[-1] < mine[0] - 0.1


def test_bfloat16_stays_near_peft(base_folder: Path) -> None:
    engines = [fast(base_folder, dtype=torch.bfloat16), reference(base_folder, dtype=torch.bfloat16)]
    mine, pefts = (train(engine, 10) for engine in engines)
    assert mine == pytest.approx(pefts, rel=5e-3)


@pytest.mark.parametrize(
    "options", [{"checkpointed": True}, {"blocked_attention": False}, {"form": "factored"}, {"form": "merged"}]
)
def test_ways_to_compute_change_only_the_rounding(base_folders: dict[str, Path], options: dict[str, object]) -> None:
    folder = base_folders["llama"]
    assert train(fast(folder, **options), 4, micro_batch=2) == pytest.approx(train(fast(folder), 4), rel=1e-6)


def logits(base: BaseModel | torch.nn.Module, rows: Tensor) -> Tensor:
    model = base.model if isinstance(base, BaseModel) else base
    with torch.no_grad():
        return model(input_ids=rows, use_cache=False).logits


def test_our_file_in_peft_gives_the_same_logits(base_folder: Path, tmp_path: Path) -> None:
    base, layout = load_base(base_folder), make_layout(load_base(base_folder))
    engine = FastEngine(base, layout, seed=3, device="cpu")
    train(engine, 5)
    write_adapter(tmp_path / FILE_NAME, layout, STAMP, engine.factors())
    (tmp_path / CONFIG_NAME).write_bytes(peft_config(layout, "owner/base"))
    loaded = peft.PeftModel.from_pretrained(load_base(base_folder).model, tmp_path)
    torch.testing.assert_close(logits(loaded, tokens()), logits(base, tokens()), rtol=1e-5, atol=1e-5)


def test_pefts_file_in_ours_gives_the_same_logits(base_folder: Path, tmp_path: Path) -> None:
    theirs, mine, layout = load_base(base_folder), load_base(base_folder), make_layout(load_base(base_folder))
    peft_engine = PeftEngine(theirs, layout, seed=3, device="cpu")
    train(peft_engine, 5)
    write_adapter(tmp_path / FILE_NAME, layout, STAMP, peft_engine.factors())
    factors = read_adapter(tmp_path / FILE_NAME, layout, STAMP)
    parts = (("lora_A", "down_RI"), ("lora_B", "up_OR"), ("magnitude", "magnitude_O"))
    FastEngine(mine, layout, seed=8, device="cpu").restore(
        {f"parameter:{name}.{part}": getattr(layer, field) for name, layer in factors.items() for part, field in parts}
    )
    torch.testing.assert_close(logits(mine, tokens()), logits(theirs, tokens()), rtol=1e-5, atol=1e-5)


def test_an_engine_goes_on_from_the_others_checkpoint(base_folders: dict[str, Path]) -> None:
    folder = base_folders["gpt2"]
    whole, first, second = reference(folder), reference(folder), fast(folder, seed=9)
    losses = train(whole, 6)
    train(first, 3)
    second.restore(first.state())
    assert second.state().keys() == first.state().keys()
    rows = tokens()
    assert [second.step([rows[step % 2 :: 2]], 2e-3) for step in (3, 4, 5)] == pytest.approx(losses[3:], rel=1e-5)


def test_dropout_is_drawn_by_the_number_of_the_step(base_folders: dict[str, Path]) -> None:
    folder = base_folders["llama"]
    whole, plain = fast(folder, dropout=0.2), fast(folder)
    losses = train(whole, 4)
    assert losses[1:] != train(plain, 4)[1:]
    first, second = (fast(folder, dropout=0.2, checkpointed=checkpointed) for checkpointed in (False, True))
    train(first, 2)
    torch.manual_seed(1234)
    second.restore(first.state())
    state = torch.get_rng_state()
    rows = tokens()
    assert [second.step([rows[step % 2 :: 2]], 2e-3) for step in (2, 3)] == pytest.approx(losses[2:], rel=1e-6)
    assert torch.equal(state, torch.get_rng_state())


def test_compiled_blocks_give_the_same_losses(base_folders: dict[str, Path]) -> None:
    """Traced and differentiated as a whole, without the code generation that takes long."""
    folder = base_folders["llama"]
    losses = train(fast(folder, backend="aot_eager"), 2)
    assert losses == pytest.approx(train(fast(folder), 2), rel=1e-5)


def test_a_compiler_that_fails_costs_no_step(base_folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    def broken(graph: object, inputs: Sequence[Tensor]) -> None:
        raise OSError("no compiler here")

    register_backend(broken, name="broken")
    folder = base_folders["llama"]
    engine = fast(folder, backend="broken")
    losses = train(engine, 2)
    assert losses == train(fast(folder), 2)
    (record,) = [record for record in caplog.records if record.name == "miner.fast_engine"]
    assert record.levelno == logging.WARNING
    assert "no compiler here" in record.getMessage()


def test_logits_that_are_more_than_the_heads_product_are_trained_on_whole(base_folders: dict[str, Path]) -> None:
    base = capped(load_base(base_folders["llama"]))
    layout = make_layout(load_base(base_folders["llama"]))
    targets = tuple(t.model_copy(update={"module": f"model.{t.module}"}) for t in layout.targets)
    engine = FastEngine(base, layout.model_copy(update={"targets": targets}), seed=3, device="cpu")
    losses = train(engine, 6)
    assert losses[-1] < losses[0]


def test_blocks_are_the_list_that_holds_the_adapted_layers(base: BaseModel) -> None:
    names = [target.module for target in make_layout(base).targets]
    assert len(find_blocks(base.model, names)) == base.model.config.num_hidden_layers
    assert find_blocks(torch.nn.Linear(2, 2), names) == []


def settings_of(**given: object) -> MinerSettings:
    return MinerSettings(network="local", netuid=1, wallet="w", hub="http://hub", **given)


def test_settings_choose_the_engine(base_folders: dict[str, Path]) -> None:
    def build(**given: object) -> object:
        base = load_base(base_folders["llama"])
        layout = make_layout(load_base(base_folders["llama"]))
        return build_engine(settings_of(**given), base, layout, seed=1, sequence_length=24)

    assert isinstance(build(compile="off"), FastEngine)
    assert isinstance(build(engine="peft"), PeftEngine)
    with pytest.raises(ConfigError, match="setting dropout is for the engine fast"):
        build(engine="peft", dropout=0.1)


def test_a_short_training_is_not_compiled() -> None:
    assert fast_options(settings_of(), 16 * 4 * 128).backend == ""
    assert fast_options(settings_of(), 200 * 8 * 512).backend == "inductor"
    assert fast_options(settings_of(compile="on"), 1).backend == "inductor"
    assert fast_options(settings_of(compile="off"), 10**9).backend == ""
    assert fast_options(settings_of(attention="torch"), 1).blocked_attention is False
