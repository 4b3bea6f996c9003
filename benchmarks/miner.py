"""A miner's round from end to end, PEFT's engine against ours: `python -m benchmarks.miner [--json FILE]`.

Each run does what a miner does between a new release and its finished file: loads SmolLM2-135M in bfloat16, tokenises
and packs its shard, or maps it when it was packed before, trains, checkpoints, and writes the adapter. The engines
take turns, each on one thread; times are CPU time of the process. Steps, batches and rank are the demo's.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks import candidates
from benchmarks.machine import machine
from hivetune.adapter import FILE_NAME, Stamp, write_adapter
from hivetune.model import load_base
from hivetune.records import AdapterLayout
from miner.data import ShardKey, packed_shard, tokenizer_digest
from miner.engines import build_engine
from miner.settings import MinerSettings
from miner.trainer import TrainingPlan, pack_sequences, train
from neurons.localnet.options import DemoOptions

ENGINES = ("peft", "fast")
STAMP = Stamp(hotkey="5Benchmark", round_id=0, release_sha256="0" * 64)
BLOCKS = 10**6  # enough time for every step


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """CPU seconds of one run."""

    engine: str
    load_s: float
    text_s: float  # tokenising and packing, or mapping
    train_s: float
    write_s: float
    trained_tokens: int
    last_loss: float

    @property
    def whole_s(self) -> float:
        return self.load_s + self.text_s + self.train_s + self.write_s


class Clock:
    """CPU seconds since it was last asked."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        spent, self._last = now - self._last, now
        return spent


def play(engine: str, base_folder: Path, texts: list[str], root: Path, options: DemoOptions) -> Run:
    clock = Clock()
    base = load_base(base_folder, dtype=torch.bfloat16)
    layout = AdapterLayout(
        rank=options.rank, alpha=2.0 * options.rank, rslora=False, targets=candidates.layout_of(base).targets
    )
    load_s = clock.lap()
    length = options.sequence_length
    key = ShardKey(
        corpus_sha256="0" * 64, tokenizer_sha256=tokenizer_digest(base_folder), sequence_length=length, shard=0
    )
    sequences_NT = packed_shard(root / "tokens", key, lambda: pack_sequences(base.tokenizer, texts, length))
    text_s = clock.lap()
    settings = MinerSettings(
        network="local", netuid=1, wallet="benchmark", hub="http://127.0.0.1", engine=engine,
        steps=options.steps, batch_sequences=options.batch_sequences, micro_batch_sequences=options.batch_sequences,
        learning_rate=options.learning_rate, precision="bfloat16",
    )  # fmt: skip
    built = build_engine(settings, base, layout, seed=0, sequence_length=length)
    plan = TrainingPlan(
        steps=settings.steps, batch_sequences=settings.batch_sequences, checkpoint_steps=settings.checkpoint_steps,
        micro_batch_sequences=settings.micro_batch_sequences, learning_rate=settings.learning_rate, seed=0,
    )  # fmt: skip
    checkpoint = root / "checkpoint.safetensors"
    ignore: Callable[[object], None] = lambda _progress: None  # noqa: E731
    reached = train(built, sequences_NT, plan, checkpoint, block=lambda: 0, last_block=BLOCKS, progress=ignore)
    train_s = clock.lap()
    write_adapter(root / FILE_NAME, layout, STAMP, built.factors())
    checkpoint.unlink(missing_ok=True)
    return Run(
        engine=engine,
        load_s=load_s,
        text_s=text_s,
        train_s=train_s,
        write_s=clock.lap(),
        trained_tokens=reached.step * settings.batch_sequences * length,
        last_loss=reached.loss,
    )


def show(runs: list[Run]) -> None:
    print("\n          load s  text s  train s  write s  whole s  tokens/s    loss")
    for engine in ENGINES:
        mine = [run for run in runs if run.engine == engine]
        whole_s = median(run.whole_s for run in mine)
        print(
            f"  {engine:6} {median(run.load_s for run in mine):7.2f} {median(run.text_s for run in mine):7.2f} "
            f"{median(run.train_s for run in mine):8.2f} {median(run.write_s for run in mine):8.2f} "
            f"{whole_s:8.2f} {mine[0].trained_tokens / whole_s:9.0f} {mine[0].last_loss:7.4f}"
        )
    slow, fast = ([run.whole_s for run in runs if run.engine == engine] for engine in ENGINES)
    ratio = median(a / b for a, b in zip(slow, fast, strict=True))
    print(f"  tokens a second from end to end; fast is {ratio:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn and four steps")
    parser.add_argument("--repeats", type=int, default=5, help="turns in which each engine plays one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = machine(1, ("torch", "transformers", "peft"))
    print(began, flush=True)
    options = DemoOptions(steps=4) if arguments.quick else DemoOptions()
    base_folder = candidates.real_base()
    texts = [document.text for domain in candidates.real_text() for document in domain][::8]
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        for _ in range(1 if arguments.quick else arguments.repeats):
            runs += [play(engine, base_folder, texts, Path(temporary), options) for engine in ENGINES]
    show(runs)
    if arguments.json:
        found = [asdict(run) | {"whole_s": run.whole_s} for run in runs]
        arguments.json.write_text(json.dumps({"measured": began, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
