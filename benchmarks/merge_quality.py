"""How good merges are, rule by rule: `python -m benchmarks.merge_quality [--json FILE]`.

A small base, trained here on part of the demo's text, is adapted to the rest of it by miners whose shards hold every
domain or each its own. Shards, and the texts for scoring, selection and test, share no document or no sequence; all
gains are on the test text. Every figure is a median over seeds, which draw text, shards, factors and order anew.

- one round: every rule without attackers;
- attacks: three of ten are attackers, against the merge of the seven honest alone, by every rule that could withstand;
- releases: several rounds in a row, against one adapter trained on all miners' text at one place.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Literal, get_args

import torch

from benchmarks import candidates
from benchmarks.machine import machine
from benchmarks.merge_cells import Cell, Workshop, measure_rules
from benchmarks.merge_releases import NESTEROV, PLANS, Release, centralised, measure_releases
from benchmarks.merge_rules import RULES
from benchmarks.poisoners import POISONERS, SHUFFLED
from benchmarks.swarm import Counts, Training, make_base, read_text
from hivetune.corpus import Document, Layout

MINERS, ATTACKERS = 10, 3
ROUNDS, ROUND_MINERS = 4, 8
SEEDS = 5
OTHERS_SEEDS = 1  # on which other rules are attacked, and other ways from release to release tried; ours on all
USUAL = "uniform"
BASE_DOMAINS = 8  # the base learns these, the miners the others
TRAINING = Training(steps=48, batch_sequences=1, learning_rate=7e-3)  # small batches: the merge averages their noise
CENTRAL = ((4, 1e-2),)  # batch and rate; the best of five pairs tried on another seed
NOBODY, HONEST_ALONE = "nobody", "the honest alone"
OURS = next(iter(RULES))
ATTACKS = (*POISONERS, SHUFFLED)
UNPROTECTED = ("plain mean, no line search", "means of A, B and m", "TIES", "DARE", "learned, by miner and tensor")
TOLERANCE = 0.005  # nats that attackers may cost
Part = Literal["rules", "attacks", "releases"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Central:
    """What training at one place gains from the same text."""

    layout: str
    seed: int
    gain: float


@dataclass(kw_only=True, slots=True)
class Found:
    """All that was measured."""

    cells: list[Cell] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    central: list[Central] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much is measured."""

    parts: tuple[Part, ...]
    attacks: tuple[str, ...]
    layouts: tuple[Layout, ...]
    seeds: tuple[int, ...]
    training: Training
    base_steps: int
    counts: Counts


def attacked(shop: Workshop, layout: str, attacks: Sequence[str]) -> Iterable[Cell]:
    """The honest alone, and every attack on them."""
    protected = [rule for rule in RULES if rule not in UNPROTECTED]
    rules = protected if shop.seed < OTHERS_SEEDS else [OURS]
    yield from measure_rules(shop, layout, HONEST_ALONE, MINERS - ATTACKERS, 0, rules)
    for attack in attacks:
        yield from measure_rules(shop, layout, attack, MINERS, ATTACKERS, rules)


def several_rounds(shop: Workshop, layout: str, training: Training, folder: Path) -> Iterable[Release]:
    methods = (*PLANS, NESTEROV) if shop.seed < OTHERS_SEEDS else [USUAL]
    for method in methods:
        yield from measure_releases(shop, layout, method, training, ROUND_MINERS, ROUNDS, folder / method)


