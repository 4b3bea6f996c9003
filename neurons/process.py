"""One role as one process: connect, build, run, with a log on stderr and a heartbeat in the state folder."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hivetune.printable import printable
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


class OneLine(logging.Formatter):
    """An event stays on its line, whatever words of strangers are in it; only tracebacks take more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return printable(super().formatMessage(record), 4000)


def set_up_log() -> None:
    """One line an event on stderr; libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for package in ("hivetune", "chain", "hub", "miner", "validator", "averager", "neurons"):
        logging.getLogger(package).setLevel(logging.INFO)
