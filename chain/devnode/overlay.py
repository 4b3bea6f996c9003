"""Changes that are not yet certain: written over a state, committed or forgotten."""

from chain.devnode.pallet import State


class Overlay:
    def __init__(self, below: State) -> None:
        self._below = below
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.changes[key] if key in self.changes else self._below.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        self.changes[key] = value

    def keys(self, prefix: bytes) -> list[bytes]:
        found = {key for key in self._below.keys(prefix) if key not in self.changes}
        found.update(key for key, value in self.changes.items() if value is not None and key.startswith(prefix))
        return sorted(found)

    def commit(self) -> None:
        for key, value in self.changes.items():
            self._below.put(key, value)
