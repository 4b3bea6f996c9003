"""The base model of any architecture: what is adapted, how weights stand in, and that the base is never written."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hivetune.errors import ConfigError
from hivetune.model import (
    BaseModel,
    context_length,
    digest_of,
    find_targets,
    load_base,
    save_base,
    target_weights,
)
from tests.conftest import CONFIGS, capped, make_layout, random_factors, weights_of

TOKENS_BT = torch.tensor([[5, 1, 4, 1, 5, 9, 2, 6]])


def test_every_linear_layer_but_the_head_is_adapted(base: BaseModel) -> None:
    head = base.model.get_output_embeddings()
    linear = {n: m for n, m in base.model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head}
    targets = find_targets(base.model)
    assert [target.module for target in targets] == list(linear)
    assert len(targets) >= 4
    for target in targets:
        module = linear[target.module]
        shape = (target.in_features, target.out_features)
        assert target.transposed == isinstance(module, Conv1D)
        assert tuple(module.weight.shape) == (shape if target.transposed else shape[::-1])


def test_other_weights_stand_in_for_one_call_only(base: BaseModel) -> None:
    weights = weights_of(base)
    before, untouched = base.logits(TOKENS_BT, {}), digest_of(weights)
    twice = {name: 2 * weight_OI for name, weight_OI in weights.items()}
    changed = base.logits(TOKENS_BT, twice)
    assert not torch.allclose(changed, before, atol=1e-2)
    assert torch.equal(base.logits(TOKENS_BT, {}), before)
    assert digest_of(weights) == untouched


def test_standing_in_is_the_same_as_writing_the_weights(base: BaseModel, base_folder: Path) -> None:
    other = load_base(base_folder)
    factors = random_factors(weights_of(base))
    moved = {
        name: weight_OI + factors[name].up_OR @ factors[name].down_RI for name, weight_OI in weights_of(base).items()
    }
    for name, weight_OI in weights_of(other).items():
        weight_OI.copy_(moved[name])
    torch.testing.assert_close(base.logits(TOKENS_BT, moved), other.logits(TOKENS_BT, {}))


def test_the_head_is_separate_where_the_logits_are_its_plain_product(base: BaseModel) -> None:
    head = base.separate_head
    assert head is base.model.get_output_embeddings()
    twice = {name: 2 * weight_OI for name, weight_OI in weights_of(base).items()}
    assert torch.equal(head(base.hidden(TOKENS_BT, twice)), base.logits(TOKENS_BT, twice))


def test_a_head_whose_product_is_capped_is_not_separate(base: BaseModel) -> None:
    assert capped(base).separate_head is None


def test_the_base_is_frozen_and_in_evaluation_mode(base: BaseModel) -> None:
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert not base.model.training
    assert all(parameter.dtype == torch.float32 for parameter in base.model.parameters())


def test_gradients_reach_the_weights_that_stand_in(base: BaseModel) -> None:
    weights = {name: weight_OI.clone().requires_grad_() for name, weight_OI in weights_of(base).items()}
    base.logits(TOKENS_BT, weights).square().mean().backward()
    assert all(weight.grad is not None and float(weight.grad.norm()) > 0 for weight in weights.values())


def test_saving_and_loading_keeps_every_logit(base: BaseModel, tmp_path: Path) -> None:
    save_base(base, tmp_path)
    again = load_base(tmp_path)
    assert torch.equal(again.logits(TOKENS_BT, {}), base.logits(TOKENS_BT, {}))
    assert again.tokenizer("some text")["input_ids"] == base.tokenizer("some text")["input_ids"]
    assert context_length(tmp_path) == 64


def test_a_layout_of_another_model_is_refused(bases: dict[str, BaseModel]) -> None:
    with pytest.raises(ConfigError, match="which the model does not have"):
        target_weights(bases["gpt2"].model, make_layout(bases["llama"]))
    with pytest.raises(ConfigError, match="does not fit"):
        target_weights(bases["llama-tied"].model, make_layout(bases["llama"]))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no causal language model"):
        load_base(tmp_path)


def test_a_folder_with_pickled_weights_is_refused(base_folders: dict[str, Path], tmp_path: Path) -> None:
    for path in base_folders["llama"].iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(load_base(base_folders["llama"]).model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError):
        load_base(tmp_path)


def test_remote_code_is_never_run(base_folders: dict[str, Path], tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    for path in base_folders["llama"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "stranger",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"from pathlib import Path\nPath({str(canary)!r}).touch()\n")
    with pytest.raises(ConfigError):
        load_base(tmp_path)
    assert not canary.exists()


def test_the_digest_sees_every_bit_and_no_order(base: BaseModel) -> None:
    weights = {name: weight_OI.clone() for name, weight_OI in weights_of(base).items()}
    digest = digest_of(weights)
    assert digest_of(dict(reversed(weights.items()))) == digest
    first = next(iter(weights.values()))
    first[0, 0] = torch.nextafter(first[0, 0], torch.tensor(9.0))
    assert digest_of(weights) != digest


def test_a_model_without_linear_layers_cannot_be_adapted() -> None:
    class Empty(nn.Module):
        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(ConfigError, match="Empty has no linear layer"):
        find_targets(Empty())


def test_bases_load_in_many_threads_at_once(base_folders: dict[str, Path], bases: dict[str, BaseModel]) -> None:
    """Transformers does not: two at once left it without tied weights for the rest of the process."""
    names = list(CONFIGS) * 3
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda name: load_base(base_folders[name]), names))
    again = [load_base(base_folders[name]) for name in CONFIGS]
    tokens_BT = torch.arange(8).unsqueeze(0)
    for name, base in zip([*names, *CONFIGS], [*loaded, *again], strict=True):
        assert torch.equal(base.logits(tokens_BT, {}), bases[name].logits(tokens_BT, {}))
