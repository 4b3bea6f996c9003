"""Whether credit is true, and what it costs: `python -m benchmarks.credit [--json FILE]`.

Everything but the cost is measured on a small base trained here on real text, with miners trained on other domains.

- agreement: credits of eight miners, by nodes, against exact Shapley over 2^8 merges and the measured gain;
  leave-one-out and solo gains beside them;
- power: how often an adapter that is truly 0.01 nats better is accepted, by budget of text, and how often something
  without effect is called an effect at any look;
- sybils: what one adapter earns under k hotkeys against what it earns under one;
- nulls: a thousand entries that learnt nothing, through admission and scoring, in rounds with honest ones;
- cost: one credit pass over K submissions on SmolLM2-135M against a forward pass for each alone.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks import candidates as round_of
from benchmarks.credit_power import Power, Recorded, Stopping, powers, stopping
from benchmarks.credit_rounds import (
    HONEST,
    Honest,
    Nulls,
    Sybil,
    World,
    make_world,
    null_factors,
    play_nulls,
    play_sybils,
)
from benchmarks.machine import machine
from hivetune.credit import NODES, aumann_shapley
from hivetune.dora import Factors, dora_weight
from hivetune.evaluation import Batch, losses, make_batches
from hivetune.merging import Adapter, merge_deltas, prepare_all, uniform_coefficients
from hivetune.model import load_base, target_weights
from hivetune.statistics import Estimate
from tests.conftest import random_layer
from tests.plain_credit import exact_shapley, leave_one_out, solo_gains, worth_of
from validator.scoring import least_credit

PARTS = ("agreement", "power", "sybils", "nulls", "cost")
MINERS = 8
ALL_NODES = (1, 2, 4, 8)
BETTER = 0.01  # nats per token
DISTINCT = 8  # submissions in memory for the cost, entered again and again


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One way to share the gain, against exact Shapley."""

    way: str
    worst: float  # of all miners, relative to the miner's own exact share
    rank_correlation: float  # Spearman's
    total: float  # of the gain


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """In forward passes over one batch, which is what scoring one submission alone takes."""

    submissions: int
    merge: float  # once in a pass, whatever the text
    batch_and_node: float
    of_alone: float  # a pass over 16 batches with the default nodes, over scoring each alone


def agreement(world: World, sequences: int) -> list[Agreement]:
    adapters = prepared(world, world.miners[:MINERS])
    coefficients = uniform_coefficients(adapters)
    batches = world.batches(0, sequences)
    worth = worth_of(world.base, world.weights, adapters, coefficients, batches, world.scale)
    exact = np.array(exact_shapley(MINERS, worth))
    ways: dict[str, np.ndarray] = {
        f"Aumann-Shapley, {nodes} nodes": aumann_shapley(
            world.base, world.weights, adapters, coefficients, batches, world.scale, nodes=nodes
        ).sum(0)
        for nodes in ALL_NODES
    }
    ways["leave-one-out"] = np.array(leave_one_out(MINERS, worth))
    ways["solo gains"] = np.array(solo_gains(MINERS, worth))
    return [
        Agreement(
            way=way,
            worst=float(np.abs(found / exact - 1).max()),
            rank_correlation=float(spearmanr(found, exact).statistic),
            total=float(found.sum() / exact.sum()),
        )
        for way, found in ways.items()
    ]


def prepared(world: World, miners: Sequence[dict[str, Factors]]) -> list[Adapter]:
    named = {f"miner-{index}": factors for index, factors in enumerate(miners)}
    return prepare_all(named, world.weights, world.scale)


