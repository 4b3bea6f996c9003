"""What hostile input costs a validator: `python -m benchmarks.hostile [--json FILE]`.

Every hostile file and commitment of the test suite and some records, on one core: time (the best of three) and how far
the memory of a process grows while it is read. The files are as large as those of a 135M model at rank 16. Then a
validator's round on the embedded Hub and four layers of such a model, in seconds of the processor: honest miners alone,
and with three in ten bad ones beside them. It is scored on 256 tokens only, so that admission weighs more in it than in
any real one.
"""

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from benchmarks.machine import machine
from hivetune.adapter import FILE_NAME, Stamp, folder_of, read_adapter, write_adapter
from hivetune.commitments import SubmissionPointer, pack
from hivetune.errors import RejectedSubmission
from hivetune.evaluation import make_batches
from hivetune.model import BaseModel, find_targets, load_base, target_weights
from hivetune.records import AdapterLayout, BadRecord, Release
from hivetune.releases import Located
from hivetune.submissions import committed
from hub.client import HubClient
from hub.revealed import RevealedFiles
from hub.server.app import RunningHub, running_hub
from hub.server.tokens import mint_token
from tests.conftest import CONFIGS, DOMAINS, byte_tokenizer, locate, make_release, random_layer
from tests.hostile_commitments import COMMITMENTS, NOW
from tests.hostile_corpus import CORPUS
from tests.hostile_files import LAYOUT, STAMP, good_file
from tests.test_submissions import OnChain
from validator.intake import Intake
from validator.scoring import Scorer

HONEST, BAD = 7, 3
SPOILS = ("wrong_size", "not_finite", "norm_too_large")  # before, during and at the end of the work for a submission
MAX_S, MAX_BYTES, MAX_RATIO = 0.050, 32 << 20, 1.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    kind: str
    name: str
    reason: str
    seconds: float
    grown_bytes: int  # of resident memory, the pages of the mapped file included


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundResult:
    bad: str
    clean_admission_s: float  # medians
    admission_s: float
    clean_round_s: float
    round_s: float
    ratio: float  # of the rounds


def config_of(layers: int) -> LlamaConfig:
    """SmolLM2-135M but for its vocabulary, with so many of its 30 layers."""
    return LlamaConfig(
        vocab_size=257, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=64, eos_token_id=256, bos_token_id=None,
    )  # fmt: skip


def random_base(folder: Path, config: PreTrainedConfig) -> BaseModel:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return load_base(folder)


def layout_for(config: PreTrainedConfig) -> AdapterLayout:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return AdapterLayout(rank=16, alpha=32.0, rslora=False, targets=find_targets(model))


def reason_of(read: Callable[[], object]) -> str:
    try:
        read()
    except (RejectedSubmission, BadRecord) as refused:
        return getattr(refused, "reason", "BadRecord")
    return "accepted"


