"""The runtime's V14 metadata: what lets unmodified clients compose calls and decode storage, events and errors."""

from functools import cache
from typing import Any

from scalecodec.base import RuntimeConfigurationObject
from scalecodec.type_registry import load_type_registry_preset

from chain.devnode.pallet import Pallet, StorageItem
from chain.devnode.rules import NEW, OLD, Rules
from chain.devnode.runtime import PALLETS, Runtime, calls_of, calls_under, errors_of, events_of, runtime_under
from chain.devnode.scale import ACCOUNT, BYTES, H256, U32, U64, UNIT, Compact, Enum, ScaleType, Tuple, Variant, field
from chain.devnode.substrate_types import (
    DISPATCH_ERROR,
    DISPATCH_RESULT,
    MULTI_ADDRESS,
    MULTI_SIGNATURE,
    PHASE,
    WEIGHT,
    one,
)

MAGIC = "0x6d657461"
EXTRINSIC_VERSION = 4


class Era(ScaleType):
    """Decoded by clients and by the extrinsic reader with rules of its own; here only its name counts."""

    path = ("sp_runtime", "generic", "era", "Era")

    def definition(self, _id_of: Any, /) -> dict[str, Any]:
        return {"variant": {"variants": []}}


class UncheckedExtrinsic(ScaleType):
    """Its parameters tell clients which address and signature types to use."""

    path = ("sp_runtime", "generic", "unchecked_extrinsic", "UncheckedExtrinsic")

    def definition(self, id_of: Any, /) -> dict[str, Any]:
        return {"composite": {"fields": [field(None, id_of(BYTES))]}}


ERA = Era()
EXTRINSIC = UncheckedExtrinsic()
METADATA_HASH_MODE = Enum(("frame_metadata_hash_extension", "Mode"), (Variant("Disabled", 0), Variant("Enabled", 1)))
OPTIONAL_HASH = Enum(("Option",), (Variant("None", 0), Variant("Some", 1, one(H256))))


# (identifier, what is in the extrinsic, what is only signed); those between payment and hash are only named.
_SYSTEM: tuple[tuple[str, ScaleType, ScaleType], ...] = (
    ("CheckNonZeroSender", UNIT, UNIT),
    ("CheckSpecVersion", UNIT, U32),
    ("CheckTxVersion", UNIT, U32),
    ("CheckGenesis", UNIT, H256),
    ("CheckMortality", ERA, H256),
    ("CheckNonce", Compact(U32), UNIT),
    ("CheckWeight", UNIT, UNIT),
    ("ChargeTransactionPayment", Compact(U64), UNIT),
)
_EMPTY = {
    OLD: ("SubtensorTransactionExtension",),
    NEW: (
        "SudoTransactionExtension",
        "CheckShieldedTxValidity",
        "SubtensorTransactionExtension",
        "DrandPriority",
    ),
}
_LAST = ("CheckMetadataHash", METADATA_HASH_MODE, OPTIONAL_HASH)

# Type parameters that clients read; all others are left out.
PARAMETERS: dict[ScaleType, tuple[tuple[str, ScaleType], ...]] = {
    MULTI_ADDRESS: (("AccountId", ACCOUNT), ("AccountIndex", UNIT)),
    OPTIONAL_HASH: (("T", H256),),
    DISPATCH_RESULT: (("T", UNIT), ("E", DISPATCH_ERROR)),
}


class Registry:
    """Gives every type a number; a type that contains itself gets its number before its definition."""

    def __init__(self, call: ScaleType) -> None:
        self._ids: dict[ScaleType, int] = {}
        self._parameters = PARAMETERS | {
            EXTRINSIC: (
                ("Address", MULTI_ADDRESS),
                ("Call", call),
                ("Signature", MULTI_SIGNATURE),
                ("Extra", UNIT),
            )
        }
        self.types: list[dict[str, Any]] = []

    def id_of(self, kind: ScaleType) -> int:
        if kind in self._ids:
            return self._ids[kind]
        number = self._ids[kind] = len(self.types)
        entry: dict[str, Any] = {"path": list(getattr(kind, "path", ())), "params": [], "def": {}, "docs": []}
        self.types.append({"id": number, "type": entry})
        entry["def"] = kind.definition(self.id_of)
        entry["params"] = [
            {"name": name, "type": self.id_of(parameter)} for name, parameter in self._parameters.get(kind, ())
        ]
        return number


def _storage_entry(item: StorageItem, rules: Rules, registry: Registry) -> dict[str, Any]:
    value = registry.id_of(item.value)
    if item.keys:
        kinds = tuple(kind for _, kind in item.keys)
        key = registry.id_of(kinds[0] if len(kinds) == 1 else Tuple(kinds))
        kind: dict[str, Any] = {
            "Map": {"hashers": [hasher.value for hasher, _ in item.keys], "key": key, "value": value}
        }
    else:
        kind = {"Plain": value}
    default = item.default_under(rules)
    optional = default is None
    return {
        "name": item.name,
        "modifier": "Optional" if optional else "Default",
        "type": kind,
        "default": "0x00" if optional else "0x" + item.value.encode(default).hex(),
        "documentation": [],
    }


def _pallet(pallet: Pallet, runtime: Runtime, registry: Registry) -> dict[str, Any]:
    rules = runtime.rules
    entries = [_storage_entry(item, rules, registry) for item in runtime.items(pallet)]
    return {
        "name": pallet.name,
        "storage": {"prefix": pallet.name, "entries": entries} if entries else None,
        "calls": {"ty": registry.id_of(calls_of(pallet, rules))} if calls_under(pallet, rules) else None,
        "event": {"ty": registry.id_of(events_of(pallet, rules))} if pallet.events else None,
        "constants": [
            {
                "name": constant.name,
                "type": registry.id_of(constant.kind),
                "value": "0x" + constant.kind.encode(constant.value).hex(),
                "documentation": [],
            }
            for constant in pallet.constants
            if rules.spec_version in constant.specs
        ],
        "error": {"ty": registry.id_of(errors_of(pallet, rules))} if pallet.errors else None,
        "index": pallet.index,
    }


def describe(rules: Rules) -> dict[str, Any]:
    """The metadata as scalecodec's plain dict."""
    runtime = runtime_under(rules)
    registry = Registry(runtime.call)
    empty = tuple((name, UNIT, UNIT) for name in _EMPTY[rules.spec_version])
    extrinsic = {
        "ty": registry.id_of(EXTRINSIC),
        "version": EXTRINSIC_VERSION,
        "signed_extensions": [
            {"identifier": name, "ty": registry.id_of(extra), "additional_signed": registry.id_of(signed)}
            for name, extra, signed in (*_SYSTEM, *empty, _LAST)
        ],
    }
    for kind in (WEIGHT, PHASE, runtime.call, runtime.event, runtime.event_record):
        registry.id_of(kind)
    pallets = [_pallet(pallet, runtime, registry) for pallet in PALLETS]
    runtime_type = registry.id_of(UNIT)
    return {
        "types": {"types": registry.types},
        "pallets": pallets,
        "extrinsic": extrinsic,
        "runtime_type": runtime_type,
    }


@cache
def metadata_hex(rules: Rules) -> str:
    """What state_getMetadata answers."""
    config = RuntimeConfigurationObject()
    config.update_type_registry(load_type_registry_preset("core"))
    encoder = config.create_scale_object("MetadataVersioned")
    return str(encoder.encode((MAGIC, {"V14": describe(rules)})).to_hex())
