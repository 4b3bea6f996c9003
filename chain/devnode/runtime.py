"""The runtime: which pallets there are, how calls are dispatched, and what happens at the start of a block."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from chain.devnode import epoch
from chain.devnode.overlay import Overlay
from chain.devnode.pallet import Call, Context, DispatchError, Origin, Pallet, State, StorageItem
from chain.devnode.pallets import (
    burn,
    commit_reveal,
    commitments,
    owner,
    registration,
    serving,
    staking,
    subtensor_events,
    timelock,
    weights,
)
from chain.devnode.pallets.admin import SUDO, SUDO_KEY, declare_sudo
from chain.devnode.pallets.balances import BALANCES, set_free
from chain.devnode.pallets.drand import DRAND
from chain.devnode.pallets.hyperparameters import ADMIN
from chain.devnode.pallets.subtensor import NETWORK_RATE_LIMIT, NETWORKS_ADDED, ROOT_NETUID, SUBTENSOR, netuids
from chain.devnode.pallets.system import (
    BLOCK_HASH,
    LAST_RUNTIME_UPGRADE,
    NUMBER,
    PARENT_HASH,
    SPEC_NAME,
    SYSTEM,
    TIMESTAMP,
)
from chain.devnode.rules import RULES, Rules
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

TRANSACTION_VERSION = 1

# Importing these modules declares SubtensorModule's calls and events.
_DECLARED = (commit_reveal, owner, registration, serving, staking, subtensor_events, timelock, weights)
PALLETS: tuple[Pallet, ...] = (SYSTEM, TIMESTAMP, BALANCES, SUBTENSOR, SUDO, commitments.COMMITMENTS, ADMIN, DRAND)


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
    rules: Rules

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        variants = [
            {
                "name": call.name,
                "fields": [field(name, id_of(kind), type_name(kind)) for name, kind in call.arguments],
                "index": call.index,
                "docs": [],
            }
            for call in calls_under(self.pallet, self.rules)
        ]
        return {"variant": {"variants": variants}}


@dataclass(frozen=True)
class RuntimeCallType(ScaleType):
    """All calls of all pallets. It contains itself: sudo takes a call."""

    rules: Rules

    path = ("node_subtensor_runtime", "RuntimeCall")

    def read(self, reader: Reader) -> RuntimeCall:
        reader.depth += 1
        if reader.depth > MAX_CALL_DEPTH:
            raise MalformedBytes(f"calls nested deeper than {MAX_CALL_DEPTH}")
        pallet_index, call_index = reader.take(2)
        for pallet in PALLETS:
            for call in calls_under(pallet, self.rules):
                if (pallet.index, call.index) == (pallet_index, call_index):
                    arguments = {name: kind.read(reader) for name, kind in call.arguments}
                    reader.depth -= 1
                    return RuntimeCall(pallet=pallet, call=call, arguments=arguments)
        raise MalformedBytes(f"no call {call_index} in pallet {pallet_index}")

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        variants = [
            {
                "name": pallet.name,
                "fields": [field(None, id_of(calls_of(pallet, self.rules)))],
                "index": pallet.index,
                "docs": [],
            }
            for pallet in PALLETS
            if calls_under(pallet, self.rules)
        ]
        return {"variant": {"variants": variants}}


def calls_under(pallet: Pallet, rules: Rules) -> list[Call]:
    return [call for call in pallet.calls if rules.spec_version in call.specs]


def calls_of(pallet: Pallet, rules: Rules) -> PalletCalls:
    return PalletCalls((pallet.crate, "pallet", "Call"), pallet, rules)


def events_of(pallet: Pallet, rules: Rules) -> Enum:
    spec = rules.spec_version
    variants = tuple(
        Variant(event.name, event.indices[spec], event.fields) for event in pallet.events if spec in event.indices
    )
    return Enum((pallet.crate, "pallet", "Event"), variants)


def errors_of(pallet: Pallet, rules: Rules) -> Enum:
    variants = tuple(Variant(name, index) for index, name in enumerate(pallet.errors_under(rules)))
    return Enum((pallet.crate, "pallet", "Error"), variants)


@dataclass(frozen=True, kw_only=True, eq=False)
class Runtime:
    """One set of rules as its clients see it."""

    rules: Rules
    call: RuntimeCallType
    event: Enum
    event_record: Struct
    events: StorageItem  # System.Events, which spans all pallets

    def items(self, pallet: Pallet) -> Iterator[StorageItem]:
        """What a pallet stores in this runtime."""
        yield from (item for item in pallet.storage.values() if self.rules.spec_version in item.specs)
        if pallet is SYSTEM:
            yield self.events


@cache
def runtime_under(rules: Rules) -> Runtime:
    event = Enum(
        ("node_subtensor_runtime", "RuntimeEvent"),
        tuple(Variant(pallet.name, pallet.index, one(events_of(pallet, rules))) for pallet in PALLETS if pallet.events),
    )
    event_record = Struct(("frame_system", "EventRecord"), (("phase", PHASE), ("event", event), ("topics", Vec(H256))))
    return Runtime(
        rules=rules,
        call=RuntimeCallType(rules),
        event=event,
        event_record=event_record,
        events=StorageItem(SYSTEM.name, "Events", (), Vec(event_record), []),
    )


def attempt(context: Context, call: RuntimeCall) -> DispatchError | None:
    """Runs a call as root; a failed one leaves no trace but its error."""
    return run_call(context, Origin(account=None), call)


def run_call(context: Context, origin: Origin, call: RuntimeCall) -> DispatchError | None:
    overlay = Overlay(context.state)
    inner = Context(state=overlay, block=context.block, events=[])
    try:
        call.call.handler(inner, origin, **call.arguments)
    except DispatchError as error:
        return error.under(context.rules)
    overlay.commit()
    context.events.extend(inner.events)
    return None


for _rules in RULES.values():
    declare_sudo(_rules, RuntimeCallType(_rules), attempt)


def write_genesis(state: State, rules: Rules, sudo: bytes, endowments: dict[bytes, int]) -> None:
    """A development chain: anyone may register a subnet at once, the real chain asks for 7200 blocks between two."""
    LAST_RUNTIME_UPGRADE.put(state, {"spec_version": rules.spec_version, "spec_name": SPEC_NAME})
    for who, amount in endowments.items():
        set_free(state, who, amount)
    SUDO_KEY.put(state, sudo)
    NETWORKS_ADDED.put(state, ROOT_NETUID, True)
    NETWORK_RATE_LIMIT.put(state, 0)


def start_block(context: Context, parent_hash: bytes) -> None:
    """What Substrate calls initialise: prices move and epochs run here, before the block's extrinsics."""
    NUMBER.put(context.state, context.block)
    PARENT_HASH.put(context.state, parent_hash)
    BLOCK_HASH.put(context.state, context.block - 1, parent_hash)
    found = netuids(context.state)
    for netuid in found:
        burn.move_price(context, netuid)
    epoch.step(context, found)


def end_block(context: Context) -> None:
    staking.forget_operations(context.state)
