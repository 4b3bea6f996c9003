"""The embedded chain's rules of spec 300 answer like the real runtime, whose answers stand in a golden file."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from chain.devnode.beacon import find_decryption
from chain.devnode.pallets import subtensor as s
from tests.devnode_chain import Chain
from tests.rules_scenarios import GOLDEN, SCENARIOS, played
from tests.rules_script import MODULES

WASM = os.environ.get("SUBTENSOR_RUNTIME_WASM", "")
RECORDED: dict[str, list[str]] = json.loads(GOLDEN.read_text())


class Embedded(Chain):
    """With a subnet 1 that runs no epochs, as the runtime's genesis has one."""

    def __init__(self) -> None:
        super().__init__()
        self.write(s.NETWORKS_ADDED, 1, True)
        self.write(s.TOTAL_NETWORKS, 2)
        self.write(s.TEMPO, 1, 0)

    def play(self, sender: str | None, module: str, function: str, arguments: dict[str, Any]) -> tuple[str, list[str]]:
        result = self.run(sender, module, function, arguments)
        return result, [name for pallet, name, _ in self.events_of_call if pallet in MODULES]

    def play_sudo(self, module: str, function: str, arguments: dict[str, Any]) -> tuple[str, list[str]]:
        return self.play(None, module, function, arguments)

    def put(self, writes: dict[bytes, bytes]) -> None:
        self.blocks()
        for name, value in writes.items():
            self.state.put(name, value)

    def entries(self, prefix: bytes) -> dict[bytes, bytes]:
        return {name: value for name in self.state.keys(prefix) if (value := self.state.get(name)) is not None}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_embedded_chain_answers_like_the_runtime(scenario: str) -> None:
    if scenario == "timelock" and find_decryption() is None:
        pytest.skip("timelocked weights need the extra `timelock`")
    assert played(Embedded(), scenario) == RECORDED[scenario]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_runtime_still_answers_as_recorded(scenario: str) -> None:
    if not WASM:
        pytest.skip("set SUBTENSOR_RUNTIME_WASM to the wasm of Subtensor's spec 300")
    pytest.importorskip("wasmtime", reason="the runtime's host needs the extra `runtime`")
    from tests.runtime_chain import runtime_chain

    with runtime_chain(Path(WASM)) as chain:
        assert played(chain, scenario) == RECORDED[scenario]
