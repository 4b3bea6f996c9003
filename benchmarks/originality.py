"""Copies told from honest work: `python -m benchmarks.originality [--quick] [--json FILE]`.

Rounds of honest miners on a small base trained here on real text: skills differ, every shard is trained on by two
miners in each round, and the base moves by the uniform merge of each round. All pairs that a validator would compare
are compared exactly, within a round and with the rounds that it remembers. Then every kind of copy is made of every
miner of the last round, and what the validator runs says what it thinks of them and of the honest beside them.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor

from benchmarks import candidates as round_of
from benchmarks.hostile import config_of
from benchmarks.machine import machine
from hivetune.delta_products import DeltaProducts, Measured
from hivetune.dora import Factors
from hivetune.merging import Adapter, merge_deltas, prepare, uniform_coefficients
from hivetune.model import BaseModel, load_base, save_base, target_weights
from hivetune.sketch import Sketcher
from miner.trainer import pack_sequences
from tests import copies
from tests.conftest import random_layer
from validator.cone import Cone
from validator.earlier import MEMORY_ROUNDS
from validator.originality import MAX_COSINE, MAX_MIXTURE_COSINE, Work, find_copies

Layers = Mapping[str, Factors]
Made = TypeVar("Made")
ROUNDS, MINERS = MEMORY_ROUNDS + 1, 20
MIN_AUC, MAX_FALSE = 0.99, 0.001


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One way to copy."""

    name: str
    copies: int
    detected: float  # by what the validator runs
    auc: float  # against the honest: cosines with the nearest earlier one, or with the best mixture of all earlier ones
    lowest: float  # of the copies
    as_mixture: bool  # which of both cosines
    honest_rejected: int  # beside them


@dataclass(frozen=True, kw_only=True, slots=True)
class Honest:
    """Miners who copied nobody."""

    adapters: int
    pairs: int
    flagged_pairs: int  # above MAX_COSINE
    false_rate_at_most: float  # 95 % (Clopper-Pearson), as if pairs were independent
    rejected: int  # by what the validator runs
    largest_cosine: float
    largest_mixture_cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """CPU seconds on layers of SmolLM2-135M's shape."""

    layers: int  # of its 30 blocks that were measured, times their share
    admission_s: float  # gains and norm, which admission measures anyway
    sketch_s: float  # each submission, and each earlier one
    exact_once_s: float  # each submission that is compared exactly
    exact_pair_s: float
    numbers: int  # of a sketch
    crowd_s: float  # cosines and cones of 256 submissions and 768 earlier ones, all sketched


@dataclass(slots=True)
class History:
    """Rounds as they were played; `now` are the bases' weights of the last one."""

    factors: list[list[Layers]] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    nearest: list[float] = field(default_factory=list)  # each adapter's, with any that came before
    mixtures: list[float] = field(default_factory=list)
    rejected: int = 0


def works_of(adapters: Sequence[Adapter]) -> list[Work]:
    return [Work(name=adapter.hotkey, load=lambda adapter=adapter: adapter) for adapter in adapters]


def prepared(name: str, factors: Sequence[Layers], weights: Mapping[str, Tensor], scale: float) -> list[Adapter]:
    return [prepare(f"{name}-{index:03d}", layers, weights, scale) for index, layers in enumerate(factors)]


