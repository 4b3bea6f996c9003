"""The causal language model of a release: the only place that knows transformers.

Nothing here assumes an architecture: adapted layers are every nn.Linear and Conv1D but the output head.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.func import functional_call
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from hivetune.errors import ConfigError
from hivetune.records import AdapterLayout, Target

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# Loading changes the library for all threads while it lasts; two at once leave it changed, and tied weights untied.
_LOADING = threading.Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseModel:
    """A release's model in memory, frozen, fp32, in evaluation mode, with its tokenizer."""

    model: nn.Module
    tokenizer: Any

    def logits(self, tokens_BT: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Next-token logits [B, T, V] with other weights in place of some modules' own.

        `weights` maps module names to [O, I] weights. They stand in for this one call: the base is never written.
        """
        return self._call(self.model, tokens_BT, weights).logits  # type: ignore[no-any-return]

    def hidden(self, tokens_BT: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """What a separate head takes, [B, T, D], with other weights in place as in `logits`."""
        assert self.separate_head is not None
        return self._call(self.model.base_model, tokens_BT, weights)[0]  # type: ignore[no-any-return]

    @cached_property
    def separate_head(self) -> nn.Linear | None:
        """The output head, when the logits are nothing but its product with what the decoder gives."""
        return _separate_head(self.model)

    def _call(self, module: Any, tokens_BT: Tensor, weights: Mapping[str, Tensor]) -> Any:
        prefix = "" if module is self.model else f"{self.model.base_model_prefix}."
        stored = {
            f"{name.removeprefix(prefix)}.weight": weight_OI.T if self._is_transposed(name) else weight_OI
            for name, weight_OI in weights.items()
        }
        return functional_call(module, stored, (), {"input_ids": tokens_BT, "use_cache": False})

    def _is_transposed(self, name: str) -> bool:
        return isinstance(self.model.get_submodule(name), Conv1D)


@torch.no_grad()
def _separate_head(model: Any) -> nn.Linear | None:
    body, head = model.base_model, model.get_output_embeddings()
    if body is model or type(head) is not nn.Linear:
        return None
    probe_BT = torch.arange(4, device=head.weight.device).unsqueeze(0)
    expected_BTV = model(input_ids=probe_BT, use_cache=False).logits
    hidden_BTD = body(input_ids=probe_BT, use_cache=False)[0]
    if hidden_BTD.shape[-1] != head.in_features or not torch.equal(head(hidden_BTD), expected_BTV):
        return None  # such as a scale or a cap on the logits
    return head


def load_base(folder: Path, *, dtype: torch.dtype | str = torch.float32) -> BaseModel:
    """The model and tokenizer of a local folder; no remote code, no pickle, no network."""
    return _load(str(folder), dtype, local=True)


def load_from_hub(name: str) -> BaseModel:
    """The model and tokenizer of a public model id, in its own type, for an owner who starts a subnet from it."""
    return _load(name, "auto", local=False)


def _load(name: str, dtype: torch.dtype | str, *, local: bool) -> BaseModel:
    try:
        with _LOADING:
            model = AutoModelForCausalLM.from_pretrained(
                name, dtype=dtype, local_files_only=local, trust_remote_code=False, use_safetensors=True
            )
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{name} is no causal language model: {str(error).splitlines()[0][:200]}") from error
    model.requires_grad_(False)
    model.eval()
    return BaseModel(model=model, tokenizer=tokenizer)


def context_length(folder: Path) -> int | None:
    """The longest sequence the model was made for, when its configuration says so."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    length = getattr(config, "max_position_embeddings", None)
    return int(length) if length else None


def save_base(base: BaseModel, folder: Path) -> None:
    """Write the model and tokenizer as a Hugging Face folder of safetensors."""
    base.model.save_pretrained(folder)  # type: ignore[operator]
    base.tokenizer.save_pretrained(folder)


def find_targets(model: nn.Module) -> tuple[Target, ...]:
    """Every linear layer but the output head, in module order."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    targets = []
    for name, module in model.named_modules():
        if module is head:
            continue
        if isinstance(module, nn.Linear):
            out_features, in_features, transposed = *module.weight.shape, False
        elif isinstance(module, Conv1D):
            in_features, out_features, transposed = *module.weight.shape, True
        else:
            continue
        targets.append(Target(module=name, out_features=out_features, in_features=in_features, transposed=transposed))
    if not targets:
        raise ConfigError(f"{type(model).__name__} has no linear layer to adapt")
    return tuple(targets)


def target_weights(model: nn.Module, layout: AdapterLayout) -> dict[str, Tensor]:
    """The adapted base weights as [O, I] views by module name; ConfigError when the model does not fit the layout."""
    weights = {}
    for target in layout.targets:
        try:
            weight = model.get_submodule(target.module).weight
        except AttributeError:
            raise ConfigError(f"the release adapts {target.module}, which the model does not have") from None
        weight_OI = weight.T if target.transposed else weight
        if not isinstance(weight_OI, Tensor) or weight_OI.shape != (target.out_features, target.in_features):
            raise ConfigError(f"{target.module}: the model's weight does not fit the release's layout")
        weights[target.module] = weight_OI.detach()
    return weights


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the tensors' bytes in name order: proves that an evaluation left the base untouched."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].contiguous().numpy().data)
    return digest.hexdigest()
