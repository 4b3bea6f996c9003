"""What was measured of a round's submissions so far, on disk, so that a restarted validator measures nothing twice."""

import json
import os
from collections import UserDict
from pathlib import Path

from hivetune.files import write_atomically


class Journal(UserDict[str, tuple[float, ...]]):
    """Batch losses in nats by hotkey; each entry stands on disk before the next is measured."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
            if line.endswith("\n"):  # else the process was killed while it wrote
                hotkey, nats = json.loads(line)
                self.data[hotkey] = tuple(nats)
        self._rewrite()

    def __setitem__(self, hotkey: str, nats: tuple[float, ...]) -> None:
        """Append and wait for the disk."""
        with self._path.open("a") as file:
            file.write(_line(hotkey, nats))
            file.flush()
            os.fsync(file.fileno())
        self.data[hotkey] = nats

    def _rewrite(self) -> None:
        """Without the half line that a kill may have left, and without the journals of other rounds."""
        write_atomically(self._path, "".join(_line(hotkey, nats) for hotkey, nats in self.data.items()).encode())
        for other in self._path.parent.iterdir():
            if other != self._path:
                other.unlink()


def _line(hotkey: str, nats: tuple[float, ...]) -> str:
    return json.dumps([hotkey, nats]) + "\n"
