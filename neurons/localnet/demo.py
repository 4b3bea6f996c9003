"""`hivetune demo`: build the network, play the rounds, show them, compare the releases, end everything."""

import json
import time
from dataclasses import asdict
from typing import Any

from hivetune.files import write_atomically
from hivetune.releases import ReleaseFollower
from neurons.daemon import stopped_by_signals
from neurons.localnet.drive import Driver
from neurons.localnet.final import Final, compare
from neurons.localnet.options import DemoOptions
from neurons.localnet.processes import Network
from neurons.localnet.setup import Localnet, build
from neurons.localnet.view import open_view
from neurons.observer import Observer
from neurons.results import RAO, RoundResult

_INTERRUPTED = 130  # the shell's code for Ctrl-C


def run_demo(options: DemoOptions) -> None:
    """The whole demo; every process it started has ended when it returns."""
    started, result = time.monotonic(), None
    network = Network()
    with stopped_by_signals(), open_view(options) as view:
        try:
            localnet = build(options, network, view.say)
            follower = ReleaseFollower(localnet.ledger, localnet.hub, options.folder.resolve() / "observer")
            first, _ = follower.current()
            driver = Driver(localnet=localnet, show=view.moment)
            view.named(localnet.names)
            rounds = driver.play(options.rounds, view.round)
            view.say("rounds are over, ending the neurons")
            rewards = total_rewards(localnet, rounds)
            network.stop_neurons()
            final = compare(first, follower, view.say)
            result = as_json(rounds, final, rewards, localnet, time.monotonic() - started)
            view.summary(final, rewards, time.monotonic() - started)
            if options.json_path is not None:
                write_atomically(options.json_path, json.dumps(result, indent=2).encode())
                view.say(f"result written to {options.json_path}")
        finally:
            network.stop()
    if result is None:
        raise SystemExit(_INTERRUPTED)


def total_rewards(localnet: Localnet, rounds: list[RoundResult]) -> dict[str, float]:
    """Every neuron's earnings in tokens, by hotkey, over the rounds played."""
    plan = localnet.release.rounds
    last_block = plan.first_block + len(rounds) * plan.blocks_per_round - 1
    observer = Observer(ledger=localnet.ledger, hub=None)
    totals = dict.fromkeys(localnet.roles, 0.0)
    for epoch in observer.epochs(plan.first_block, last_block):
        for hotkey, rao in epoch.emission_rao.items():
            totals[hotkey] = totals.get(hotkey, 0.0) + rao / RAO
    return totals


def as_json(
    rounds: list[RoundResult], final: Final, rewards: dict[str, float], localnet: Localnet, seconds: float
) -> dict[str, Any]:
    """The result file."""
    return {
        "rounds": [result.to_json() for result in rounds],
        "final": asdict(final),
        "rewards": rewards,
        "names": localnet.names,
        "roles": localnet.roles,
        "tokens_per_s": localnet.pace.tokens_per_s,
        "seconds": round(seconds, 1),
    }