def costs(counts: Sequence[int], batches_in_pass: int = 16) -> list[Cost]:
    base = load_base(round_of.real_base())
    layout = round_of.layout_of(base)
    weights = target_weights(base.model, layout)
    made = {
        f"{one}": {
            name: random_layer(weight_OI, seed=1000 * one + place, size=0.01, rank=layout.rank)
            for place, (name, weight_OI) in enumerate(weights.items())
        }
        for one in range(DISTINCT)
    }
    distinct = prepare_all(made, weights, layout.scale)
    text = [piece for domain in round_of.real_text() for piece in round_of.texts(domain, 2000)[:1]][:4]
    batches = make_batches(base.tokenizer, text, sequence_length=256, batch_sequences=4)
    losses(base, batches, {})
    forward_s = min(cpu_s(lambda: losses(base, batches, {})) for _ in range(3))
    found = []
    for count in counts:
        adapters = [replace(distinct[one % DISTINCT], hotkey=f"{one:03d}") for one in range(count)]
        coefficients = [1 / count] * count
        merge_s = cpu_s(lambda: merge_deltas(weights, adapters, coefficients, layout.scale))  # noqa: B023
        whole_s = cpu_s(
            lambda: aumann_shapley(base, weights, adapters, coefficients, batches, layout.scale, nodes=1)  # noqa: B023
        )
        merge, each = merge_s / forward_s, (whole_s - merge_s) / forward_s
        alone = count * batches_in_pass
        cost = (merge + NODES[0] * each * batches_in_pass) / alone
        found.append(Cost(submissions=count, merge=merge, batch_and_node=each, of_alone=cost))
    return found


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def gains(world: World, factors: Mapping[str, Factors], batches: Sequence[Batch], before: Sequence[float]) -> Recorded:
    """What an adapter alone saves of every batch."""
    adapted = {name: dora_weight(base_OI, factors[name], world.scale) for name, base_OI in world.weights.items()}
    after = losses(world.base, batches, adapted)
    return Recorded(nats=np.subtract(before, after), tokens=np.array([batch.predicted for batch in batches]))


def better_by(
    world: World, target: float, batches: Sequence[Batch], before: Sequence[float]
) -> tuple[dict[str, Factors], Recorded]:
    """An honest adapter, shortened until it gains just so much on this text."""
    short, long = 0.0, 1.0
    for _ in range(7):
        share = (short + long) / 2
        factors = {
            name: Factors(
                down_RI=layer.down_RI,
                up_OR=share * layer.up_OR,
                magnitude_O=torch.lerp(world.weights[name].norm(dim=1), layer.magnitude_O, share),
            )
            for name, layer in world.miners[0].items()
        }
        found = gains(world, factors, batches, before)
        short, long = (share, long) if found.mean < target else (short, share)
    return factors, found


def decisions(
    world: World, sequences: int, budgets: Sequence[int], draws: int
) -> tuple[list[Power], float, float, Stopping]:
    """Power by budget, the true gain alone and the true credit that it is for, and the errors of stopping."""
    batches = world.batches(0, sequences)
    before = losses(world.base, batches, {})
    tokens = np.array([batch.predicted for batch in batches])
    _, alone = better_by(world, BETTER, batches, before)
    adapters = prepared(world, world.miners[:HONEST])
    credits_BA = aumann_shapley(
        world.base, world.weights, adapters, uniform_coefficients(adapters), batches, world.scale
    )
    recorded = [Recorded(nats=credits_BA[:, one], tokens=tokens) for one in range(HONEST)]
    nearest = min(recorded, key=lambda one: abs(one.mean - BETTER))
    least = least_credit([Estimate(mean=one.mean, lower=one.mean, upper=one.mean) for one in recorded])
    found = powers(alone, nearest, least, budgets, draws)
    # Noise of the honest's size, and training on shuffled text, from two seeds each.
    nulls = [
        gains(world, null_factors(world, kind, seed), batches, before)
        for kind, seed in (("noise", 2), ("noise", 5), ("shuffled", 0), ("shuffled", 1))
    ]
    return found, alone.mean, nearest.mean, stopping(nulls, max(budgets), draws)


def bar(holds: bool, what: str) -> str:
    return f"  {'holds' if holds else 'DOES NOT HOLD'}: {what}"


def show_agreement(found: Sequence[Agreement]) -> None:
    print(f"\n{MINERS} miners, against exact Shapley over 2^{MINERS} merges")
    for one in found:
        print(
            f"  {one.way:24} off by at most {one.worst:8.2%}, rank correlation {one.rank_correlation:.3f}, "
            f"total {one.total:+.4f} of the gain"
        )
    default = found[ALL_NODES.index(NODES[0])]
    print(bar(default.worst <= 0.02 and default.rank_correlation > 0.9999, "each within 2 %, in the same order"))
    print(bar(abs(default.total - 1) <= 0.02, f"credits add up within 2 % at {NODES[0]} nodes"))


def show_costs(found: Sequence[Cost]) -> None:
    print("\none credit pass on SmolLM2-135M, in forward passes of a batch of 1,020 tokens")
    for one in found:
        print(
            f"  {one.submissions:4d} submissions: {one.batch_and_node:.2f} a batch and node, merge {one.merge:.2f}; "
            f"{one.of_alone:.3f} of scoring each alone"
        )
    print(bar(found[-1].of_alone <= 0.1, f"{found[-1].submissions} cost at most a tenth of scoring each alone"))


