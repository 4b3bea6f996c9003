"""What a subnet looks like at one block: its neurons, weights and hyperparameters, read from storage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalecodec.utils.ss58 import ss58_encode
from substrateinterface.storage import StorageKey

from chain.schedule import Schedule
from hivetune.errors import ConfigError, RetryableError

PALLET = "SubtensorModule"
U16_MAX = 65_535
SS58_FORMAT = 42
KEYS_PER_REQUEST = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    number: int
    hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Neuron:
    """One uid. Shares are 0..1, amounts are rao of the subnet's alpha, times are block numbers."""

    uid: int
    hotkey: str
    coldkey: str
    stake_rao: int
    incentive: float
    dividends: float
    emission_rao: int  # of the last epoch
    consensus: float
    validator_trust: float
    permit: bool
    active: bool
    last_update: int
    registered_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Metagraph:
    netuid: int
    head: Head
    owner_hotkey: str
    tempo: int
    kappa: int
    commit_reveal: bool  # weights are hidden until a later epoch, so last_update tells when they were committed
    neurons: tuple[Neuron, ...]
    weights: Mapping[int, Mapping[int, int]]  # validator uid -> uid -> u16; validators without weights are left out

    def by_hotkey(self, hotkey: str) -> Neuron | None:
        return next((neuron for neuron in self.neurons if neuron.hotkey == hotkey), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    tempo: int
    kappa: int
    immunity_period: int
    min_allowed_weights: int
    max_weights_limit: int
    weights_set_rate_limit: int
    weights_version_key: int
    activity_cutoff: int
    max_allowed_uids: int
    max_allowed_validators: int
    burn_rao: int
    commit_reveal_weights: bool


def has_storage(interface: Any, name: str, pallet: str = PALLET) -> bool:
    found = interface.metadata.get_metadata_pallet(pallet)
    return found is not None and found.get_storage_function(name) is not None


def storage_key(interface: Any, name: str, parameters: Sequence[Any], pallet: str = PALLET) -> Any:
    return StorageKey.create_from_storage_function(
        pallet, name, list(parameters), runtime_config=interface.runtime_config, metadata=interface.metadata
    )


def netuids(interface: Any, at: str) -> list[int]:
    rows = interface.query_map(PALLET, "NetworksAdded", block_hash=at, page_size=KEYS_PER_REQUEST)
    return sorted(int(netuid.value) for netuid, added in rows if added.value)


def require_subnet(interface: Any, netuid: int, at: str) -> None:
    if not interface.query(PALLET, "NetworksAdded", [netuid], block_hash=at).value:
        raise ConfigError(f"no subnet {netuid} on this chain, there are {netuids(interface, at)}")


def read_values(interface: Any, netuid: int, names: Sequence[str], at: str) -> dict[str, Any]:
    """Several items of one subnet in one request; items that this runtime does not have are left out."""
    interface.init_runtime(block_hash=at)
    keys = [storage_key(interface, name, [netuid]) for name in names if has_storage(interface, name)]
    return {key.storage_function: found.value for key, found in interface.query_multi(keys, block_hash=at)}


def read_schedule(interface: Any, netuid: int, at: str) -> Schedule:
    """When epochs fall; ConfigError for an unknown subnet."""
    require_subnet(interface, netuid, at)
    values = read_values(interface, netuid, ("Tempo", "SubnetEpochIndex", "LastEpochBlock", "PendingEpochAt"), at)
    counted = values.get("SubnetEpochIndex")
    return Schedule(
        netuid=netuid,
        tempo=int(values["Tempo"]),
        index=None if counted is None else int(counted),
        last=int(values.get("LastEpochBlock") or 0),
        pending=int(values.get("PendingEpochAt") or 0),
    )


def read_raw(interface: Any, keys: Sequence[Any], at: str) -> list[bytes | None]:
    """Storage values as bytes, in the order of the keys: much faster than decoding through the library."""
    names = [key.to_hex() for key in keys]
    found: dict[str, bytes | None] = {}
    for start in range(0, len(names), KEYS_PER_REQUEST):
        request = [names[start : start + KEYS_PER_REQUEST], at]
        for group in interface.rpc_request("state_queryStorageAt", request)["result"]:
            found.update({name: None if text is None else bytes.fromhex(text[2:]) for name, text in group["changes"]})
    return [found.get(name) for name in names]


SCALARS = ("SubnetworkN", "Tempo", "Kappa", "SubnetOwnerHotkey", "CommitRevealWeightsEnabled")
VECTORS = (
    "Incentive",
    "Dividends",
    "Emission",
    "Consensus",
    "ValidatorTrust",
    "ValidatorPermit",
    "Active",
    "LastUpdate",
)


def read_metagraph(interface: Any, netuid: int, head: Head) -> Metagraph:
    at = head.hash
    require_subnet(interface, netuid, at)
    values = read_values(interface, netuid, (*SCALARS, *VECTORS), at)
    count = int(values["SubnetworkN"])
    hotkeys = [value or bytes(32) for value in _by_uid(interface, "Keys", netuid, count, at)]
    owners = read_raw(interface, [storage_key(interface, "Owner", [hotkey]) for hotkey in hotkeys], at)
    stakes = read_raw(interface, [storage_key(interface, "TotalHotkeyAlpha", [key, netuid]) for key in hotkeys], at)
    registered = _by_uid(interface, "BlockAtRegistration", netuid, count, at)
    rows = _by_uid(interface, "Weights", netuid, count, at)
    neurons = tuple(
        Neuron(
            uid=uid,
            hotkey=_address(hotkeys[uid]),
            coldkey=_address(owners[uid] or bytes(32)),
            stake_rao=_integer(stakes[uid]),
            incentive=_at(values["Incentive"], uid) / U16_MAX,
            dividends=_at(values["Dividends"], uid) / U16_MAX,
            emission_rao=_at(values["Emission"], uid),
            consensus=_at(values["Consensus"], uid) / U16_MAX,
            validator_trust=_at(values["ValidatorTrust"], uid) / U16_MAX,
            permit=bool(_at(values["ValidatorPermit"], uid)),
            active=bool(_at(values["Active"], uid)),
            last_update=_at(values["LastUpdate"], uid),
            registered_at=_integer(registered[uid]),
        )
        for uid in range(count)
    )
    return Metagraph(
        netuid=netuid,
        head=head,
        owner_hotkey=str(values["SubnetOwnerHotkey"]),
        tempo=int(values["Tempo"]),
        kappa=int(values["Kappa"]),
        commit_reveal=bool(values.get("CommitRevealWeightsEnabled", False)),
        neurons=neurons,
        weights={uid: decode_pairs(row) for uid, row in enumerate(rows) if row is not None and len(row) > 1},
    )


def _by_uid(interface: Any, name: str, netuid: int, count: int, at: str) -> list[bytes | None]:
    return read_raw(interface, [storage_key(interface, name, [netuid, uid]) for uid in range(count)], at)


def _address(account: bytes) -> str:
    return str(ss58_encode(account, SS58_FORMAT))


def _integer(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "little")


def _at(values: Sequence[int], uid: int) -> int:
    """A vector is shorter than the subnet until the epoch after a registration has run."""
    return int(values[uid]) if uid < len(values) else 0


def decode_pairs(raw: bytes) -> dict[int, int]:
    """SCALE's Vec<(u16, u16)>."""
    width = {0: 1, 1: 2, 2: 4}.get(raw[0] & 3, 0)
    body = raw[width:]
    if width == 0 or len(body) != 4 * (int.from_bytes(raw[:width], "little") >> 2):
        raise RetryableError(f"a weight row of {len(raw)} bytes does not decode")
    numbers = [int.from_bytes(body[start : start + 2], "little") for start in range(0, len(body), 2)]
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


HYPERPARAMETERS = {
    "tempo": "Tempo",
    "kappa": "Kappa",
    "immunity_period": "ImmunityPeriod",
    "min_allowed_weights": "MinAllowedWeights",
    "max_weights_limit": "MaxWeightsLimit",
    "weights_set_rate_limit": "WeightsSetRateLimit",
    "weights_version_key": "WeightsVersionKey",
    "activity_cutoff": "ActivityCutoff",
    "max_allowed_uids": "MaxAllowedUids",
    "max_allowed_validators": "MaxAllowedValidators",
    "burn_rao": "Burn",
}


def read_hyperparameters(interface: Any, netuid: int, at: str) -> Hyperparameters:
    require_subnet(interface, netuid, at)
    extra = ("ActivityCutoffFactorMilli", "CommitRevealWeightsEnabled")
    values = read_values(interface, netuid, (*HYPERPARAMETERS.values(), *extra), at)
    if "ActivityCutoffFactorMilli" in values:  # newer runtimes hold the cutoff as a multiple of the tempo
        values["ActivityCutoff"] = int(values["ActivityCutoffFactorMilli"]) * int(values["Tempo"]) // 1000
    numbers = {field: int(values[item]) for field, item in HYPERPARAMETERS.items()}
    return Hyperparameters(**numbers, commit_reveal_weights=bool(values.get("CommitRevealWeightsEnabled", False)))
