"""The runtime: which pallets there are, how calls are dispatched, and what happens at the start of a block."""

from dataclasses import dataclass
from typing import Any

from chain.devnode import epoch
from chain.devnode.overlay import Overlay
from chain.devnode.pallet import Call, Context, DispatchError, Origin, Pallet, State
from chain.devnode.pallets import commitments, registration, staking, weights
from chain.devnode.pallets.admin import ADMIN, SUDO, SUDO_KEY, declare_sudo
from chain.devnode.pallets.balances import BALANCES, set_free
from chain.devnode.pallets.subtensor import NETWORK_RATE_LIMIT, NETWORKS_ADDED, ROOT_NETUID, SUBTENSOR, netuids
from chain.devnode.pallets.system import BLOCK_HASH, NUMBER, PARENT_HASH, SYSTEM, TIMESTAMP
from chain.devnode.scale import (
    H256,
    MAX_CALL_DEPTH,
    Enum,
    IdOf,
    MalformedBytes,
    Reader,
    ScaleType,
    Struct,
    Variant,
    Vec,
    field,
)
from chain.devnode.substrate_types import PHASE, one

SPEC_NAME = "node-subtensor"
SPEC_VERSION = 300
TRANSACTION_VERSION = 1

# Importing these modules declares SubtensorModule's calls.
_DECLARED = (registration, staking, weights)
PALLETS: tuple[Pallet, ...] = (SYSTEM, TIMESTAMP, BALANCES, SUBTENSOR, SUDO, commitments.COMMITMENTS, ADMIN)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeCall:
    pallet: Pallet
    call: Call
    arguments: dict[str, Any]


def type_name(kind: ScaleType) -> str:
    """Clients show it beside an argument, and do not decode a call without it."""
    path = getattr(kind, "path", ())
    return path[-1] if path else str(kind.__class__.__name__)


@dataclass(frozen=True)
class PalletCalls(ScaleType):
    """One pallet's enum of calls, for the registry."""

    path: tuple[str, ...]
    pallet: Pallet

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        variants = [
            {
                "name": call.name,
                "fields": [field(name, id_of(kind), type_name(kind)) for name, kind in call.arguments],
                "index": call.index,
                "docs": [],
            }
            for call in self.pallet.calls.values()
        ]
        return {"variant": {"variants": variants}}


class RuntimeCallType(ScaleType):
    """All calls of all pallets. It contains itself: sudo takes a call."""

    path = ("node_subtensor_runtime", "RuntimeCall")

    def read(self, reader: Reader) -> RuntimeCall:
        reader.depth += 1
        if reader.depth > MAX_CALL_DEPTH:
            raise MalformedBytes(f"calls nested deeper than {MAX_CALL_DEPTH}")
        pallet_index, call_index = reader.take(2)
        for pallet in PALLETS:
            for call in pallet.calls.values():
                if (pallet.index, call.index) == (pallet_index, call_index):
                    arguments = {name: kind.read(reader) for name, kind in call.arguments}
                    reader.depth -= 1
                    return RuntimeCall(pallet=pallet, call=call, arguments=arguments)
        raise MalformedBytes(f"no call {call_index} in pallet {pallet_index}")

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        variants = [
            {"name": pallet.name, "fields": [field(None, id_of(calls_of(pallet)))], "index": pallet.index, "docs": []}
            for pallet in PALLETS
            if pallet.calls
        ]
        return {"variant": {"variants": variants}}


def calls_of(pallet: Pallet) -> PalletCalls:
    return PalletCalls((pallet.crate, "pallet", "Call"), pallet)


def events_of(pallet: Pallet) -> Enum:
    variants = tuple(Variant(event.name, event.index, event.fields) for event in pallet.events.values())
    return Enum((pallet.crate, "pallet", "Event"), variants)


def errors_of(pallet: Pallet) -> Enum:
    variants = tuple(Variant(name, index) for index, name in enumerate(pallet.errors))
    return Enum((pallet.crate, "pallet", "Error"), variants)


def attempt(context: Context, call: RuntimeCall) -> DispatchError | None:
    """Runs a call as root; a failed one leaves no trace but its error."""
    return run_call(context, Origin(account=None), call)


def run_call(context: Context, origin: Origin, call: RuntimeCall) -> DispatchError | None:
    overlay = Overlay(context.state)
    inner = Context(state=overlay, block=context.block, events=[])
    try:
        call.call.handler(inner, origin, **call.arguments)
    except DispatchError as error:
        return error
    overlay.commit()
    context.events.extend(inner.events)
    return None


RUNTIME_CALL = RuntimeCallType()
declare_sudo(RUNTIME_CALL, attempt)
RUNTIME_EVENT = Enum(
    ("node_subtensor_runtime", "RuntimeEvent"),
    tuple(Variant(pallet.name, pallet.index, one(events_of(pallet))) for pallet in PALLETS if pallet.events),
)
EVENT_RECORD = Struct(
    ("frame_system", "EventRecord"), (("phase", PHASE), ("event", RUNTIME_EVENT), ("topics", Vec(H256)))
)
EVENTS = SYSTEM.item("Events", value=Vec(EVENT_RECORD), default=[])


def write_genesis(state: State, sudo: bytes, endowments: dict[bytes, int]) -> None:
    """A development chain: anyone may register a subnet at once, the real chain asks for 7200 blocks between two."""
    for who, amount in endowments.items():
        set_free(state, who, amount)
    SUDO_KEY.put(state, sudo)
    NETWORKS_ADDED.put(state, ROOT_NETUID, True)
    NETWORK_RATE_LIMIT.put(state, 0)


def start_block(context: Context, parent_hash: bytes) -> None:
    """What Substrate calls initialise: epochs run here, before the block's extrinsics."""
    NUMBER.put(context.state, context.block)
    PARENT_HASH.put(context.state, parent_hash)
    BLOCK_HASH.put(context.state, context.block - 1, parent_hash)
    for netuid in netuids(context.state):
        registration.reset_registration_counters(context, netuid)
        epoch.step(context, netuid)
