"""A small swarm on real text: a base trained here, text cut as the product cuts it, miners with the product's engine.

Shapes: N = sequences, T = tokens, P = all adapted weights, K = adapters.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from averager.genesis import DEFAULT_SCORING
from hivetune.corpus import Document, Layout, Row, cut_shards
from hivetune.dora import Factors
from hivetune.evaluation import Batch, batch_nats, losses
from hivetune.model import BaseModel, find_targets, load_base, save_base, target_weights
from hivetune.records import AdapterLayout
from hivetune.round_text import draw_text
from miner.fast_engine import FastEngine
from miner.trainer import learning_rate_at, pack_sequences
from tests.conftest import byte_tokenizer

SEQUENCE_LENGTH = 128  # tokens, which are bytes
BATCH_SEQUENCES = DEFAULT_SCORING.batch_sequences
RANK = 8
BASE_STEPS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Sequences of each text; no two texts share a document but the three that a beacon draws from one split."""

    score: int = 192
    select: int = 32
    accept: int = 192
    test: int = 160


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Text:
    """What one seed's swarm reads."""

    shards_NT: Sequence[Tensor]
    score: Sequence[Batch]
    select: Sequence[Batch]
    accept: Sequence[Batch]
    test: Sequence[Batch]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What a miner does in a round."""

    steps: int
    batch_sequences: int
    learning_rate: float

    @property
    def sequences(self) -> int:
        return self.steps * self.batch_sequences


class Swarm:
    """A base in memory, and losses and gradients of it moved by a flat vector."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = load_base(folder)
        self.layout = layout_of(self.base)
        self.weights = {n: w.contiguous() for n, w in target_weights(self.base.model, self.layout).items()}

    @cached_property
    def sizes(self) -> list[int]:
        return [weight.numel() for weight in self.weights.values()]

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([tensors[name].reshape(-1) for name in self.weights])

    def parts(self, flat_P: Tensor) -> dict[str, Tensor]:
        pieces = flat_P.split(self.sizes)
        return {name: piece.view_as(w) for (name, w), piece in zip(self.weights.items(), pieces, strict=True)}

    def moved(self, delta_P: Tensor) -> dict[str, Tensor]:
        return {name: self.weights[name] + part for name, part in self.parts(delta_P).items()}

    def loss(self, delta_P: Tensor, batches: Sequence[Batch]) -> float:
        """Nats per token."""
        return sum(losses(self.base, batches, self.moved(delta_P))) / sum(batch.predicted for batch in batches)

    def gradient(self, delta_P: Tensor, batches: Sequence[Batch]) -> Tensor:
        """Of the loss in nats per token, [P]."""
        at_P = delta_P.clone().requires_grad_(True)
        moved = self.moved(at_P)
        nats = sum((batch_nats(self.base, batch, moved) for batch in batches), torch.zeros(()))
        (nats / sum(batch.predicted for batch in batches)).backward()
        assert at_P.grad is not None
        return at_P.grad

    @torch.no_grad()
    def save_moved(self, step_P: Tensor, into: Path) -> None:
        """The next base as a folder; this one stays as it is."""
        held = {name: weight.clone() for name, weight in self.weights.items()}
        for weights in (self.moved(step_P), held):
            for name, weight in weights.items():
                self.base.model.get_submodule(name).weight.copy_(weight)  # type: ignore[operator, union-attr]
            if weights is not held:
                save_base(self.base, into)


def make_base(folder: Path, documents: Sequence[Document], *, steps: int = BASE_STEPS) -> None:
    """Two layers over bytes: small enough that hundreds of adapters train within minutes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=96, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=256, max_position_embeddings=256, bos_token_id=None, eos_token_id=256,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    base = BaseModel(model=model, tokenizer=byte_tokenizer())
    sequences_NT = pack_sequences(base.tokenizer, [document.text for document in documents], SEQUENCE_LENGTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95))
    for step, rows in enumerate(draw_rows(len(sequences_NT), 16, steps, seed=0)):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1.0, (step + 1) / 20) * (1 - step / steps)
        logits_BTV = model(input_ids=sequences_NT[rows], use_cache=False).logits
        functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), sequences_NT[rows][:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    save_base(base, folder)


def layout_of(base: BaseModel) -> AdapterLayout:
    return AdapterLayout(rank=RANK, alpha=2.0 * RANK, rslora=False, targets=find_targets(base.model))


def read_text(documents: Sequence[Document], layout: Layout, seed: int, miners: int, counts: Counts) -> Text:
    """Shards, three texts that a beacon draws from the evaluation split, and the test split."""
    corpus = cut_shards(
        documents, num_shards=miners, layout=layout, evaluation_fraction=0.1, test_fraction=0.1,
        chunk_chars=SEQUENCE_LENGTH, min_chars_per_shard=0, seed=seed,
    )  # fmt: skip
    tokenizer, beacon = byte_tokenizer(), f"0x{seed:064x}"

    def drawn(rows: Sequence[Row], *wanted: int) -> list[Sequence[Batch]]:
        found = draw_text(
            tokenizer, rows, beacon, wanted, sequence_length=SEQUENCE_LENGTH, batch_sequences=BATCH_SEQUENCES
        )
        return [text.batches for text in found]

    score, select, accept = drawn(corpus.evaluation, counts.score, counts.select, counts.accept)
    (test,) = drawn(corpus.test, counts.test)
    shards = [[row.text for row in corpus.train if row.shard == shard] for shard in range(miners)]
    return Text(
        shards_NT=[pack_sequences(tokenizer, texts, SEQUENCE_LENGTH) for texts in shards],
        score=score, select=select, accept=accept, test=test,
    )  # fmt: skip


def train_adapter(
    folder: Path, sequences_NT: Tensor, training: Training, seed: int, *, shuffled: bool = False
) -> dict[str, Factors]:
    """What a miner makes of its text; of text without order, when `shuffled`."""
    base = load_base(folder)
    engine = FastEngine(base, layout_of(base), seed=seed, device="cpu")
    if shuffled:
        order = torch.randperm(sequences_NT.numel(), generator=torch.Generator().manual_seed(seed))
        sequences_NT = sequences_NT.flatten()[order].view_as(sequences_NT)
    rows = draw_rows(len(sequences_NT), training.batch_sequences, training.steps, seed)
    for step, chosen in enumerate(rows):
        engine.step([sequences_NT[chosen]], learning_rate_at(step, training.steps, training.learning_rate))
    return engine.factors()


def draw_rows(count: int, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Rows of each step: epochs in an order of their own."""
    chooser = random.Random(seed)
    order: list[int] = []
    for _ in range(steps):
        if len(order) < size:
            order = chooser.sample(range(count), count)
        yield [order.pop() for _ in range(min(size, count))]
