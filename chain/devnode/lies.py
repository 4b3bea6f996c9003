"""Answers bent into plausible false ones: well formed, of the right type, the same each time.

absent          The items are not there.
block_hash      Hashes of blocks that do not exist; genesis: of block 0 alone.
failure         Calls that succeeded have failed; success: the other way round.
false_chain     Another chain above the genesis block that fits together, `amount` blocks longer than the true one.
finalized_head  The head is a block that does not exist.
header_number   Block numbers are `amount` too high.
included        What this endpoint was handed is in the first block after that, and has succeeded.
left_out        Blocks are empty.
metadata        The first two calls of each pallet have each other's index; with `items` the two calls named there.
nonce_high      The next nonce is `amount` too high; nonce_low: too low.
runtime_version The spec version is `amount` too high.
storage         Numbers are off by one, flags are turned, accounts are Mallory's, and other bytes end otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset
from substrateinterface import Keypair

from chain.devnode.blocks import Block
from chain.devnode.extrinsics import blake256
from chain.devnode.faults import READS, Fault
from chain.devnode.items import item_of
from chain.devnode.node import outcome, record
from chain.devnode.pallet import StorageItem
from chain.devnode.rpc import hexed, unhex
from chain.devnode.views import ChainView

# A value of None stands for an entry that is not there.
Bend = Callable[[StorageItem, bytes], bytes | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A true answer, and what it takes to bend it."""

    method: str
    parameters: list[Any]
    result: Any
    view: ChainView
    handed: Mapping[bytes, int]

    def block(self, index: int) -> Block:
        """The one that a parameter names; the head when there is none."""
        named = self.parameters[index] if index < len(self.parameters) else None
        found = None if named is None else self.view.by_hash(unhex(named))
        return found or self.view.head


def bend(fault: Fault, answer: Answer) -> Any:
    return answer.result if answer.result is None else LIARS[fault.variant](fault, answer)


def no_block(true_hash: str) -> str:
    return hexed(blake256(b"no block" + unhex(true_hash)))


def _block_hash(fault: Fault, answer: Answer) -> Any:
    genesis = answer.view.by_number(0)
    is_genesis = genesis is not None and answer.result == hexed(genesis.hash)
    return no_block(answer.result) if is_genesis == (fault.variant == "genesis") else answer.result


def _header_number(fault: Fault, answer: Answer) -> Any:
    return {**answer.result, "number": hex(int(answer.result["number"], 16) + fault.amount)}


def _runtime_version(fault: Fault, answer: Answer) -> Any:
    return {**answer.result, "specVersion": answer.result["specVersion"] + fault.amount}


def _left_out(_fault: Fault, answer: Answer) -> Any:
    return _with_extrinsics(answer, answer.result["block"]["extrinsics"][:1])


def _with_extrinsics(answer: Answer, extrinsics: list[str]) -> Any:
    return {**answer.result, "block": {**answer.result["block"], "extrinsics": extrinsics}}


def _invented(answer: Answer, block: Block) -> list[bytes]:
    """What was handed in just before a block and is not in it."""
    return [raw for raw, head in answer.handed.items() if head + 1 == block.number and raw not in block.extrinsics]


def _included(_fault: Fault, answer: Answer) -> Any:
    if answer.method not in READS:
        found = [hexed(raw) for raw in _invented(answer, answer.block(0))]
        return _with_extrinsics(answer, answer.result["block"]["extrinsics"] + found)
    block = answer.block(1)
    first = len(block.extrinsics)
    added = [
        record(("ApplyExtrinsic", (first + index,)), outcome(None)) for index in range(len(_invented(answer, block)))
    ]
    return _bent_storage(answer, lambda item, raw: _bent_events(item, raw, lambda records: records + added))


def _success(_fault: Fault, answer: Answer) -> Any:
    return _bent_storage(answer, lambda item, raw: _bent_events(item, raw, lambda records: list(map(_praise, records))))


def _failure(_fault: Fault, answer: Answer) -> Any:
    return _bent_storage(answer, lambda item, raw: _bent_events(item, raw, lambda records: list(map(_blame, records))))


def _bent_events(item: StorageItem, raw: bytes, change: Callable[[list[Any]], list[Any]]) -> bytes:
    if (item.pallet, item.name) != ("System", "Events"):
        return raw
    return item.value.encode(change(item.value.decode(raw)))


