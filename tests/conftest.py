"""What many tests need: tiny random models of several architectures, a manifest around them, and factors to judge."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from averager.merge import MERGE_PLANS
from hivetune.dora import Factors, Shape
from hivetune.evaluation import Batch, make_batches
from hivetune.merging import Adapter, prepare
from hivetune.model import BaseModel, find_targets, load_base, target_weights
from hivetune.records import AdapterLayout, DataManifest, FileEntry, Release, RoundPlan, ScoringPlan
from hivetune.releases import Located
from hivetune.row_gains import measure_layers
from miner.engine import PeftEngine
from miner.trainer import pack_sequences
from tests.contract.targets import ENDPOINT_VARIABLE, WASM_VARIABLE

torch.set_num_threads(1)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

RANK = 4
ALPHA = 8.0
# Three architectures that share no module name, each with its own vocabulary size; embeddings tied and not.
CONFIGS: Mapping[str, PreTrainedConfig] = {
    "llama": LlamaConfig(
        vocab_size=257, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=64, initializer_range=0.15, bos_token_id=None, eos_token_id=256,
        tie_word_embeddings=False,
    ),
    "llama-tied": LlamaConfig(
        vocab_size=264, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=40, max_position_embeddings=64, initializer_range=0.15, bos_token_id=None, eos_token_id=256,
        tie_word_embeddings=True,
    ),
    "gpt2": GPT2Config(
        vocab_size=260, n_embd=24, n_layer=2, n_head=2, n_positions=64, initializer_range=0.15, bos_token_id=256,
        eos_token_id=256,
    ),
    "gpt-neox": GPTNeoXConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40,
        max_position_embeddings=64, initializer_range=0.15, bos_token_id=256, eos_token_id=256,
        tie_word_embeddings=False,
    ),
}  # fmt: skip
DOMAINS = (
    "the sea is calm and the ship is near the shore. ",
    "one and two are three, two and three are five. ",
    "she said that he said that they said nothing. ",
)


@pytest.fixture(scope="session")
def base_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Hugging Face folder of every architecture."""
    folders = {}
    for name, config in CONFIGS.items():
        torch.manual_seed(len(name))
        folders[name] = tmp_path_factory.mktemp(name)
        AutoModelForCausalLM.from_config(config).save_pretrained(folders[name])
        byte_tokenizer().save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def bases(base_folders: dict[str, Path]) -> dict[str, BaseModel]:
    """Every architecture in memory; nothing may write to them."""
    return {name: load_base(folder) for name, folder in base_folders.items()}


@pytest.fixture(params=list(CONFIGS))
def architecture(request: pytest.FixtureRequest) -> str:
    """The test runs once for every architecture."""
    return str(request.param)


@pytest.fixture
def base(bases: dict[str, BaseModel], architecture: str) -> BaseModel:
    return bases[architecture]


@pytest.fixture
def base_folder(base_folders: dict[str, Path], architecture: str) -> Path:
    return base_folders[architecture]


@pytest.fixture(scope="session")
def llama(bases: dict[str, BaseModel]) -> BaseModel:
    """One base for tests in which the architecture plays no part."""
    return bases["llama"]


@pytest.fixture(scope="session")
def trained(base_folders: dict[str, Path]) -> dict[str, dict[str, Factors]]:
    """Factors of three honest miners on the llama base, each trained on a domain of its own."""
    found = {}
    for index, text in enumerate(DOMAINS):
        base = load_base(base_folders["llama"])
        sequences_NT = pack_sequences(base.tokenizer, [text] * 12, 32)
        engine = PeftEngine(base, make_layout(load_base(base_folders["llama"])), seed=index, device="cpu")
        for step in range(20):
            engine.step([sequences_NT[step % 2 :: 2]], 2e-3)
        found[f"honest-{index}"] = engine.factors()
    return found


@pytest.fixture(scope="session")
def honest(llama: BaseModel, trained: dict[str, dict[str, Factors]]) -> list[Adapter]:
    """The trained submissions, admitted, in hotkey order."""
    return [admitted(llama, hotkey, factors) for hotkey, factors in sorted(trained.items())]


@pytest.fixture(scope="session")
def batches(llama: BaseModel) -> list[Batch]:
    """Held-out text of all domains, the domains taking turns within each batch."""
    texts = [DOMAINS[row % 3][row:] + DOMAINS[row % 3] for row in range(36)]
    return make_batches(llama.tokenizer, texts, sequence_length=32, batch_sequences=6)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte and an end-of-text token."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*alphabet, "<eos>"])}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def make_layout(base: BaseModel, rank: int = RANK, *, rslora: bool = False) -> AdapterLayout:
    return AdapterLayout(rank=rank, alpha=ALPHA, rslora=rslora, targets=find_targets(base.model))


