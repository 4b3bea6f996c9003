"""The demo's processes: started with a log file each, watched, and ended together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hivetune.errors import ConfigError, RetryableError

_GRACE_S = 10.0


@dataclass(kw_only=True, slots=True)
class Member:
    """One process of the network."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    heartbeat: Path | None  # None for the Hub and the chain
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches it only through the demo."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def beat(self) -> dict[str, Any] | None:
        """The last heartbeat of the running process; None before its first."""
        if self.heartbeat is None or self.process is None:
            return None
        try:
            beat: dict[str, Any] = json.loads(self.heartbeat.read_text())
        except FileNotFoundError:
            return None
        return beat if beat["pid"] == self.process.pid else None

    def last_line(self) -> str:
        """The end of the log, for an error message."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1][:300] if lines else "no output"


class Network:
    """All processes of one demo."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    def start(self, member: Member) -> Member:
        """Start a process and keep it."""
        self.members.append(member)
        member.start()
        return member

    def check(self) -> None:
        """ConfigError when any process has ended."""
        for member in self.members:
            if member.process is not None and (code := member.process.poll()) is not None:
                raise ConfigError(f"{member.name} ended with exit code {code}: {member.last_line()} (see {member.log})")

    def stop_neurons(self) -> None:
        """End the neurons and keep the Hub and the chain."""
        self._stop([member for member in self.members if member.heartbeat is not None])
        self.members = [member for member in self.members if member.heartbeat is None]

    def stop(self) -> None:
        """End every process."""
        self._stop(self.members)

    @staticmethod
    def _stop(members: Sequence[Member]) -> None:
        """Ask them to end, the last started first; kill what has not ended in time."""
        running = [m.process for m in reversed(members) if m.process is not None and m.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + _GRACE_S
        for process in running:
            try:
                process.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_line(member: Member, prefix: str, timeout_s: float = 60.0) -> str:
    """The rest of the first log line that starts with `prefix`, such as a server's address."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        for line in member.log.read_text(errors="replace").splitlines() if member.log.exists() else []:
            if line.startswith(prefix):
                return line.removeprefix(prefix).strip()
        if member.process is not None and member.process.poll() is not None:
            raise ConfigError(f"{member.name} ended at once: {member.last_line()} (see {member.log})")
        time.sleep(0.05)
    raise RetryableError(f"{member.name} did not start within {timeout_s:.0f} s (see {member.log})")
