"""The arena's model: a Llama so small that a round takes seconds, trained on text beside what the miners get."""

import hashlib
import inspect
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional

from hivetune.corpus import Document
from hivetune.model import BaseModel, load_base, save_base
from miner.trainer import learning_rate_at, pack_sequences
from neurons.arena import text

log = logging.getLogger(__name__)

SEQUENCE_LENGTH = 64  # tokens, which are bytes
_END = "<end>"
_HIDDEN, _LAYERS, _HEADS, _INNER, _VOCABULARY = 64, 1, 2, 160, 257
_BATCH, _RATE = 16, 3e-3
_DOCUMENTS, _FEW_DOCUMENTS = 360, 12  # of each language that the base knows well, and of each other
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": _HIDDEN,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "num_key_value_heads": _HEADS,
    "intermediate_size": _INNER,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": 2 * SEQUENCE_LENGTH,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": _VOCABULARY - 1,
    "dtype": "float32",
}


def prepare_base(cache: Path, seed: int, steps: int) -> Path:
    """The base's folder, made once for a seed, a number of steps and this code."""
    sizes = (steps, _BATCH, _RATE, _DOCUMENTS, _FEW_DOCUMENTS)
    code = f"{CONFIG} {inspect.getsource(text)} {sizes} {torch.__version__}"
    folder = cache / f"arena-{seed}-{hashlib.sha256(code.encode()).hexdigest()[:12]}"
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _write_untrained(part, seed)
        base = load_base(part)
        loss = _train(base, general_documents(seed), steps, seed)
        log.info("the arena's base has a loss of %.3f on its own text", loss)
        save_base(base, part)
        part.rename(folder)
    return folder


def general_documents(seed: int) -> list[Document]:
    """What the base has read: much of two languages, and a little of those that the miners train on."""
    return [
        document
        for index, language in enumerate(text.make_languages(text.DOMAINS, seed))
        for document in text.write_documents(
            language, _DOCUMENTS if index < text.KNOWN_DOMAINS else _FEW_DOCUMENTS, seed
        )
    ]


def _write_untrained(folder: Path, seed: int) -> None:
    """A Hugging Face folder of a random Llama over bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, _END])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": _END}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    generator = torch.Generator().manual_seed(seed)
    shapes = _shapes()
    tensors = {
        name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) / shape[1] ** 0.5
        for name, shape in shapes.items()
    }
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (_VOCABULARY, _HIDDEN),
        "model.norm.weight": (_HIDDEN,),
        "lm_head.weight": (_VOCABULARY, _HIDDEN),
    }
    for layer in range(_LAYERS):
        start = f"model.layers.{layer}"
        for part in ("q", "k", "v", "o"):
            shapes[f"{start}.self_attn.{part}_proj.weight"] = (_HIDDEN, _HIDDEN)
        for part in ("gate", "up"):
            shapes[f"{start}.mlp.{part}_proj.weight"] = (_INNER, _HIDDEN)
        shapes[f"{start}.mlp.down_proj.weight"] = (_HIDDEN, _INNER)
        for part in ("input", "post_attention"):
            shapes[f"{start}.{part}_layernorm.weight"] = (_HIDDEN,)
    return shapes


def _train(base: BaseModel, documents: Sequence[Document], steps: int, seed: int) -> float:
    """All weights, by AdamW; the loss of the last step."""
    sequences_NT = pack_sequences(base.tokenizer, [document.text for document in documents], SEQUENCE_LENGTH)
    generator = torch.Generator().manual_seed(seed)
    base.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(base.model.parameters(), betas=(0.9, 0.95), lr=_RATE)
    loss = 0.0
    for step in range(steps):
        rows = torch.randint(len(sequences_NT), (_BATCH,), generator=generator)
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, steps, _RATE)
        found = _loss(base, sequences_NT[rows])
        optimizer.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(base.model.parameters(), 1.0)
        optimizer.step()
        loss = float(found.detach())
    base.model.requires_grad_(False)
    return loss


def _loss(base: BaseModel, tokens_BT: Tensor) -> Tensor:
    logits_BTV = base.model(input_ids=tokens_BT, use_cache=False).logits
    return functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