def show_nulls(found: Sequence[Nulls], honest: Honest) -> None:
    print("\nnulls in rounds with honest ones")
    for one in found:
        rejected = f"; rejected {one.reasons}" if one.reasons else ""
        print(f"  {one.kind:10} {one.entered:5} entered, {one.paid} paid, {one.share:.6%} of the pay{rejected}")
    entered, paid = sum(one.entered for one in found), sum(one.paid for one in found)
    share = sum(one.share for one in found)
    print(
        f"  honest: {honest.paid} of {honest.entered} paid; credits the same to the bit as without nulls in "
        f"{honest.unchanged} of {honest.entered // HONEST} rounds, changed by at most {honest.most:.1e}"
    )
    print(bar(paid <= 0.01 * entered and share <= 0.001, f"{paid / entered:.2%} paid, {share:.5%} of the pay"))


def show_decisions(found: Sequence[Power], alone: float, credit: float, errors: Stopping, draws: int) -> None:
    print(f"\naccepted in {draws} draws: {alone:.4f} nats a token alone, {credit:.4f} of credit among {HONEST}")
    for one in found:
        print(
            f"  {one.sequences:5d} sequences, {one.tokens:7.0f} tokens: alone {one.accepted_alone:.1%} "
            f"(after {one.tokens_spent:.0f}), by credit {one.accepted_by_credit:.1%}"
        )
    enough = [one for one in found if min(one.accepted_alone, one.accepted_by_credit) >= 0.95]
    print(bar(bool(enough), f"95 % accepted with {enough[0].tokens if enough else found[-1].tokens:.0f} tokens"))
    print(f"without effect, called an effect at any time of {found[-1].sequences} sequences")
    print(f"  looks: {errors.looks_accept:.1%} accepted, {errors.looks_any:.1%} with those called harmful")
    print(f"  peeking after every batch: {errors.peeking_accept:.1%} and {errors.peeking_any:.1%}")
    print(bar(errors.looks_any <= 0.05, "optional stopping errs at most 5 %"), flush=True)


def show_sybils(found: Sequence[Sybil]) -> None:
    print("\nthe first miner under many hotkeys, times its pay under one")
    for one in found:
        print(f"  {one.way:24} {one.parts:3d} hotkeys: {one.pay_ratio:.3f} ({one.admitted} admitted)")
    worst = max(found, key=lambda one: one.pay_ratio)
    print(bar(worst.pay_ratio <= 1.02, f"at most 1.02 times; worst {worst.pay_ratio:.3f}, {worst.way}"), flush=True)


def on_small_base(world: World, parts: Sequence[str], quick: bool) -> dict[str, object]:
    """The figures of those parts that need no larger model, each printed as soon as it is there."""
    found: dict[str, object] = {}
    if "agreement" in parts:
        shares = agreement(world, 8 if quick else 64)
        show_agreement(shares)
        found["agreement"] = list(map(asdict, shares))
    if "power" in parts:
        pool, budgets, draws = (384, (64, 128), 200) if quick else (1536, (64, 128, 256, 512), 2000)
        power, alone, credit, errors = decisions(world, pool, budgets, draws)
        show_decisions(power, alone, credit, errors, draws)
        found |= {"true_alone": alone, "true_credit": credit, "power": list(map(asdict, power))}
        found["stopping"] = asdict(errors)
    if "sybils" in parts:
        sybils = play_sybils(world, world.batches(0, 64), (2, 8) if quick else (2, 8, 32))
        show_sybils(sybils)
        found["sybils"] = list(map(asdict, sybils))
    if "nulls" in parts:
        rounds, each = (2, 2) if quick else (25, 10)
        nulls, honest = play_nulls(world, range(rounds), each)
        show_nulls(nulls, honest)
        found |= {"nulls": list(map(asdict, nulls)), "honest": asdict(honest)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, and nothing on SmolLM2-135M")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = machine(1, ("torch", "transformers"))
    print(began, flush=True)
    found: dict[str, object] = {"measured": began}
    if set(options.parts) != {"cost"}:
        with tempfile.TemporaryDirectory() as temporary:
            print("training a small base and its miners", flush=True)
            world = make_world(Path(temporary), MINERS)
            found |= on_small_base(world, options.parts, options.quick)
    if "cost" in options.parts and not options.quick:
        passes = costs((8, 64, 256))
        show_costs(passes)
        found["cost"] = list(map(asdict, passes))
    found["cpu_s"] = time.process_time()
    print(f"{time.process_time() / 60:.1f} minutes of one core", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