def spread(values: Sequence[float], form: str = "+.4f") -> str:
    """Median, and from where to where."""
    low, middle, high = min(values), median(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def show_rules(cells: Sequence[Cell], layouts: Sequence[str]) -> None:
    clean = [cell for cell in cells if cell.attack == NOBODY]
    print("\nOne round, nobody attacks: gain in nats a token, median over seeds (from, to)")
    print(f"  {'':30}" + "".join(f"{layout:>34}" for layout in layouts) + "  at least the best alone")
    for rule in RULES:
        mine = [cell for cell in clean if cell.rule == rule]
        columns = [spread([cell.gain for cell in mine if cell.layout == layout]) for layout in layouts]
        wins = sum(cell.gain >= cell.best_solo for cell in mine)
        print(f"  {rule:30}" + "".join(f"{column:>34}" for column in columns) + f"  {wins}/{len(mine)}")
    solos = {(cell.layout, cell.seed): cell.best_solo for cell in clean}
    columns = [spread([gain for (layout, _), gain in solos.items() if layout == wanted]) for wanted in layouts]
    print(f"  {'best miner alone':30}" + "".join(f"{column:>34}" for column in columns))


def costs(cells: Sequence[Cell], rule: str, attack: str) -> list[float]:
    """What an attack takes from the honest ones' merge by the same rule, for every seed and layout."""
    alone = {(c.layout, c.seed): c.gain for c in cells if c.rule == rule and c.attack == HONEST_ALONE}
    return [alone[c.layout, c.seed] - c.gain for c in cells if c.rule == rule and c.attack == attack]


def show_attacks(cells: Sequence[Cell], attacks: Sequence[str]) -> None:
    print(f"\nThree of ten attack: nats a token lost against the seven honest alone; of {OURS} the largest in brackets")
    rules = [rule for rule in RULES if any(c.rule == rule and c.attack == attacks[0] for c in cells)]
    print(f"  {'':30}" + "".join(f"{attack:>20}" for attack in attacks))
    for rule in rules:
        row = []
        for attack in attacks:
            found = costs(cells, rule, attack)
            row.append(f"{median(found):+.4f} ({max(found):+.4f})" if rule == OURS else f"{median(found):+.4f}")
        print(f"  {rule:30}" + "".join(f"{value:>20}" for value in row))
    attacked = [cell for cell in cells if cell.rule == OURS and cell.attack in attacks]
    within = [sum(cost <= TOLERANCE for cost in costs(cells, OURS, attack)) for attack in attacks]
    print(f"  within {TOLERANCE} nats:" + "".join(f" {a} {n}," for a, n in zip(attacks, within, strict=True))[:-1])
    print(
        f"  of {len(attacked)} rounds with attackers: {sum(c.paid_attackers for c in attacked)} attackers of "
        f"{ATTACKERS * len(attacked)} paid, {sum(c.unpaid_honest for c in attacked)} honest of "
        f"{(MINERS - ATTACKERS) * len(attacked)} not"
    )


def show_releases(releases: Sequence[Release], central: Sequence[Central], layouts: Sequence[str]) -> None:
    print(f"\n{ROUNDS} rounds in a row, {ROUND_MINERS} miners: gain after each; share of training at one place")
    ends = {(one.layout, one.seed): one.gain for one in central}
    for layout in layouts:
        for method in dict.fromkeys(release.method for release in releases):
            mine = [r for r in releases if r.method == method and r.layout == layout]
            steps = [median([r.gain for r in mine if r.round_id == round_id]) for round_id in range(ROUNDS)]
            shares = [r.gain / ends[layout, r.seed] for r in mine if r.round_id == ROUNDS - 1]
            wins = sum(r.gain >= r.best_solo for r in mine)
            print(
                f"  {layout:8} {method:16}"
                + "".join(f"{gain:+8.4f}" for gain in steps)
                + f"   {spread(shares, '.2f')}   at least the best alone {wins}/{len(mine)}"
            )
        there = [gain for (found, _), gain in ends.items() if found == layout]
        print(f"  {layout:8} {'at one place':16}{'':24}{median(there):+8.4f}")


def documents_of(domains: Sequence[Sequence[Document]]) -> list[Document]:
    return [document for domain in domains for document in domain]


def measure(scale: Scale, folder: Path) -> Iterator[Found]:
    """Everything measured so far, seed by seed."""
    found = Found()
    domains = candidates.real_text()
    if not (folder / "base").exists():
        make_base(folder / "base", documents_of(domains[:BASE_DOMAINS]), steps=scale.base_steps)
    for seed, layout in product(scale.seeds, scale.layouts):
        began = time.process_time()
        text = read_text(documents_of(domains[BASE_DOMAINS:]), layout, seed, MINERS, scale.counts)
        place = folder / f"{layout}-{seed}"
        shop = Workshop(folder / "base", text, place, seed, scale.training)
        if "rules" in scale.parts:
            found.cells += measure_rules(shop, layout, NOBODY, MINERS, 0, list(RULES))
        if "attacks" in scale.parts:
            found.cells += attacked(shop, layout, scale.attacks)
        if "releases" in scale.parts:
            found.releases += several_rounds(shop, layout, scale.training, place)
            gain = centralised(shop, scale.training, ROUND_MINERS, ROUNDS, CENTRAL)
            found.central.append(Central(layout=layout, seed=seed, gain=gain))
        print(f"seed {seed}, {layout}: {time.process_time() - began:.0f} s of CPU time", flush=True)
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, a base that hardly trained, little text")
    parser.add_argument("--seed", action="append", type=int, help="only this one; may be repeated")
    parser.add_argument("--part", action="append", choices=get_args(Part), help="only this; may be repeated")
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="only this one; may be repeated")
    parser.add_argument("--layout", action="append", choices=get_args(Layout), help="only these shards")
    parser.add_argument("--folder", type=Path, help="where bases and adapters are kept, to be found there again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = machine(1, ("torch", "transformers", "peft"))
    print(began, flush=True)
    scale = Scale(
        parts=tuple(options.part or get_args(Part)),
        attacks=tuple(options.attack or ATTACKS),
        layouts=tuple(options.layout or get_args(Layout)),
        seeds=tuple(options.seed or range(1 if options.quick else SEEDS)),
        training=Training(steps=6, batch_sequences=2, learning_rate=1e-2) if options.quick else TRAINING,
        base_steps=40 if options.quick else 300,
        counts=Counts(score=64, select=16, accept=64, test=32) if options.quick else Counts(),
    )
    with tempfile.TemporaryDirectory() as temporary:
        for found in measure(scale, options.folder or Path(temporary)):
            if options.json:
                options.json.write_text(json.dumps({"measured": began, **asdict(found)}, indent=1) + "\n")
    show = {
        "rules": lambda: show_rules(found.cells, scale.layouts),
        "attacks": lambda: show_attacks(found.cells, scale.attacks),
        "releases": lambda: show_releases(found.releases, found.central, scale.layouts),
    }
    for part in scale.parts:
        show[part]()


if __name__ == "__main__":
    main()