def shards_of(base: BaseModel, count: int) -> list[Tensor]:
    """Half of one domain each, half of all domains."""
    domains = sorted(round_of.real_text()[round_of.BASE_DOMAINS :], key=lambda one: -sum(len(d.text) for d in one))
    length = round_of.SEQUENCE_LENGTH
    own = [round_of.texts(domain, 2 * length) for domain in domains[: count // 2]]
    mixed = [text for domain in domains[count // 2 :] for text in round_of.texts(domain, 2 * length)]
    rest = [mixed[index :: count - len(own)] for index in range(count - len(own))]
    return [pack_sequences(base.tokenizer, texts, length) for texts in (*own, *rest)]


def play(folder: Path, rounds: int, miners: int) -> tuple[History, Path, list[Tensor]]:
    """Honest rounds; what is found goes into the history."""
    history, shards = History(), list[Tensor]()
    for round_id in range(rounds):
        base = load_base(folder / f"base-{round_id}")
        layout = round_of.layout_of(base)
        weights = target_weights(base.model, layout)
        shards = shards or shards_of(base, miners // 2)
        made: list[Layers] = []
        for index in range(miners):
            shard = shards[(index + 3 * round_id) % len(shards)]
            steps, seed = 6 + 2 * (index % 8), 1000 * round_id + index
            made.append(round_of.train_adapter(folder / f"base-{round_id}", shard, steps=steps, seed=seed))
        history.factors.append(made)
        fresh = prepared(f"{round_id}", made, weights, layout.scale)
        compare(history, earlier_of(history, round_id, weights, layout.scale), fresh, weights, layout.scale)
        print(f"round {round_id}: largest cosine so far {max(history.cosines):.3f}", flush=True)
        if round_id + 1 < rounds:
            delta = merge_deltas(weights, fresh, uniform_coefficients(fresh), layout.scale)
            with torch.no_grad():
                for name, base_OI in weights.items():
                    base_OI += delta[name]
            save_base(base, folder / f"base-{round_id + 1}")
    return history, folder / f"base-{rounds - 1}", shards


def earlier_of(history: History, round_id: int, weights: Mapping[str, Tensor], scale: float) -> list[Adapter]:
    """The remembered rounds' files on the present base."""
    first = max(0, round_id - MEMORY_ROUNDS)
    return [
        adapter
        for number in range(first, round_id)
        for adapter in prepared(f"{number}", history.factors[number], weights, scale)
    ]


def compare(
    history: History, earlier: list[Adapter], fresh: list[Adapter], weights: Mapping[str, Tensor], scale: float
) -> None:
    products = DeltaProducts(weights, scale)
    measured = [products.measure(adapter) for adapter in (*earlier, *fresh)]
    gram = gram_of(products, measured)
    cone = Cone(len(measured))
    for index in range(len(measured)):
        before = gram[index, :index].tolist()
        if index >= len(earlier) and before:
            history.cosines += before
            history.nearest.append(max(before))
            history.mixtures.append(cone.explain(before).cosine)
        cone.add(before)
    found = find_copies(works_of(fresh), works_of(earlier), weights, scale, "0xhonest")
    history.rejected += sum(one is not None for one in found)


def gram_of(products: DeltaProducts, measured: Sequence[Measured]) -> np.ndarray:
    gram = np.eye(len(measured))
    for index, one in enumerate(measured):
        for other in range(index):
            gram[index, other] = gram[other, index] = products.cosine(one, measured[other])
    return gram


def auc(honest: Sequence[float], copied: Sequence[float]) -> float:
    """How often a copy is above an honest one."""
    high, low = np.array(copied)[:, None], np.array(honest)[None]
    return float((high > low).mean() + 0.5 * (high == low).mean())


def false_rate_at_most(flagged: int, pairs: int) -> float:
    return float(beta.ppf(0.95, flagged + 1, pairs - flagged)) if flagged < pairs else 1.0


class Copiers:
    """Every way to copy the last round's miners, one copy of each."""

    def __init__(self, history: History, folder: Path, shards: Sequence[Tensor]) -> None:
        self._folder, self._shards = folder, shards
        self._base = load_base(folder)
        layout = round_of.layout_of(self._base)
        self._scale = layout.scale
        self._weights = target_weights(self._base.model, layout)
        last = len(history.factors) - 1
        self._earlier = earlier_of(history, last, self._weights, self._scale)
        self._victims = prepared(f"{last}", history.factors[last], self._weights, self._scale)
        self._history = history

    def kinds(self) -> dict[str, tuple[Callable[[int, Adapter], Layers], bool]]:
        """How to make the copy of a victim, and whether it is a mixture."""
        weights, scale, victims = self._weights, self._scale, self._victims

        def nth(index: int, step: int) -> Layers:
            return victims[(index + step) % len(victims)].factors

        def mix(*parts: float) -> Callable[[int, Adapter], Layers]:
            def make(index: int, victim: Adapter) -> Layers:
                chosen = [victim.factors, *(nth(index, 3 * step) for step in range(1, len(parts)))]
                return copies.mixed(list(zip(parts, chosen, strict=True)), weights, scale)

            return make

        def noisy_mix(index: int, victim: Adapter) -> Layers:
            mixture = prepare("mixture", mix(0.5, 0.5)(index, victim), weights, scale)
            return copies.with_noise(mixture, 0.3, index, scale)

        def further(steps: int) -> Callable[[int, Adapter], Layers]:
            def make(index: int, victim: Adapter) -> Layers:
                shard = self._shards[(index + 1) % len(self._shards)]
                start = dict(victim.factors)
                return round_of.train_adapter(self._folder, shard, steps=steps, seed=9000 + index, start=start)

            return make

        noise = {
            f"noise {share:.0%}": (lambda i, v, share=share: copies.with_noise(v, share, i, scale), False)
            for share in (0.01, 0.1, 0.3, 0.5)
        }
        return {
            "exact": (lambda _, v: v.factors, False),
            **noise,
            "scaled by 0.3": (lambda _, v: copies.scaled(v.factors, weights, 0.3), False),
            "scaled by 2": (lambda _, v: copies.scaled(v.factors, weights, 2.0), False),
            "other factors": (lambda i, v: copies.regauged(v.factors, i), False),
            "without magnitudes": (lambda _, v: copies.without_magnitudes(v), False),
            "3 steps further": (further(3), False),
            "10 steps further": (further(10), False),
            "average of two": (mix(0.5, 0.5), True),
            "mixture of three": (mix(0.5, 0.3, 0.2), True),
            "average of two, noise 30%": (noisy_mix, True),
            **self._replays(),
        }

    def _replays(self) -> dict[str, tuple[Callable[[int, Adapter], Layers], bool]]:
        """Files of the round before: as they are, and with their row gains fitted to the new base."""
        if len(self._history.factors) < 2:
            return {}
        old = self._history.factors[-2]
        before = target_weights(load_base(self._folder.with_name(f"base-{len(self._history.factors) - 2}")).model,
                                round_of.layout_of(self._base))  # fmt: skip
        gained = prepared("old", old, before, self._scale)

        def fitted(index: int, _victim: Adapter) -> Layers:
            return {
                name: Factors(
                    down_RI=layer.down_RI,
                    up_OR=layer.up_OR,
                    magnitude_O=gained[index].shapes[name].gain_O
                    * (self._weights[name] + self._scale * layer.up_OR @ layer.down_RI).norm(dim=1),
                )
                for name, layer in old[index].items()
            }

        return {"last round's file": (lambda i, _: old[i], False), "last round's, fitted": (fitted, False)}

    def measure(self) -> list[Kind]:
        products = DeltaProducts(self._weights, self._scale)
        known = [*self._earlier, *self._victims]
        measured = [products.measure(adapter) for adapter in known]
        gram = gram_of(products, measured)
        cone = Cone(len(known))
        for index in range(len(known)):
            cone.add(gram[index, :index].tolist())
        found = []
        for name, (make, as_mixture) in self.kinds().items():
            made = [make(index, victim) for index, victim in enumerate(self._victims)]
            thieves = prepared("z", made, self._weights, self._scale)
            works = works_of([*self._victims, *thieves])
            verdicts = find_copies(works, works_of(self._earlier), self._weights, self._scale, f"0x{name}")
            values = []
            for thief in thieves:
                one = products.measure(thief)
                near = [products.cosine(one, other) for other in measured]
                values.append(cone.explain(near).cosine if as_mixture else max(near))
            honest = self._history.mixtures if as_mixture else self._history.nearest
            kind = Kind(
                name=name,
                copies=len(thieves),
                detected=sum(one is not None for one in verdicts[len(self._victims) :]) / len(thieves),
                auc=auc(honest, values),
                lowest=min(values),
                as_mixture=as_mixture,
                honest_rejected=sum(one is not None for one in verdicts[: len(self._victims)]),
            )
            print(
                f"  {name:26} detected {kind.detected:6.1%}  AUC {kind.auc:.4f}  lowest {kind.lowest:.3f}", flush=True
            )
            found.append(kind)
        return found


def honest_of(history: History) -> Honest:
    flagged = sum(cosine > MAX_COSINE for cosine in history.cosines)
    return Honest(
        adapters=sum(map(len, history.factors)),
        pairs=len(history.cosines),
        flagged_pairs=flagged,
        false_rate_at_most=false_rate_at_most(flagged, len(history.cosines)),
        rejected=history.rejected,
        largest_cosine=max(history.cosines),
        largest_mixture_cosine=max(history.mixtures),
    )


def measure_cost(layers: int, submissions: int) -> Cost:
    config = config_of(layers)
    hidden, inner, narrow = config.hidden_size, config.intermediate_size, 192
    shapes = [(hidden, hidden), (narrow, hidden), (narrow, hidden), (hidden, hidden), (inner, hidden), (inner, hidden)]
    shapes.append((hidden, inner))
    weights = {
        f"{block}.{part}": torch.randn(shape, generator=torch.Generator().manual_seed(block)) / 25
        for block in range(layers)
        for part, shape in enumerate(shapes)
    }
    made = [
        {name: random_layer(base_OI, seed=seed, size=0.05, rank=round_of.RANK) for name, base_OI in weights.items()}
        for seed in (1, 2)
    ]
    share = 30 / layers
    admission_s, adapters = cpu_s(lambda: prepared("a", made, weights, 2.0))
    sketcher, products = Sketcher(weights, 2.0, "0x"), DeltaProducts(weights, 2.0)
    sketch_s, _ = cpu_s(lambda: [sketcher.sketch(adapter) for adapter in adapters])
    once_s, measured = cpu_s(lambda: [products.measure(adapter) for adapter in adapters])
    pair_s, _ = cpu_s(lambda: products.cosine(*measured))
    crowd_s, _ = cpu_s(lambda: crowd(submissions, sketcher.numbers))
    return Cost(
        layers=layers,
        admission_s=share * admission_s / 2,
        sketch_s=share * sketch_s / 2,
        exact_once_s=share * once_s / 2,
        exact_pair_s=share * pair_s,
        numbers=sketcher.numbers,
        crowd_s=crowd_s,
    )


def crowd(submissions: int, numbers: int) -> None:
    """All cosines, and all cones, of honest-looking sketches, with a common part."""
    total = submissions * (1 + MEMORY_ROUNDS)
    sketches_NS = torch.randn(total, numbers, generator=torch.Generator().manual_seed(0)).add_(0.4)
    sketches_NS /= sketches_NS.norm(dim=1, keepdim=True)
    gram = (sketches_NS @ sketches_NS.T).double().numpy()
    cone = Cone(total)
    for index in range(total):
        before = gram[index, :index].tolist()
        if index >= total - submissions:
            cone.explain(before)
        cone.add(before)


def cpu_s(work: Callable[[], Made]) -> tuple[float, Made]:
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 6 miners, and fewer layers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = machine(1, ("torch", "scipy", "numpy"))
    print(began, flush=True)
    rounds, miners = (2, 6) if options.quick else (ROUNDS, MINERS)
    with tempfile.TemporaryDirectory() as temporary:
        domains = round_of.real_text()[: round_of.BASE_DOMAINS]
        print("training a small base", flush=True)
        round_of.train_small_base(Path(temporary) / "base-0", [one for domain in domains for one in domain])
        history, last, shards = play(Path(temporary), rounds, miners)
        honest = honest_of(history)
        kinds = Copiers(history, last, shards).measure()
    cost = measure_cost(*((2, 32) if options.quick else (10, 256)))
    print(
        f"{honest.adapters} honest adapters, {honest.pairs} pairs: {honest.flagged_pairs} above {MAX_COSINE}, at most "
        f"{honest.false_rate_at_most:.3%} (95 %); largest cosine {honest.largest_cosine:.3f}, with a mixture "
        f"{honest.largest_mixture_cosine:.3f} (limit {MAX_MIXTURE_COSINE}); rejected {honest.rejected}"
    )
    lowest = min(kind.auc for kind in kinds)
    print(f"lowest AUC {lowest:.4f}, want {MIN_AUC}; false flags, want {MAX_FALSE:.1%} at most")
    print(
        f"SmolLM2-135M's shape, CPU s: sketch {cost.sketch_s:.3f} beside admission's {cost.admission_s:.2f}, exact "
        f"{cost.exact_once_s:.2f} once, {cost.exact_pair_s:.3f} a pair; a round's cosines, cones {cost.crowd_s:.1f}"
    )
    if options.json:
        found = {"measured": began, "honest": asdict(honest), "kinds": list(map(asdict, kinds)), "cost": asdict(cost)}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
