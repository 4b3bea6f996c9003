"""Time of one epoch of Yuma Consensus, arrays against a plain loop: `python -m benchmarks.yuma [--json FILE]`.

On one core. The epoch is the dearest: Yuma 3 with liquid alpha, every validator with full rows of weights and bonds.
Both sides take turns and must agree on every number.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import machine
from chain.yuma import EpochInput, EpochOutput, run_epoch
from tests.plain_yuma import crowd
from tests.plain_yuma import run_epoch as plain_epoch

SIZES = ((8, 2), (256, 64), (4096, 64))  # neurons, validators
QUICK_SIZES = SIZES[:2]
SHORTEST_S = 0.05  # of a measurement; quicker epochs are run many times in a row


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    neurons: int
    validators: int
    arrays_s: float  # medians, for one epoch
    plain_s: float
    arrays_spread: float  # slowest / fastest
    plain_spread: float
    ratio: float


def on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def seconds(epoch: Callable[[EpochInput], EpochOutput], inputs: EpochInput, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        epoch(inputs)
    return (time.perf_counter() - start) / times


def measure(neurons: int, validators: int, repeats: int) -> Result:
    inputs = crowd(neurons, validators)
    if run_epoch(inputs) != plain_epoch(inputs):
        raise SystemExit(f"the two differ at {neurons} neurons")
    sides = (run_epoch, plain_epoch)
    times = [1 + int(SHORTEST_S / seconds(side, inputs, 1)) for side in sides]
    rounds = [[seconds(side, inputs, count) for side, count in zip(sides, times, strict=True)] for _ in range(repeats)]
    arrays, plain = zip(*rounds, strict=True)
    return Result(
        neurons=neurons,
        validators=validators,
        arrays_s=statistics.median(arrays),
        plain_s=statistics.median(plain),
        arrays_spread=max(arrays) / min(arrays),
        plain_spread=max(plain) / min(plain),
        ratio=statistics.median(plain) / statistics.median(arrays),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each side")
    parser.add_argument("--quick", action="store_true", help="without the largest subnet")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    on_one_core()
    began = machine(1, ("numpy",))
    print(began)
    print(f"medians of {options.repeats}, arrays and plain loop in turns; slowest / fastest in brackets")
    sizes = QUICK_SIZES if options.quick else SIZES
    results = [measure(neurons, validators, options.repeats) for neurons, validators in sizes]
    for r in results:
        arrays = f"{r.arrays_s * 1000:9.2f} ms ({r.arrays_spread:.2f})"
        plain = f"{r.plain_s * 1000:9.2f} ms ({r.plain_spread:.2f})"
        print(
            f"{r.neurons:5} neurons, {r.validators:2} validators: arrays {arrays}, plain {plain}, {r.ratio:.1f} times"
        )
    if options.json:
        options.json.write_text(json.dumps({"measured": began, "epochs": list(map(asdict, results))}, indent=1) + "\n")


if __name__ == "__main__":
    main()
