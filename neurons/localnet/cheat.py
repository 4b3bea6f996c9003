"""Entry of the demo's cheaters: `python -m neurons.localnet.cheat free-rider|copier [the miner's flags]`."""

import sys
from pathlib import Path

from hivetune.errors import ConfigError
from hivetune.releases import ReleaseFollower
from hivetune.status import Node, Report
from miner.node import MinerNode
from miner.settings import MinerSettings
from neurons.commands import run_from_flags
from neurons.localnet.cheaters import CopierNode, UntrainedAuthor
from neurons.wiring import Connections


def build_free_rider(settings: MinerSettings, connections: Connections, state: Path, report: Report) -> Node:
    """A miner that never trains."""
    follower = ReleaseFollower(connections.ledger, connections.hub, state)
    return MinerNode(
        ledger=connections.ledger,
        hub=connections.hub,
        follower=follower,
        author=UntrainedAuthor(connections.ledger, follower),
        repo=connections.repo(settings.repo, f"{settings.wallet_hotkey}-adapters"),
        state=state,
        report=report,
    )


def build_copier(settings: MinerSettings, connections: Connections, state: Path, report: Report) -> Node:
    """A miner that takes another's file."""
    return CopierNode(
        ledger=connections.ledger,
        hub=connections.hub,
        follower=ReleaseFollower(connections.ledger, connections.hub, state),
        repo=connections.repo(settings.repo, f"{settings.wallet_hotkey}-adapters"),
        state=state,
        report=report,
    )


def main() -> None:
    """Run the named cheater."""
    builders = {"free-rider": build_free_rider, "copier": build_copier}
    if len(sys.argv) < 2 or sys.argv[1] not in builders:
        raise ConfigError(f"which cheater? one of {', '.join(builders)}")
    run_from_flags(sys.argv[1], MinerSettings, builders[sys.argv[1]], sys.argv[2:])


if __name__ == "__main__":
    main()
