"""The loop that every role runs in: step, wait for the block, back off, beat, stop on a signal.

The only broad `except` of the code base is here: whatever a step raises, the node logs it and lives on.
"""

import gc
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from chain.ledger import Ledger
from hivetune.errors import ConfigError, RetryableError
from hivetune.files import write_atomically
from hivetune.status import Node, Status

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_POLL_S = 0.3


class Heartbeat:
    """The node's last status in one small file, for supervisors and the demo's live view."""

    def __init__(self, path: Path, role: str) -> None:
        self._path = path
        self._role = role
        self._last = Status(round_id=None, activity="starting")

    def report(self, status: Status) -> None:
        """Write a status; within a round the last note stays until there is a new one."""
        if not status.note and status.round_id == self._last.round_id:
            status = replace(status, note=self._last.note)
        self._last = status
        beat = {"role": self._role, "pid": os.getpid(), "time": time.time(), **asdict(status)}
        write_atomically(self._path, json.dumps(beat).encode())

    def waiting(self, block: int) -> None:
        """Nothing to do before a block."""
        self.report(replace(self._last, activity=f"waiting for block {block}", done=0, total=0, waiting_for=block))


def run(node: Node, ledger: Ledger, heartbeat: Heartbeat) -> None:
    """Step the node until a signal comes; ConfigError ends it, everything else is logged and tried again."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            block = node.step()
            gc.collect()  # models hold reference cycles: a node that waits should not hold gigabytes
            _wait_for(ledger, block, heartbeat)
            pause_s = _FIRST_PAUSE_S
        except ConfigError:
            raise
        except RetryableError as error:
            log.warning("%s; again in %.1f s", error, pause_s)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except Exception:
            log.exception("unexpected error; again in %.1f s", pause_s)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _wait_for(ledger: Ledger, block: int, heartbeat: Heartbeat) -> None:
    if ledger.head().number >= block:
        return
    heartbeat.waiting(block)
    while ledger.head().number < block:
        time.sleep(_POLL_S)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block cleanly, wherever it is: every file is written whole or not at all."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
