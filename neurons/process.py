"""One role as one process: connect, build, run, with a log on stderr and a heartbeat in the state folder."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hivetune.settings import NodeSettings
from hivetune.status import Node, Report
from neurons.daemon import Heartbeat, run, stopped_by_signals
from neurons.wiring import Connections, connect, state_folder

AnySettings = TypeVar("AnySettings", bound=NodeSettings)


def run_role(
    role: str,
    settings: AnySettings,
    build: Callable[[AnySettings, Connections, Path, Report], Node],
) -> None:
    """Run until a signal; ConfigError passes through for the command line to show."""
    set_up_log()
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    with stopped_by_signals():
        connections = connect(settings)
        state = state_folder(settings, role, connections.ledger.genesis_hash())
        heartbeat = Heartbeat(state / "heartbeat.json", role)
        node = build(settings, connections, state, heartbeat.report)
        run(node, connections.ledger, heartbeat)


def set_up_log() -> None:
    """One line an event on stderr; libraries speak only when something is wrong."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname).1s %(name)s: %(message)s", stream=sys.stderr
    )
    for package in ("hivetune", "chain", "hub", "miner", "validator", "averager", "neurons"):
        logging.getLogger(package).setLevel(logging.INFO)