def memory_bytes(field: str) -> int:
    """Resident (VmRSS), or the most that was (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) * 1024


def in_a_child(read: Callable[[], object], warm: Path) -> tuple[str, float, int]:
    """Reason, seconds and growth of resident memory, the latter of the first run in a forked process.

    A small good file at `warm` is read before, since a fork starts without the libraries' pages.
    """
    ours, theirs = os.pipe()
    if os.fork() == 0:
        read_adapter(warm, LAYOUT, STAMP)
        Path("/proc/self/clear_refs").write_text("5")  # the most is now what is
        before = memory_bytes("VmRSS")
        reason = reason_of(read)
        grown = memory_bytes("VmHWM") - before
        seconds = min(timed(lambda: reason_of(read)) for _ in range(3))
        os.write(theirs, json.dumps([reason, seconds, grown]).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        reason, seconds, grown = json.loads(answer.read())
    os.wait()
    return reason, seconds, grown


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def files(folder: Path, layout: AdapterLayout, warm: Path) -> list[Result]:
    good = good_file(folder, layout)
    path = folder / "hostile"
    results = []
    for case in CORPUS:
        path.write_bytes(case.make(good))
        reason, seconds, grown = in_a_child(lambda: read_adapter(path, layout, STAMP), warm)
        if reason != case.reason:
            raise SystemExit(f"{case.name}: {reason}, want {case.reason}")
        results.append(Result(kind="file", name=case.name, reason=reason, seconds=seconds, grown_bytes=grown))
    path.unlink()
    return results


def commitments(warm: Path) -> list[Result]:
    located = replace(locate(make_release(LAYOUT)), sha256="ab" * 32)
    results = []
    for case in COMMITMENTS:
        on_chain = OnChain(case.block, case.data)
        reason, seconds, grown = in_a_child(
            lambda on_chain=on_chain: committed("5Mallory", on_chain, located, NOW), warm
        )
        if reason != case.reason:
            raise SystemExit(f"{case.name}: {reason}, want {case.reason}")
        results.append(Result(kind="commitment", name=case.name, reason=reason, seconds=seconds, grown_bytes=grown))
    return results


def records(warm: Path) -> list[Result]:
    """Manifests of the size of an honest one, a tenth of a mebibyte."""
    good = make_release(LAYOUT).to_bytes()
    size = 100_000
    cases = {
        "unknown fields": good[:-1] + b"".join(b',"%06d":0' % n for n in range(size // 11)) + b"}",
        "bad items": good.replace(b'"files":[', b'"files":[' + b"{}," * (size // 3)),
        "deep lists": b"[" * size,
        "a list of objects": b"[" + b'{"a":{}},' * (size // 9) + b"0]",
        "one long string": good[:-1] + b',"x":"' + b"x" * size + b'"}',
    }
    results = []
    for name, data in cases.items():
        reason, seconds, grown = in_a_child(partial(Release.parse, data), warm)
        results.append(Result(kind="record", name=name, reason=reason, seconds=seconds, grown_bytes=grown))
    return results


class Round:
    """One round's miners on an embedded Hub, and one validator's work."""

    def __init__(self, hub: RunningHub, folder: Path, base: BaseModel) -> None:
        self._hub = hub
        self._folder = folder
        self._base = base
        layout = layout_for(base.model.config)  # type: ignore[arg-type]
        self._located: Located = locate(make_release(layout))
        self._weights = target_weights(base.model, layout)
        texts = [DOMAINS[row % 3] for row in range(8)]
        self._batches = make_batches(base.tokenizer, texts, sequence_length=33, batch_sequences=2)

    def enter(self, name: str, seed: int, spoil: str) -> OnChain:
        """Publish a file and commit to it."""
        stamp = Stamp(hotkey=f"{name:-<48}", round_id=NOW.round_id, release_sha256=self._located.sha256)
        size = 20.0 if spoil == "norm_too_large" else 0.02
        layout = self._located.release.layout
        layers = {
            module: random_layer(weight_OI, seed=seed, size=size, rank=layout.rank)
            for module, weight_OI in self._weights.items()
        }
        if spoil == "norm_too_large":
            layers = {name: replace(layer, up_OR=layer.up_OR / 1000) for name, layer in layers.items()}
        if spoil == "not_finite":
            list(layers.values())[-1].magnitude_O[-1] = float("nan")
        path = self._folder / "file"
        write_adapter(path, layout, stamp, layers)
        data = path.read_bytes() + (b"\0" if spoil == "wrong_size" else b"")
        client = HubClient(self._hub.url, token=mint_token(self._hub.root, name))
        client.ensure_repo(f"{name}/x")
        client.publish(f"{name}/x", {f"{folder_of(NOW.round_id)}/{FILE_NAME}": data}, message="round")
        pointer = SubmissionPointer(
            round_id=NOW.round_id,
            release_prefix=self._located.sha256[:16],
            file_sha256=hashlib.sha256(data).hexdigest(),
            repo=f"{name}/x",
        )
        return OnChain(NOW.first_block, pack(pointer))

    def play(self, commitments: dict[str, OnChain], reasons: list[str]) -> tuple[float, float]:
        """Seconds of the admission, and of admission and scoring."""
        start = time.process_time()
        source = RevealedFiles(HubClient(self._hub.url), own_repo="validator/receipts", download_s=60.0)
        with tempfile.TemporaryDirectory(dir=self._folder) as inbox:
            intake = Intake(self._located, NOW, source, self._weights, Path(inbox), beacon="")
            found = intake.collect({f"{name:-<48}": commitment for name, commitment in commitments.items()})
        admitted = time.process_time()
        if [c.rejection.reason for c in found if c.rejection] != reasons:
            raise SystemExit(f"want {reasons}: {[str(c.rejection) for c in found]}")
        release = self._located.release
        scorer = Scorer(
            self._base, self._weights, self._batches, release.layout.scale, release.scoring, lambda _activity: None
        )
        scorer.score([candidate.adapter for candidate in found if candidate.adapter is not None])
        return admitted - start, time.process_time() - start


def rounds(folder: Path, base: BaseModel, repeats: int) -> list[RoundResult]:
    with running_hub(folder / "hub") as hub:
        validator = Round(hub, folder, base)
        honest = {f"honest-{index}": validator.enter(f"honest-{index}", index, "") for index in range(HONEST)}
        played: dict[str, list[tuple[float, float]]] = {spoil: [] for spoil in ("", *SPOILS)}
        bad: dict[str, dict[str, OnChain]] = {"": {}}
        for spoil in SPOILS:
            names = [f"{spoil.replace('_', '-')}-{index}" for index in range(BAD)]
            bad[spoil] = {name: validator.enter(name, 50 + index, spoil) for index, name in enumerate(names)}
        for _ in range(repeats):
            for spoil, found in played.items():
                found.append(validator.play(honest | bad[spoil], [spoil] * len(bad[spoil])))
    medians = {
        spoil: [statistics.median(column) for column in zip(*found, strict=True)] for spoil, found in played.items()
    }
    clean_admission_s, clean_round_s = medians.pop("")
    return [
        RoundResult(
            bad=spoil, clean_admission_s=clean_admission_s, admission_s=admission_s, clean_round_s=clean_round_s,
            round_s=round_s, ratio=round_s / clean_round_s,
        )
        for spoil, (admission_s, round_s) in medians.items()
    ]  # fmt: skip


def show(results: list[Result]) -> None:
    for r in results:
        print(f"{r.seconds * 1000:8.2f} ms {r.grown_bytes / 2**20:7.1f} MiB  {r.reason:18} {r.kind} {r.name!r}")
    slowest, largest = max(results, key=lambda r: r.seconds), max(results, key=lambda r: r.grown_bytes)
    print(f"{len(results)} cases, all refused for their reasons")
    print(f"slowest {slowest.seconds * 1000:.1f} ms ({slowest.name}), limit {MAX_S * 1000:.0f} ms")
    print(f"largest {largest.grown_bytes / 2**20:.1f} MiB ({largest.name}), limit {MAX_BYTES >> 20} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="times that each round is played")
    parser.add_argument("--quick", action="store_true", help="tiny files and model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = machine(1, ("torch", "safetensors", "pydantic", "huggingface_hub"))
    print(began)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = layout_for(CONFIGS["llama"] if options.quick else config_of(30))
        good_file(folder)
        warm = (folder / "good").rename(folder / "warm")
        results = [*files(folder, layout, warm), *commitments(warm), *records(warm)]
        show(results)
        base = random_base(folder / "base", CONFIGS["llama"] if options.quick else config_of(4))
        played = rounds(folder, base, options.repeats)
    for r in played:
        print(
            f"{HONEST} honest and {BAD} {r.bad}: admission {r.clean_admission_s:.2f} -> {r.admission_s:.2f} s, "
            f"round {r.clean_round_s:.2f} -> {r.round_s:.2f} s, {r.ratio:.2f} times, limit {MAX_RATIO}"
        )
    found = {"measured": began, "cases": list(map(asdict, results)), "rounds": list(map(asdict, played))}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
