"""Scoring a round of candidates, the validator's engine against PEFT: `python -m benchmarks.score [--json FILE]`.

The naive validator loads each adapter with PEFT and measures it on the whole evaluation text; the base it measures
once. Both use float32, one thread, and the same batches; times are CPU time of the process. What the validator does
with all candidates together, the credits in the merge, is left out: the naive one has nothing to hold against it.

- decisions: 64 candidates, of which 48 are worthless, for a small base trained here on real text;
- costs: one candidate on SmolLM2-135M, sequence by sequence, where nothing ends early;
- bias: an adapter scaled towards nothing on SmolLM2-135M, against its improvement in float64.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import peft
import safetensors.torch
import torch
from scipy.stats import spearmanr
from torch import Tensor

from averager.genesis import DEFAULT_SCORING
from benchmarks import candidates as round_of
from benchmarks.machine import machine
from hivetune.adapter import CONFIG_NAME, FILE_NAME, read_adapter
from hivetune.dora import Factors, dora_weight
from hivetune.evaluation import Batch, losses, make_batches
from hivetune.merging import Adapter, prepare
from hivetune.model import BaseModel, digest_of, load_base, target_weights
from hivetune.statistics import Estimate, token_mean
from miner.trainer import pack_sequences
from validator.looks import WORTH
from validator.scoring import Scorer, batch_tokens

SEQUENCES = 1024  # of the whole text: the 0.13 million tokens that tell adapters 0.002 nats apart
CANDIDATES, HONEST = 64, 16
BATCH_SEQUENCES = 4
FEWEST_TEXTS = 500  # of a domain, or it is left out
BIAS_SCALES = (1.0, 0.3, 0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """The round of candidates."""

    naive_cpu_s: float
    ours_cpu_s: float
    times_as_fast: float
    naive_per_minute: float
    ours_per_minute: float
    accepted_naive: int
    accepted_ours: int
    same_accepted: bool
    rank_correlation: float  # Spearman's, of the improvements of those accepted
    sequences_of_worthless: float  # mean
    sequences_of_honest: float
    repeats_to_the_bit: bool
    base_untouched: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """CPU seconds for 1,000 tokens of one candidate on SmolLM2-135M; medians."""

    base_s: float
    naive_s: float
    ours_s: float
    naive_load_s: float  # once for each candidate
    ours_load_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bias:
    """Improvement in nats a token, and how far off each way is."""

    scale: float
    float64: float
    ours_error: float  # relative
    bfloat16_merged_error: float


def is_worth(improvement: Estimate) -> bool:
    """Whether it surely improves the base, and not surely by too little to count: the verdict that both must share."""
    return improvement.lower > 0 and improvement.upper >= WORTH


def cpu_s(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def naive_nats(model: Any, folder: Path, batches: list[Batch]) -> list[float]:
    """Loaded with PEFT, measured with transformers' own loss, unloaded."""
    adapted = peft_model(model, folder)
    nats = plain_nats(adapted, batches)
    adapted.unload()
    return nats


def peft_model(model: Any, folder: Path) -> Any:
    """The adapter of a folder on the model, as PEFT puts it there."""
    config = peft.LoraConfig(**json.loads((folder / CONFIG_NAME).read_text()))
    adapted = peft.get_peft_model(model, config)
    peft.set_peft_model_state_dict(adapted, safetensors.torch.load_file(folder / FILE_NAME))
    return adapted.eval()


@torch.no_grad()
def plain_nats(model: Any, batches: list[Batch]) -> list[float]:
    found = []
    for batch in batches:
        labels_BT = batch.labels_BT.roll(1, 1)  # transformers shifts them itself
        loss = model(input_ids=batch.tokens_BT, labels=labels_BT, use_cache=False).loss
        found.append(float(loss) * batch.predicted)
    return found


