"""Time and memory of a training step, PEFT's ways against ours: `python -m benchmarks.train [--quick] [--json FILE]`.

All ways take turns, each on one thread of a process of its own, so that a busy machine slows all of them and none
finds another's compiled code; times are CPU time, a ratio is the median over rounds of the ratio within a round. Rank
16 on all linear layers, 4 x 256 tokens. Saved activations are what autograd keeps for the backward pass beside
parameters and buffers, every storage once.
`frozen` is the model without an adapter, forward and backward to its inputs: products that no exact way goes without.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import peft
import torch
import torch._dynamo
import transformers
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.machine import machine
from hivetune.model import BaseModel, find_targets
from hivetune.records import AdapterLayout
from miner.blocks import find_blocks, wrap_block
from miner.engine import PeftEngine
from miner.fast_engine import FastEngine, FastOptions

# Layers, hidden size, size of the feed-forward layers, vocabulary.
SIZES = {"62M": (6, 768, 2048, 32000), "SmolLM2-135M": (30, 576, 1536, 49152)}
QUICK_SIZES = {"2 layers of 62M": (2, 768, 2048, 8192), "2 layers of SmolLM2-135M": (2, 576, 1536, 8192)}
DTYPES = ("bfloat16", "float32")
HEAD_SIZE = 64
BATCH = (4, 256)  # sequences, tokens
RANK, ALPHA = 16, 32.0
LEARNING_RATE = 1e-4
REFERENCE = "PEFT DoRA"
RECOMPILE_LIMIT = 256  # at torch's own limit of 8 the later blocks would run eagerly


class Trainer(Protocol):
    def step(self, micro_batches: list[Tensor], learning_rate: float) -> float: ...


class PlainTrainer:
    """Whole logits, plain loss, AdamW: how a model is trained without an engine of ours."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, fused=True) if self.parameters else None

    def step(self, micro_batches: list[Tensor], learning_rate: float) -> float:
        (tokens,) = micro_batches
        logits = self.model(input_ids=tokens, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        if self.optimizer is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.param_groups[0]["lr"] = learning_rate
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way in one setting."""

    size: str
    dtype: str
    way: str
    step_s: float  # median CPU time
    spread: float  # slowest / fastest
    times_reference: float  # how many times as fast as PEFT DoRA
    tokens_per_s: float
    saved_mib: float
    saved_share: float  # of PEFT DoRA's
    first_step_s: float  # with compilation, where there is any


def new_base(shape: tuple[int, int, int, int], dtype: torch.dtype) -> BaseModel:
    layers, hidden, inner, words = shape
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        num_hidden_layers=layers, hidden_size=hidden, intermediate_size=inner, vocab_size=words,
        num_attention_heads=hidden // HEAD_SIZE, num_key_value_heads=hidden // HEAD_SIZE // 3,
        max_position_embeddings=1024, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)
    return BaseModel(model=model, tokenizer=None)


def layout_of(base: BaseModel) -> AdapterLayout:
    return AdapterLayout(rank=RANK, alpha=ALPHA, rslora=False, targets=find_targets(base.model))


def full(base: BaseModel) -> Trainer:
    base.model.requires_grad_(True)
    return PlainTrainer(base.model)


def frozen(base: BaseModel) -> Trainer:
    embeddings = base.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda _module, _inputs, outputs: outputs.requires_grad_())
    return PlainTrainer(base.model)


def peft_lora(base: BaseModel) -> Trainer:
    names = [target.module for target in layout_of(base).targets]
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names, task_type="CAUSAL_LM")
    return PlainTrainer(peft.get_peft_model(base.model, config).eval())


def peft_dora(base: BaseModel) -> Trainer:
    return PeftEngine(base, layout_of(base), seed=0, device="cpu")


def ours(base: BaseModel) -> Trainer:
    return FastEngine(base, layout_of(base), seed=0, device="cpu")


def ours_compiled(base: BaseModel) -> Trainer:
    options = FastOptions(backend="inductor")
    return FastEngine(base, layout_of(base), seed=0, device="cpu", options=options)


def compiled(build: Callable[[BaseModel], Trainer]) -> Callable[[BaseModel], Trainer]:
    """Each decoder block through torch.compile, as ours are; the whole model would take minutes to compile."""

    def run(base: BaseModel) -> Trainer:
        names = [target.module for target in layout_of(base).targets]
        trainer = build(base)
        for block in find_blocks(base.model, names):
            wrap_block(block, blocked_attention=False, backend="inductor", checkpointed=False)
        return trainer

    return run


WAYS: dict[str, Callable[[BaseModel], Trainer]] = {
    "frozen": frozen,
    "full": full,
    "PEFT LoRA": peft_lora,
    REFERENCE: peft_dora,
    "PEFT LoRA compiled": compiled(peft_lora),
    "PEFT DoRA compiled": compiled(peft_dora),
    "ours": ours,
    "ours compiled": ours_compiled,
}


@contextmanager
def counting_saved(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of every storage that is saved for a backward pass, by address, parameters and buffers left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    storages: dict[int, int] = {}
    alive: list[Any] = []  # an address must not come back for another storage

    @torch.compiler.disable
    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield storages


def step_s(trainer: Trainer, tokens: Tensor) -> float:
    start = time.process_time()
    trainer.step([tokens], LEARNING_RATE)
    return time.process_time() - start


def serve(connection: Connection, shape: tuple[int, int, int, int], dtype: str, way: str) -> None:
    """One way in its own process: at "step" a step and its CPU time, at "saved" what a step keeps, until "end"."""
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    tokens = torch.randint(shape[3], BATCH, generator=torch.Generator().manual_seed(1))
    base = new_base(shape, getattr(torch, dtype))
    trainer = WAYS[way](base)
    while (word := connection.recv()) != "end":
        if word == "saved":
            with counting_saved(base.model) as storages:
                trainer.step([tokens], LEARNING_RATE)
            connection.send(sum(storages.values()) / 2**20)
        else:
            connection.send(step_s(trainer, tokens))


class Runner:
    """The near end of a way's process."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: str, way: str) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._connection, far = spawning.Pipe()
        self._process = spawning.Process(target=serve, args=(far, shape, dtype, way), daemon=True)
        self._process.start()
        far.close()

    def ask(self, word: str) -> float:
        self._connection.send(word)
        found: float = self._connection.recv()
        return found

    def end(self) -> None:
        self._connection.send("end")
        self._process.join()


def measure(size: str, shape: tuple[int, int, int, int], dtype: str, ways: list[str], repeats: int) -> list[Row]:
    runners = {way: Runner(shape, dtype, way) for way in ways}
    first = {way: runner.ask("step") for way, runner in runners.items()}
    times: dict[str, list[float]] = {way: [] for way in ways}
    order = random.Random(0)
    for _ in range(repeats):
        for way in order.sample(ways, len(ways)):
            times[way].append(runners[way].ask("step"))
    saved = {way: runner.ask("saved") for way, runner in runners.items()}
    for runner in runners.values():
        runner.end()
    return [
        Row(
            size=size,
            dtype=dtype,
            way=way,
            step_s=statistics.median(times[way]),
            spread=max(times[way]) / min(times[way]),
            times_reference=ratio(times[REFERENCE], times[way]),
            tokens_per_s=BATCH[0] * BATCH[1] / statistics.median(times[way]),
            saved_mib=saved[way],
            saved_share=saved[way] / saved[REFERENCE],
            first_step_s=first[way],
        )
        for way in ways
    ]


def ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def show(rows: list[Row]) -> None:
    print(f"\n{rows[0].size}, {rows[0].dtype}")
    print(f"  {'':20} {'step s':>8} {'spread':>7} {'x PEFT DoRA':>12} {'tokens/s':>9} {'saved MiB':>10} {'share':>6}")
    for row in rows:
        print(
            f"  {row.way:20} {row.step_s:8.2f} {row.spread:7.2f} {row.times_reference:12.2f} {row.tokens_per_s:9.0f} "
            f"{row.saved_mib:10.0f} {row.saved_share:6.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two layers and a small vocabulary")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which every way takes one step")
    parser.add_argument("--size", action="append", help="only this size; may be given again")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="only this type; may be given again")
    parser.add_argument("--way", action="append", choices=list(WAYS), help=f"only this way, beside {REFERENCE}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    sizes = QUICK_SIZES if options.quick else SIZES
    ways = [way for way in WAYS if options.way is None or way in options.way or way == REFERENCE]
    began = machine(1, ("torch", "transformers", "peft"))
    print(f"{began}\nmedians of {options.repeats} rounds of {BATCH[0]} x {BATCH[1]} tokens; CPU time")
    rows: list[Row] = []
    for size in options.size or sizes:
        for dtype in options.dtype or DTYPES:
            found = measure(size, sizes[size], dtype, ways, options.repeats)
            show(found)
            rows += found
    if options.json:
        options.json.write_text(json.dumps({"measured": began, "steps": list(map(asdict, rows))}, indent=1) + "\n")


if __name__ == "__main__":
    main()
