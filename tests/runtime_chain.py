"""The real Subtensor runtime, one call a block, for the scripts that the embedded chain is compared by."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from substrateinterface import Keypair, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from tests.rules_script import MODULES
from tools.substrate_host.running import RunningHost, running_substrate_host

PAGE = 1000


class RuntimeChain:
    def __init__(self, host: RunningHost) -> None:
        self.host = host
        self.client = SubstrateInterface(host.url)

    @property
    def block(self) -> int:
        number: int = self.client.get_block_number(self.client.get_chain_head())
        return number

    def blocks(self, count: int = 1) -> None:
        self.host.new_blocks(count)

    def put(self, writes: dict[bytes, bytes]) -> None:
        self.host.set_storage(writes)

    def entries(self, prefix: bytes) -> dict[bytes, bytes]:
        keys = self.host.request("state_getKeysPaged", ["0x" + prefix.hex(), PAGE])
        assert isinstance(keys, list)
        assert len(keys) < PAGE
        ((answer),) = self.host.request("state_queryStorageAt", [keys])  # type: ignore[misc]
        return {_bytes(name): _bytes(value) for name, value in answer["changes"]}

    def play(self, sender: str, module: str, function: str, arguments: dict[str, Any]) -> tuple[str, list[str]]:
        return self._submit(sender, self.client.compose_call(module, function, _texts(arguments)))

    def play_sudo(self, module: str, function: str, arguments: dict[str, Any]) -> tuple[str, list[str]]:
        inner = self.client.compose_call(module, function, _texts(arguments))
        return self._submit("//Alice", self.client.compose_call("Sudo", "sudo", {"call": inner}))

    def _submit(self, sender: str, call: Any) -> tuple[str, list[str]]:
        signed = self.client.create_signed_extrinsic(call, Keypair.create_from_uri(sender))
        try:
            self.client.submit_extrinsic(signed)
        except SubstrateRequestException as error:
            self.blocks()
            return _refusal(str(error)), []
        block_hash = self.host.new_blocks()
        body = self.client.rpc_request("chain_getBlock", [block_hash])["result"]["block"]["extrinsics"]
        index = body.index(str(signed.data))
        result, names = "ok", []
        for record in self.client.get_events(block_hash):
            found = record.value
            if found["extrinsic_idx"] != index:
                continue
            event, attributes = found["event"], found["event"]["attributes"]
            if event["event_id"] == "ExtrinsicFailed":
                result = self._error(attributes["dispatch_error"])
            elif event["event_id"] == "Sudid" and "Err" in str(attributes):
                result = self._error(attributes["sudo_result"]["Err"])
            elif event["module_id"] in MODULES:
                names.append(str(event["event_id"]))
        return result, names

    def _error(self, error: Any) -> str:
        if not isinstance(error, dict):
            return str(error)
        module = error["Module"]
        return str(self.client.metadata.get_module_error(module["index"], _bytes(module["error"])[0]).name)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _texts(value: Any) -> Any:
    """As the client wants it: bytes as hex."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        return {name: _texts(one) for name, one in value.items()}
    return [_texts(one) for one in value] if isinstance(value, list) else value


def _refusal(text: str) -> str:
    """An invalid transaction of the runtime's own kind, as SCALE or in words."""
    found = re.search(r"Custom error: \d+", text)
    if found:
        return found[0]
    encoded = re.search(r"Invalid Transaction 010006([0-9a-f]{2})", text)
    return f"Custom error: {int(encoded[1], 16)}" if encoded else text


@contextmanager
def runtime_chain(wasm: Path) -> Iterator[RuntimeChain]:
    with running_substrate_host(wasm) as host:
        yield RuntimeChain(host)