def write_round(root: Path, base_folder: Path, shards: list[Tensor]) -> list[Path]:
    """The candidates' folders, honest ones first."""
    base = load_base(base_folder)
    layout = round_of.layout_of(base)
    made: list[dict[str, Factors]] = []
    for index in range(HONEST):
        steps = 4 + 2 * index  # skills differ
        made.append(round_of.train_adapter(base_folder, shards[index % len(shards)], steps=steps, seed=index))
    for index in range(CANDIDATES - HONEST):
        kind, seed = round_of.WORTHLESS[index % len(round_of.WORTHLESS)], 1000 + index
        if kind == "trained on shuffled text":
            shard = shards[index % len(shards)]
            made.append(round_of.train_adapter(base_folder, shard, steps=10, seed=seed, shuffled=True))
        else:
            made.append(round_of.worthless(kind, base, made[index % HONEST], seed))
    folders = [root / f"{index:02d}" for index in range(CANDIDATES)]
    for folder, factors in zip(folders, made, strict=True):
        round_of.write_candidate(folder, layout, factors)
    return folders


def adapter_of(folder: Path, base: BaseModel, weights: dict[str, Tensor]) -> Adapter:
    layout = round_of.layout_of(base)
    factors = read_adapter(folder / FILE_NAME, layout, round_of.STAMP)
    return prepare(folder.name, factors, weights, layout.scale)


