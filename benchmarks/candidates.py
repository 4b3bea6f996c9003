"""A small base trained on real text, and a round of candidates: honest ones of many skills, and worthless ones."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from hivetune.adapter import CONFIG_NAME, FILE_NAME, Stamp, peft_config, write_adapter
from hivetune.corpus import Document
from hivetune.dora import Factors
from hivetune.model import BaseModel, find_targets, load_base, save_base, target_weights
from hivetune.records import AdapterLayout
from miner.fast_engine import FastEngine
from miner.trainer import pack_sequences
from neurons.localnet.assets import prepare_base, prepare_documents
from neurons.localnet.options import DEFAULT_BASE, DEFAULT_CORPUS
from tests.conftest import byte_tokenizer

CACHE = Path(".cache/hivetune")
STAMP = Stamp(hotkey="5Benchmark", round_id=0, release_sha256="0" * 64)
SEQUENCE_LENGTH = 128  # tokens; bytes in the small base
BASE_STEPS = 200
BASE_DOMAINS = 8  # the base learns these, the miners the others
RANK = 16
WORTHLESS = ("untrained", "noise", "reversed", "trained on shuffled text")


def real_base() -> Path:
    """SmolLM2-135M, as in the demo."""
    return prepare_base(DEFAULT_BASE, CACHE.resolve(), print)


def real_text() -> list[list[Document]]:
    """The demo's documents, domain by domain."""
    domains: dict[str, list[Document]] = {}
    for document in prepare_documents(DEFAULT_CORPUS, CACHE.resolve(), print):
        domains.setdefault(document.domain, []).append(document)
    return list(domains.values())


def texts(documents: Sequence[Document], characters: int) -> list[str]:
    """Pieces of that many characters."""
    joined = "\n".join(document.text for document in documents)
    return [joined[start : start + characters] for start in range(0, len(joined) - characters, characters)]


def train_small_base(folder: Path, documents: Sequence[Document], *, width: int = 192, layers: int = 6) -> None:
    """Six layers over bytes: large enough to learn, small enough that a naive validator ends within minutes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        num_key_value_heads=1, intermediate_size=8 * width // 3, max_position_embeddings=256, bos_token_id=None,
        eos_token_id=256,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    base = BaseModel(model=model, tokenizer=byte_tokenizer())
    sequences_NT = pack_sequences(base.tokenizer, [document.text for document in documents], SEQUENCE_LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95))
    for step, rows in enumerate(_draws(len(sequences_NT), 16, BASE_STEPS)):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 20) * (1 - step / BASE_STEPS)
        _loss(model, sequences_NT[rows]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    save_base(base, folder)


def layout_of(base: BaseModel) -> AdapterLayout:
    return AdapterLayout(rank=RANK, alpha=2.0 * RANK, rslora=False, targets=find_targets(base.model))


def train_adapter(
    base_folder: Path,
    sequences_NT: Tensor,
    *,
    steps: int,
    seed: int,
    shuffled: bool = False,
    start: dict[str, Factors] | None = None,
) -> dict[str, Factors]:
    """What a miner makes of its shard in so many steps; of text without order, when `shuffled`; or of a given start."""
    base = load_base(base_folder)
    engine = FastEngine(base, layout_of(base), seed=seed, device="cpu")
    if start is not None:
        engine.restore(_state_of(start))
    if shuffled:
        order = torch.randperm(sequences_NT.numel(), generator=torch.Generator().manual_seed(seed))
        sequences_NT = sequences_NT.flatten()[order].view_as(sequences_NT)
    for step, rows in enumerate(_draws(len(sequences_NT), 8, steps, seed)):
        engine.step([sequences_NT[rows]], 3e-3 * (1 - step / steps))
    return engine.factors()


def _state_of(factors: dict[str, Factors]) -> dict[str, Tensor]:
    """What an engine restores, without the optimizer's moments."""
    return {
        f"parameter:{module}.{part}": tensor
        for module, layer in factors.items()
        for part, tensor in (("lora_A", layer.down_RI), ("lora_B", layer.up_OR), ("magnitude", layer.magnitude_O))
    }


def worthless(kind: str, base: BaseModel, honest: dict[str, Factors], seed: int) -> dict[str, Factors]:
    """What somebody sends who did not train: next to nothing, noise of the honest's size, or the honest's opposite."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, base_OI in target_weights(base.model, layout_of(base)).items():
        layer = honest[name]
        norm_O = base_OI.norm(dim=1)
        noise_OR = layer.up_OR.std() * torch.randn(layer.up_OR.shape, generator=generator)
        up_OR = {"untrained": 1e-3 * noise_OR, "noise": noise_OR, "reversed": -layer.up_OR}[kind]
        magnitude_O = (2 * norm_O - layer.magnitude_O).clamp_min(0) if kind == "reversed" else norm_O
        found[name] = Factors(down_RI=layer.down_RI, up_OR=up_OR, magnitude_O=magnitude_O)
    return found


def write_candidate(folder: Path, layout: AdapterLayout, factors: dict[str, Factors]) -> None:
    """A folder that hivetune and PEFT both read."""
    folder.mkdir(parents=True)
    write_adapter(folder / FILE_NAME, layout, STAMP, factors)
    (folder / CONFIG_NAME).write_bytes(peft_config(layout, "base"))


def _draws(count: int, size: int, steps: int, seed: int = 0) -> Iterator[list[int]]:
    chooser = random.Random(seed)
    for _ in range(steps):
        yield chooser.sample(range(count), size)


def _loss(model: LlamaForCausalLM, tokens_BT: Tensor) -> Tensor:
    logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
    return functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