def _praise(entry: Any) -> Any:
    pallet, ((name, values),) = entry["event"]
    if name == "ExtrinsicFailed":
        name, values = "ExtrinsicSuccess", values[1:]
    elif name == "Sudid":
        values = (("Ok", ((),)),)
    return {**entry, "event": (pallet, ((name, values),))}


def _blame(entry: Any) -> Any:
    pallet, ((name, values),) = entry["event"]
    if name != "ExtrinsicSuccess" or entry["phase"] == ("ApplyExtrinsic", (0,)):
        return entry
    return {**entry, "event": (pallet, (("ExtrinsicFailed", (("BadOrigin", ()), *values)),))}


def _storage(fault: Fault, answer: Answer) -> Any:
    def change(item: StorageItem, raw: bytes) -> bytes:
        return item.value.encode(_other(item.value.decode(raw))) if _is_meant(fault, item) else raw

    return _bent_storage(answer, change)


def _absent(fault: Fault, answer: Answer) -> Any:
    if answer.method == "state_getKeysPaged":
        item = item_of(answer.view.rules, unhex(answer.parameters[0]))
        return [] if item is not None and _is_meant(fault, item) else answer.result
    return _bent_storage(answer, lambda item, raw: None if _is_meant(fault, item) else raw)


def _is_meant(fault: Fault, item: StorageItem) -> bool:
    return f"{item.pallet}.{item.name}" in fault.items if fault.items else item.pallet != "System"


def _other(value: Any) -> Any:
    """A false value of the same type. Names of enum variants stay: another variant may hold other fields."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, bytes):
        return mallory() if len(value) == 32 else value[:-1] + bytes([value[-1] ^ 1]) if value else value
    if isinstance(value, dict):
        return {name: _other(inner) for name, inner in value.items()}
    return type(value)(map(_other, value)) if isinstance(value, (list, tuple)) else value


@cache
def mallory() -> bytes:
    return bytes(Keypair.create_from_uri("//Mallory").public_key)


def _bent_storage(answer: Answer, change: Bend) -> Any:
    def bent(key: str, text: str | None) -> str | None:
        item = item_of(answer.view.rules, unhex(key))
        if item is None or text is None:
            return text
        raw = change(item, unhex(text))
        return None if raw is None else hexed(raw)

    if answer.method != "state_queryStorageAt":
        return bent(answer.parameters[0], answer.result)
    return [{**group, "changes": [[key, bent(key, text)] for key, text in group["changes"]]} for group in answer.result]


@cache
def _swapped(metadata: str, names: tuple[str, ...]) -> str:
    config = RuntimeConfigurationObject()
    config.update_type_registry(load_type_registry_preset("core"))
    magic, versions = config.create_scale_object("MetadataVersioned", data=ScaleBytes(metadata)).decode()
    (described,) = versions.values()
    types = {entry["id"]: entry["type"] for entry in described["types"]["types"]}
    for pallet in described["pallets"]:
        if pallet["calls"] is None:
            continue
        calls = types[pallet["calls"]["ty"]]["def"]["variant"]["variants"]
        pair = [call for call in calls if f"{pallet['name']}.{call['name']}" in names] if names else calls[:2]
        if len(pair) == 2:
            pair[0]["index"], pair[1]["index"] = pair[1]["index"], pair[0]["index"]
    return str(config.create_scale_object("MetadataVersioned").encode((magic, versions)).to_hex())


LIARS: dict[str, Callable[[Fault, Answer], Any]] = {
    "absent": _absent,
    "block_hash": _block_hash,
    "failure": _failure,
    "false_chain": lambda _, answer: answer.result,  # told by the view
    "finalized_head": lambda _, answer: no_block(answer.result),
    "genesis": _block_hash,
    "header_number": _header_number,
    "included": _included,
    "left_out": _left_out,
    "metadata": lambda fault, answer: _swapped(answer.result, fault.items),
    "nonce_high": lambda fault, answer: answer.result + fault.amount,
    "nonce_low": lambda fault, answer: max(0, answer.result - fault.amount),
    "runtime_version": _runtime_version,
    "storage": _storage,
    "success": _success,
}