def measure_decisions(sequences: int) -> Decisions:
    domains = round_of.real_text()
    known = [document for domain in domains[: round_of.BASE_DOMAINS] for document in domain]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        print("training a small base", flush=True)
        round_of.train_small_base(root / "base", known)
        base = load_base(root / "base")
        length = round_of.SEQUENCE_LENGTH
        pieces = [round_of.texts(domain, 2 * length) for domain in domains[round_of.BASE_DOMAINS :]]
        pieces = [texts for texts in pieces if len(texts) >= FEWEST_TEXTS]
        each = -(-sequences // len(pieces))
        held_out = [text for turn in zip(*(texts[:each] for texts in pieces), strict=True) for text in turn]
        rest = [text for texts in pieces for text in texts[each:]]
        shards = [pack_sequences(base.tokenizer, rest[shard::4], length) for shard in range(4)]
        print("training the candidates", flush=True)
        folders = write_round(root / "candidates", root / "base", shards)
        batches = make_batches(
            base.tokenizer, held_out[:sequences], sequence_length=length, batch_sequences=BATCH_SEQUENCES
        )
        return compare(load_base(root / "base").model, base, folders, batches)


def compare(naive_model: Any, base: BaseModel, folders: list[Path], batches: list[Batch]) -> Decisions:
    """Both validators over the same candidates, a candidate of the one after a candidate of the other's in turn."""
    plan = DEFAULT_SCORING.model_copy(
        update={"score_sequences": BATCH_SEQUENCES * len(batches), "batch_sequences": BATCH_SEQUENCES}
    )
    weights = target_weights(base.model, round_of.layout_of(base))
    scale, untouched, tokens = round_of.layout_of(base).scale, digest_of(weights), batch_tokens(batches)
    naive_s, base_nats = cpu_s(lambda: plain_nats(naive_model, batches))
    ours_s, scorer = cpu_s(lambda: Scorer(base, weights, batches, scale, plan, lambda _activity: None))
    naive, ours, adapters = {}, {}, []
    for count, folder in enumerate(folders):
        spent, nats = cpu_s(lambda folder=folder: naive_nats(naive_model, folder, batches))
        naive_s += spent
        gained = [before - after for before, after in zip(base_nats, nats, strict=True)]
        naive[folder.name] = token_mean(gained, tokens, plan.confidence)
        spent, adapter = cpu_s(lambda folder=folder: adapter_of(folder, base, weights))
        ours_s += spent
        spent, (solo, _) = cpu_s(lambda adapter=adapter: scorer.solos([adapter], {}, scorer.looks))
        ours_s += spent
        ours |= solo
        adapters.append(adapter)
        if (count + 1) % 16 == 0:
            print(f"{count + 1} of {len(folders)} candidates", flush=True)
    again, _ = scorer.solos(adapters[::8], {}, scorer.looks)
    good = sorted(hotkey for hotkey in naive if is_worth(naive[hotkey]))
    ours_good = sorted(hotkey for hotkey in ours if is_worth(ours[hotkey].improvement))
    both = [hotkey for hotkey in good if hotkey in ours_good]
    counts = {hotkey: BATCH_SEQUENCES * len(one.batch_nats) for hotkey, one in ours.items()}
    honest = {folder.name for folder in folders[:HONEST]}
    return Decisions(
        naive_cpu_s=naive_s,
        ours_cpu_s=ours_s,
        times_as_fast=naive_s / ours_s,
        naive_per_minute=60 * len(folders) / naive_s,
        ours_per_minute=60 * len(folders) / ours_s,
        accepted_naive=len(good),
        accepted_ours=len(ours_good),
        same_accepted=good == ours_good,
        rank_correlation=float(
            spearmanr([naive[h].mean for h in both], [ours[h].improvement.mean for h in both]).statistic
        ),
        sequences_of_worthless=mean([n for h, n in counts.items() if h not in honest]),
        sequences_of_honest=mean([n for h, n in counts.items() if h in honest]),
        repeats_to_the_bit=all(ours[hotkey] == one for hotkey, one in again.items()),
        base_untouched=digest_of(weights) == untouched,
    )


def mean(counts: list[int]) -> float:
    return sum(counts) / len(counts)


def real_candidate(root: Path) -> tuple[Path, list[Batch]]:
    """SmolLM2-135M's folder, some text it was not trained on, and in `root` an adapter trained on other text."""
    base_folder = round_of.real_base()
    base = load_base(base_folder)
    length = round_of.SEQUENCE_LENGTH
    pieces = [text for domain in round_of.real_text() for text in round_of.texts(domain, 6 * length)[:12]]
    shard = pack_sequences(base.tokenizer, pieces[12:], length)
    factors = round_of.train_adapter(base_folder, shard, steps=8, seed=0)
    round_of.write_candidate(root / "candidate", round_of.layout_of(base), factors)
    return base_folder, make_batches(base.tokenizer, pieces[:12], sequence_length=length, batch_sequences=4)


def measure_cost(root: Path, base_folder: Path, batches: list[Batch], repeats: int) -> Cost:
    base, other = load_base(base_folder), load_base(base_folder)
    weights = target_weights(base.model, round_of.layout_of(base))
    scale = round_of.layout_of(base).scale
    folder, thousands = root / "candidate", batches[0].predicted / 1000
    naive_load_s, adapted = cpu_s(lambda: peft_model(other.model, folder))

    def load() -> dict[str, Tensor]:
        adapter = adapter_of(folder, base, weights)
        return {name: dora_weight(base_OI, adapter.factors[name], scale) for name, base_OI in weights.items()}

    ours_load_s, merged = cpu_s(load)
    sides: dict[str, Callable[[], object]] = {
        "base": lambda: losses(base, batches[:1], {}),
        "naive": lambda: plain_nats(adapted, batches[:1]),
        "ours": lambda: losses(base, batches[:1], merged),
    }
    for side in sides.values():
        side()
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            spent[name].append(cpu_s(side)[0] / thousands)
    return Cost(
        base_s=median(spent["base"]),
        naive_s=median(spent["naive"]),
        ours_s=median(spent["ours"]),
        naive_load_s=naive_load_s,
        ours_load_s=ours_load_s,
    )


def measure_bias(root: Path, base_folder: Path, batches: list[Batch]) -> list[Bias]:
    bases = {dtype: load_base(base_folder, dtype=dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16)}
    layout = round_of.layout_of(bases[torch.float32])
    weights = target_weights(bases[torch.float32].model, layout)
    trained = read_adapter(root / "candidate" / FILE_NAME, layout, round_of.STAMP)
    before = {dtype: sum(losses(model, batches, {})) for dtype, model in bases.items()}
    found = []
    for share in BIAS_SCALES:
        factors = {name: towards_nothing(trained[name], base_OI, share) for name, base_OI in weights.items()}
        exact = {name: exact_weight(base_OI, factors[name], layout.scale) for name, base_OI in weights.items()}
        ours = {name: dora_weight(base_OI, factors[name], layout.scale) for name, base_OI in weights.items()}
        merged = {name: weight_OI.bfloat16() for name, weight_OI in exact.items()}
        gains = {
            dtype: (before[dtype] - sum(losses(bases[dtype], batches, adapted))) / sum(batch_tokens(batches))
            for dtype, adapted in ((torch.float64, exact), (torch.float32, ours), (torch.bfloat16, merged))
        }
        truth = gains[torch.float64]
        found.append(
            Bias(
                scale=share,
                float64=truth,
                ours_error=gains[torch.float32] / truth - 1,
                bfloat16_merged_error=gains[torch.bfloat16] / truth - 1,
            )
        )
    return found


def towards_nothing(factors: Factors, base_OI: Tensor, share: float) -> Factors:
    norm_O = base_OI.norm(dim=1)
    magnitude_O = norm_O + share * (factors.magnitude_O - norm_O)
    return Factors(down_RI=factors.down_RI, up_OR=share * factors.up_OR, magnitude_O=magnitude_O)


def exact_weight(base_OI: Tensor, factors: Factors, scale: float) -> Tensor:
    """W' by its definition, in float64."""
    direction_OI = base_OI.double() + scale * factors.up_OR.double() @ factors.down_RI.double()
    return factors.magnitude_O.double().unsqueeze(1) * direction_OI / direction_OI.norm(dim=1, keepdim=True)


def show_real(cost: Cost, biases: list[Bias]) -> None:
    print("\nSmolLM2-135M, CPU seconds for 1,000 tokens of one candidate")
    print(f"  base {cost.base_s:.2f}, PEFT {cost.naive_s:.2f}, ours {cost.ours_s:.2f}")
    print(f"  and once for each candidate: PEFT {cost.naive_load_s:.2f}, ours {cost.ours_load_s:.2f}")
    print("SmolLM2-135M, an adapter scaled towards nothing")
    for bias in biases:
        print(
            f"  x{bias.scale}: {bias.float64:+.5f} nats a token in float64; ours off by {bias.ours_error:+.2%}, "
            f"merged into bfloat16 by {bias.bfloat16_merged_error:+.1%}"
        )


def show_decisions(found: Decisions, sequences: int) -> None:
    print(f"\n{CANDIDATES} candidates, {HONEST} of them honest, {sequences} sequences, small base")
    print(f"  {'':24} {'CPU s':>8} {'miners/min':>11} {'accepted':>9}")
    for side, spent, rate, accepted in (
        ("PEFT, all sequences", found.naive_cpu_s, found.naive_per_minute, found.accepted_naive),
        ("ours", found.ours_cpu_s, found.ours_per_minute, found.accepted_ours),
    ):
        print(f"  {side:24} {spent:8.1f} {rate:11.1f} {accepted:9d}")
    print(f"  {found.times_as_fast:.1f} times as fast, same accepted set: {found.same_accepted}")
    print(f"  rank correlation of the accepted {found.rank_correlation:.3f}")
    print(f"  sequences: {found.sequences_of_worthless:.0f} worthless, {found.sequences_of_honest:.0f} honest")
    print(f"  repeats to the bit: {found.repeats_to_the_bit}, base untouched: {found.base_untouched}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="128 sequences, and nothing on SmolLM2-135M")
    parser.add_argument("--repeats", type=int, default=5, help="of the costs")
    parser.add_argument("--sequences", type=int, default=SEQUENCES, help="of the whole text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = machine(1, ("torch", "transformers", "peft"))
    print(began, flush=True)
    found: dict[str, object] = {"measured": began}
    if not options.quick:
        with tempfile.TemporaryDirectory() as temporary:
            base_folder, batches = real_candidate(Path(temporary))
            cost = measure_cost(Path(temporary), base_folder, batches, options.repeats)
            biases = measure_bias(Path(temporary), base_folder, batches)
        show_real(cost, biases)
        found |= {"cost": asdict(cost), "bias": list(map(asdict, biases))}
    sequences = 128 if options.quick else options.sequences
    decisions = measure_decisions(sequences)
    show_decisions(decisions, sequences)
    found |= {"sequences": sequences, "decisions": asdict(decisions)}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