def capped(base: BaseModel) -> BaseModel:
    """The same model with a soft cap on its logits, which are then more than its head's product."""

    class Capped(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        @property
        def base_model(self) -> Any:
            """Not registered: a module under two names is not put back when its weights were replaced for a call."""
            return self.model.base_model

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.model.get_output_embeddings()  # type: ignore[no-any-return]

        def forward(self, **inputs: object) -> Any:
            found = self.model(**inputs)
            found.logits = 3 * torch.tanh(found.logits / 3)
            return found

    return BaseModel(model=Capped(base.model), tokenizer=base.tokenizer)


def weights_of(base: BaseModel) -> dict[str, Tensor]:
    return target_weights(base.model, make_layout(base))


def admitted(base: BaseModel, hotkey: str, factors: Mapping[str, Factors]) -> Adapter:
    return prepare(hotkey, factors, weights_of(base), ALPHA / RANK)


def shape_of(base_OI: Tensor, factors: Factors, scale: float) -> Shape:
    """What one layer's factors do to one base weight."""
    (shape,) = measure_layers({"": (base_OI, [factors])}, scale)[""].shapes
    return shape


def random_layer(base_OI: Tensor, *, seed: int = 0, size: float = 0.1, rank: int = RANK) -> Factors:
    """Factors that move one weight by roughly `size` of itself."""
    generator = torch.Generator().manual_seed(seed)
    out_features, in_features = base_OI.shape
    row_norm_O = base_OI.float().norm(dim=1)
    return Factors(
        down_RI=torch.randn(rank, in_features, generator=generator) / in_features**0.5,
        up_OR=size * torch.randn(out_features, rank, generator=generator) * row_norm_O.unsqueeze(1) / rank,
        magnitude_O=row_norm_O * (1 + size * torch.randn(out_features, generator=generator)).clamp_min(0),
    )


def random_factors(weights: Mapping[str, Tensor], *, seed: int = 0, size: float = 0.1) -> dict[str, Factors]:
    """Factors of every adapted layer."""
    return {
        name: random_layer(weight_OI, seed=1000 * seed + index, size=size)
        for index, (name, weight_OI) in enumerate(weights.items())
    }


def untrained_layer(base_OI: Tensor, *, rank: int = RANK) -> Factors:
    """What PEFT starts from: B is zero and m is the row norm."""
    generator = torch.Generator().manual_seed(0)
    return Factors(
        down_RI=torch.randn(rank, base_OI.shape[1], generator=generator),
        up_OR=torch.zeros(base_OI.shape[0], rank),
        magnitude_O=base_OI.float().norm(dim=1),
    )


def entry_of(path: str, data: bytes) -> FileEntry:
    return FileEntry(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def make_plan(**changes: object) -> RoundPlan:
    fields: dict[str, object] = {
        "first_block": 100, "blocks_per_round": 20, "deadline": 8, "reveal_end": 12, "score_end": 16
    }  # fmt: skip
    return RoundPlan.model_validate(fields | changes)


def make_scoring(**changes: object) -> ScoringPlan:
    fields: dict[str, object] = {
        "score_sequences": 8, "select_sequences": 4, "accept_sequences": 8, "batch_sequences": 4, "confidence": 0.95,
        "min_relative_norm": 1e-6, "max_relative_norm": 1.0, "max_norm_ratio": 5.0, "gate_passes": 3,
        "max_completeness_error": 0.05, "pay_rounds": 3,
    }  # fmt: skip
    return ScoringPlan.model_validate(fields | changes)


def make_release(layout: AdapterLayout, **changes: object) -> Release:
    """Release 0 of a subnet, with made-up digests."""
    data = DataManifest(
        repo="owner/corpus", revision="d" * 40, train=entry_of("data/train.parquet", b"train"),
        evaluation=entry_of("data/evaluation.parquet", b"evaluation"), test=entry_of("data/test.parquet", b"test"),
        num_shards=8, sequence_length=32,
    )  # fmt: skip
    release = Release(
        protocol=1, number=0, code_version="0.1.0", parent=None, files=(entry_of("config.json", b"{}"),),
        layout=layout, data=data, rounds=make_plan(), scoring=make_scoring(),
        merging=MERGE_PLANS["uniform"], merge=None,
    )  # fmt: skip
    return release.model_copy(update=changes)


def locate(release: Release) -> Located:
    return Located(release=release, sha256=release.digest(), repo="owner/releases", revision="e" * 40)


def same_factors(first: Mapping[str, Factors], second: Mapping[str, Factors]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(getattr(first[name], part), getattr(second[name], part))
        for name in first
        for part in ("down_RI", "up_OR", "magnitude_O")
    )


def token_counts(batches: Sequence[Batch]) -> list[int]:
    return [batch.predicted for batch in batches]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: item.path.name != "test_network.py")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A chain that the contract suite did not run against is named, once."""
    for variable, chain in ((WASM_VARIABLE, "a Subtensor runtime"), (ENDPOINT_VARIABLE, "a running node")):
        if not os.environ.get(variable):
            terminalreporter.write_line(f"contract suite: skipped on {chain}, {variable} is not set")
