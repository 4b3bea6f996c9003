"""Turns the demo's base, a Llama in a 4-bit GGUF file, into a Hugging Face folder that every node loads alike.

Shapes: O = out features, I = in features.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hivetune.errors import ConfigError
from neurons.localnet.downloads import check_sha256

GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_ENDING = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL_TOKEN = 3  # GGUF's token type of special tokens
LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
OUTER_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def convert(gguf: Path, folder: Path, *, sha256: str = GGUF_SHA256) -> Path:
    """`folder` with model, configuration and tokenizer, made once; it appears whole or not at all."""
    if (folder / "model.safetensors").is_file():
        return folder
    check_sha256(gguf, sha256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        write_folder(gguf, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError as error:
        raise ConfigError(f"cannot write the model to {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write_folder(gguf: Path, folder: Path) -> None:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ConfigError("the demo's base needs the package gguf: pip install 'hivetune[demo]'") from error
    try:
        reader = GGUFReader(gguf)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        write_json(folder / "config.json", model_config(fields))
        write_json(folder / "generation_config.json", generation_config(fields))
        write_json(folder / "tokenizer_config.json", tokenizer_config(fields))
        write_tokenizer(fields, folder / "tokenizer.json")
        write_weights(reader, fields, folder / "model.safetensors")
    except (ValueError, KeyError, IndexError) as error:
        raise ConfigError(f"{gguf} is not a GGUF file of a Llama: {type(error).__name__}: {error}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(reader: Any, fields: Mapping[str, Any], path: Path) -> None:
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    tensors = {}
    for tensor in reader.tensors:
        name, kind = hugging_face_name(tensor.name)
        weight = dequantize(tensor.data, tensor.tensor_type)
        if kind in heads:
            weight = unpermute(weight, heads[kind])
        tensors[name] = torch.from_numpy(np.array(weight)).to(torch.bfloat16)
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)


def hugging_face_name(name: str) -> tuple[str, str]:
    """Name there, and GGUF's name of the kind of layer ("" outside the layers)."""
    if name in OUTER_NAMES:
        return OUTER_NAMES[name], ""
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{int(layer)}.{LAYER_NAMES[kind]}.weight", kind


def unpermute(weight_OI: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """GGUF interleaves the two halves of each head's rotary dimensions; put the halves one after the other."""
    outputs, inputs = weight_OI.shape
    return weight_OI.reshape(heads, outputs // heads // 2, 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


def model_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "initializer_range": 0.02,
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": float(fields["llama.rope.freq_base"]),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": fields["llama.vocab_size"],
    }


def generation_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {name: fields[f"tokenizer.ggml.{field}_token_id"] for name, field in names.items()}


def tokenizer_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[fields.get("tokenizer.ggml.unknown_token_id", 0)],
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
    }


def write_tokenizer(fields: Mapping[str, Any], path: Path) -> None:
    """Byte-level BPE that splits digits first, as the model was trained; a generic GGUF import forgets the digits."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    special = [AddedToken(token, special=True, normalized=False) for token, kind in kinds if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))
