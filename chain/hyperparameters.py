"""A subnet's hyperparameters by name: what they are now, of which type, and who may set them.

Items and setters are looked up in the runtime's metadata; only names, units and rights stand here, as the sources of
spec 300 and spec 425 have them. What a runtime does not have is left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chain.metagraph import PALLET, has_storage, read_values, require_subnet
from hivetune.errors import ConfigError

ADMIN = "AdminUtils"
NEWER_RULES = "AdminFreezeWindow"  # an item that came with the rights of the newer runtimes
SCALED = re.compile(r"([ui])(8|16|32|64|128)")

Value = int | bool | str | tuple[int, ...]


class Setter(StrEnum):
    """Who may set a value."""

    OWNER = "owner"  # and root
    ROOT = "root"
    NOBODY = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One hyperparameter; its setter is AdminUtils.sudo_set_<name> unless said otherwise."""

    item: str
    owner: tuple[bool, bool]  # whether the owner may set it: by spec 300, by spec 425
    unit: str = ""
    owner_call: str = ""  # in SubtensorModule, for the owner, where the runtime has it


ALWAYS, BEFORE, SINCE, NEVER = (True, True), (True, False), (False, True), (False, False)
OF_U16, OF_MILLION = "of 65535", "of 1000000"
ROWS = {
    "activity_cutoff": Row(item="ActivityCutoff", owner=ALWAYS, unit="blocks"),
    "activity_cutoff_factor": Row(
        item="ActivityCutoffFactorMilli", owner=SINCE, unit="1/1000 tempo", owner_call="set_activity_cutoff_factor"
    ),
    "adjustment_alpha": Row(item="AdjustmentAlpha", owner=ALWAYS, unit="of 2^64-1"),
    "adjustment_interval": Row(item="AdjustmentInterval", owner=NEVER, unit="blocks"),
    "alpha_sigmoid_steepness": Row(item="AlphaSigmoidSteepness", owner=ALWAYS, unit="1/100"),
    "alpha_values": Row(item="AlphaValues", owner=ALWAYS, unit=OF_U16),
    "bonds_moving_average": Row(item="BondsMovingAverage", owner=ALWAYS, unit=OF_MILLION),
    "bonds_penalty": Row(item="BondsPenalty", owner=ALWAYS, unit=OF_U16),
    "bonds_reset_enabled": Row(item="BondsResetOn", owner=ALWAYS),
    "burn": Row(item="Burn", owner=NEVER, unit="rao"),
    "burn_half_life": Row(item="BurnHalfLife", owner=SINCE, unit="blocks"),
    "burn_increase_mult": Row(item="BurnIncreaseMult", owner=SINCE),
    "commit_reveal_weights_enabled": Row(item="CommitRevealWeightsEnabled", owner=ALWAYS),
    "commit_reveal_weights_interval": Row(item="RevealPeriodEpochs", owner=ALWAYS, unit="epochs"),
    "difficulty": Row(item="Difficulty", owner=NEVER),
    "ema_price_halving_period": Row(item="EMAPriceHalvingBlocks", owner=NEVER, unit="blocks"),
    "immunity_period": Row(item="ImmunityPeriod", owner=ALWAYS, unit="blocks"),
    "kappa": Row(item="Kappa", owner=BEFORE, unit=OF_U16),
    "liquid_alpha_enabled": Row(item="LiquidAlphaOn", owner=ALWAYS),
    "max_allowed_uids": Row(item="MaxAllowedUids", owner=SINCE),
    "max_allowed_validators": Row(item="MaxAllowedValidators", owner=NEVER),
    "max_burn": Row(item="MaxBurn", owner=SINCE, unit="rao"),
    "max_difficulty": Row(item="MaxDifficulty", owner=ALWAYS),
    "max_registrations_per_block": Row(item="MaxRegistrationsPerBlock", owner=NEVER),
    "max_weight_limit": Row(item="MaxWeightsLimit", owner=BEFORE, unit=OF_U16),
    "min_allowed_uids": Row(item="MinAllowedUids", owner=NEVER),
    "min_allowed_weights": Row(item="MinAllowedWeights", owner=ALWAYS),
    "min_burn": Row(item="MinBurn", owner=SINCE, unit="rao"),
    "min_childkey_take_per_subnet": Row(item="MinChildkeyTakePerSubnet", owner=SINCE, unit=OF_U16),
    "min_difficulty": Row(item="MinDifficulty", owner=NEVER),
    "min_non_immune_uids": Row(item="MinNonImmuneUids", owner=NEVER),
    "network_pow_registration_allowed": Row(item="NetworkPowRegistrationAllowed", owner=BEFORE),
    "network_registration_allowed": Row(item="NetworkRegistrationAllowed", owner=NEVER),
    "owner_cut_auto_lock_enabled": Row(item="OwnerCutAutoLockEnabled", owner=SINCE),
    "owner_cut_enabled": Row(item="OwnerCutEnabled", owner=SINCE),
    "owner_immune_neuron_limit": Row(item="ImmuneOwnerUidsLimit", owner=SINCE),
    "recycle_or_burn": Row(item="RecycleOrBurn", owner=SINCE),
    "rho": Row(item="Rho", owner=ALWAYS),
    "serving_rate_limit": Row(item="ServingRateLimit", owner=ALWAYS, unit="blocks"),
    "subtoken_enabled": Row(item="SubtokenEnabled", owner=NEVER),
    "target_registrations_per_interval": Row(item="TargetRegistrationsPerInterval", owner=NEVER),
    "tempo": Row(item="Tempo", owner=SINCE, unit="blocks", owner_call="set_tempo"),
    "toggle_transfer": Row(item="TransferToggle", owner=ALWAYS),
    "weights_set_rate_limit": Row(item="WeightsSetRateLimit", owner=NEVER, unit="blocks"),
    "weights_version_key": Row(item="WeightsVersionKey", owner=ALWAYS),
    "yuma3_enabled": Row(item="Yuma3On", owner=ALWAYS),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameter:
    """One value of a subnet."""

    name: str
    value: Value
    type: str  # bool, u16, ..., several with a comma; "other" when only the chain's own tools can write it
    unit: str
    setter: Setter


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """How a value is set: a pallet's function and what it takes after the netuid."""

    pallet: str
    function: str
    arguments: tuple[str, ...]
    types: tuple[str, ...]


def read_all(interface: Any, netuid: int, at: str) -> tuple[Hyperparameter, ...]:
    """Every hyperparameter that this runtime has, by name."""
    interface.init_runtime(block_hash=at)
    require_subnet(interface, netuid, at)
    values = read_values(interface, netuid, [row.item for row in ROWS.values()], at)
    return tuple(
        Hyperparameter(
            name=name,
            value=_plain(values[row.item]),
            type=", ".join(call.types) if (call := find_call(interface, name, root=True)) else "",
            unit=row.unit,
            setter=_setter(interface, name),
        )
        for name, row in ROWS.items()
        if row.item in values
    )


def find_call(interface: Any, name: str, *, root: bool) -> Call | None:
    """The setter for root or for the owner; None when this runtime has none."""
    row = ROWS[name]
    places = [(ADMIN, f"sudo_set_{name}")]
    if row.owner_call:
        places.insert(1 if root else 0, (PALLET, row.owner_call))
    return next((call for place in places if (call := _call(interface, *place))), None)


def parse_value(name: str, types: Sequence[str], text: str) -> list[int | bool]:
    """What a setter takes, from text: true or false, whole numbers in range, several with commas between."""
    parts = [part.strip() for part in text.split(",")]
    if "other" in types:
        raise ConfigError(f"{name} is neither a whole number nor true or false: set it with btcli")
    if len(parts) != len(types):
        raise ConfigError(f"{name}: {text!r} has {len(parts)} values, want {len(types)} ({', '.join(types)})")
    return [_parse_one(name, kind, part) for kind, part in zip(types, parts, strict=True)]


def _parse_one(name: str, kind: str, text: str) -> int | bool:
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{name}: {text!r}, want true or false")
        return text.lower() == "true"
    low, high = bounds(kind)
    if not re.fullmatch(r"-?[0-9]{1,40}", text) or not low <= int(text) <= high:
        raise ConfigError(f"{name}: {text!r}, want a whole number from {low} to {high}")
    return int(text)


def bounds(kind: str) -> tuple[int, int]:
    """Least and greatest value of an integer type."""
    match = SCALED.fullmatch(kind)
    assert match, kind
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _call(interface: Any, pallet: str, function: str) -> Call | None:
    found = interface.metadata.get_metadata_pallet(pallet)
    calls = (found.calls or ()) if found is not None else ()
    call = next((call for call in calls if call.name == function), None)
    if call is None:
        return None
    arguments = [argument for argument in call.args if argument.name != "netuid"]
    types = interface.metadata.portable_registry["types"]
    return Call(
        pallet=pallet,
        function=function,
        arguments=tuple(argument.name for argument in arguments),
        types=tuple(_type_name(types, argument.value["type"]) for argument in arguments),
    )


def _type_name(types: Any, number: int) -> str:
    """The primitive behind a type and its wrappers; a fixed-point number keeps its bits in a named field."""
    definition = types[number].value["type"]["def"]
    if "primitive" in definition:
        name = str(definition["primitive"]).lower()
        return name if name == "bool" or SCALED.fullmatch(name) else "other"
    fields = definition.get("composite", {}).get("fields", ())
    if len(fields) == 1 and fields[0].get("name") is None:
        return _type_name(types, fields[0]["type"])
    return "other"


def _setter(interface: Any, name: str) -> Setter:
    if find_call(interface, name, root=True) is None:
        return Setter.NOBODY
    newer = has_storage(interface, NEWER_RULES)
    return Setter.OWNER if ROWS[name].owner[int(newer)] else Setter.ROOT


def _plain(value: Any) -> Value:
    if isinstance(value, dict) and set(value) == {"bits"}:
        return f"{int(value['bits']) / 2**64:g}"
    if isinstance(value, (list, tuple)):
        return tuple(int(part) for part in value)
    return value if isinstance(value, (bool, int)) else str(value)
