"""What a node needs of a runtime, whatever runs it: calls by name over a state, and the runtime's description."""

from dataclasses import dataclass
from typing import Any, Protocol

from chain.devnode.scale import Reader
from tools.substrate_host.state import Overlay, View


class RuntimeFailed(RuntimeError):  # noqa: N818 - what happened
    """A runtime call that ended in a trap or never began."""

    def __init__(self, function: str, reason: str) -> None:
        super().__init__(f"{function}: {reason}")
        self.function = function
        self.reason = reason


class Runtime(Protocol):
    def call(self, function: str, argument: bytes, overlay: Overlay, parent_root: bytes = ...) -> bytes: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """sp_version's RuntimeVersion."""

    spec_name: str
    impl_name: str
    authoring: int
    spec: int
    impl: int
    apis: tuple[tuple[bytes, int], ...]
    transaction: int
    state: int

    def json(self) -> dict[str, Any]:
        return {
            "specName": self.spec_name,
            "implName": self.impl_name,
            "authoringVersion": self.authoring,
            "specVersion": self.spec,
            "implVersion": self.impl,
            "apis": [["0x" + name.hex(), version] for name, version in self.apis],
            "transactionVersion": self.transaction,
            "stateVersion": self.state,
        }


def read_version(runtime: Runtime, view: View) -> Version:
    reader = Reader(runtime.call("Core_version", b"", Overlay(view)))

    def number() -> int:
        return int.from_bytes(reader.take(4), "little")

    def text() -> str:
        return reader.take(reader.compact()).decode(errors="replace")

    return Version(
        spec_name=text(),
        impl_name=text(),
        authoring=number(),
        spec=number(),
        impl=number(),
        apis=tuple((reader.take(8), number()) for _ in range(reader.compact())),
        transaction=number(),
        state=reader.take(1)[0],
    )


def read_metadata(runtime: Runtime, view: View) -> bytes:
    """The metadata in the oldest form that the runtime still serves, which is what state_getMetadata answers."""
    reader = Reader(runtime.call("Metadata_metadata", b"", Overlay(view)))
    return reader.take(reader.compact())
