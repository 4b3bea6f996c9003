"""What an epoch looked at and what it stored, read over the wire: the input and output of `chain.yuma`."""

from dataclasses import asdict
from typing import Any

from chain.metagraph import PALLET, has_storage, read_values
from chain.yuma import EpochInput

SCALARS = (
    "SubnetworkN", "Tempo", "ActivityCutoff", "MaxAllowedValidators", "Kappa", "BondsPenalty", "BondsMovingAverage",
    "Yuma3On", "LiquidAlphaOn", "AlphaValues", "AlphaSigmoidSteepness", "SubnetOwnerHotkey", "LastUpdate",
    "ValidatorPermit", "ActivityCutoffFactorMilli", "LastMechansimStepBlock",
)  # fmt: skip
STORED = {
    "active": "Active",
    "rank": "Rank",
    "trust": "Trust",
    "consensus": "Consensus",
    "incentive": "Incentive",
    "dividends": "Dividends",
    "emission": "Emission",
    "validator_trust": "ValidatorTrust",
    "permit": "ValidatorPermit",
    "stake_weight": "StakeWeight",
}


def read_input(interface: Any, netuid: int, at: str, block: int) -> EpochInput:
    """Of an epoch at `block`, from the state at the end of the block before, whose hash is `at`."""
    interface.init_runtime(block_hash=at)
    values = read_values(interface, netuid, SCALARS, at)
    count = int(values["SubnetworkN"])
    stateful = has_storage(interface, "SubnetEpochIndex")

    def of(item: str, *keys: Any) -> Any:
        return interface.query(PALLET, item, [netuid, *keys], block_hash=at).value

    hotkeys = [of("Keys", uid) for uid in range(count)]
    tempo = int(values["Tempo"])
    cutoff = int(values["ActivityCutoffFactorMilli"]) * tempo // 1000 if stateful else int(values["ActivityCutoff"])
    differences = {"owner_permit": True, "clamped_exponent": True, "clears_bonds": True} if stateful else {}
    return EpochInput(
        n=count,
        block=block,
        tempo=tempo,
        stake=tuple(
            int(interface.query(PALLET, "TotalHotkeyAlpha", [hotkey, netuid], block_hash=at).value)
            for hotkey in hotkeys
        ),
        weights=tuple(tuple(map(tuple, of("Weights", uid) or ())) for uid in range(count)),
        bonds=tuple(tuple(map(tuple, of("Bonds", uid) or ())) for uid in range(count)),
        last_update=tuple(values["LastUpdate"]),
        block_at_registration=tuple(int(of("BlockAtRegistration", uid)) for uid in range(count)),
        activity_cutoff=max(1, cutoff),
        permit=tuple(values["ValidatorPermit"]),
        max_validators=int(values["MaxAllowedValidators"]),
        kappa=int(values["Kappa"]),
        bonds_penalty=int(values["BondsPenalty"]),
        bonds_moving_average=int(values["BondsMovingAverage"]),
        yuma3=bool(values["Yuma3On"]),
        liquid_alpha=bool(values["LiquidAlphaOn"]),
        alpha_values=tuple(values["AlphaValues"]),
        steepness=int(values["AlphaSigmoidSteepness"]),
        stake_threshold=int(interface.query(PALLET, "StakeThreshold", block_hash=at).value),
        owner_uid=hotkeys.index(values["SubnetOwnerHotkey"]),
        emission_rao=0,
        last_step_block=int(values["LastMechansimStepBlock"]) if stateful else 0,
        **differences,
    )


def read_output(interface: Any, netuid: int, at: str) -> dict[str, Any]:
    """What the epoch's block stored, by the field names of EpochOutput; items that the runtime lacks are left out."""
    interface.init_runtime(block_hash=at)
    values = read_values(interface, netuid, tuple(STORED.values()), at)
    return {field: tuple(values[item]) for field, item in STORED.items() if item in values}


def differences(computed: Any, stored: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields on which they differ, with both. The epoch's emission is known as the sum of what was paid, each part of
    which was rounded down: shares of 32 fraction bits and whole rao."""
    ours = asdict(computed)
    paid, count = sum(stored["emission"]), len(stored["emission"])
    rounding = count + (paid * count >> 32)
    found = {}
    for field, values in stored.items():
        slack = rounding if field == "emission" else 0
        if any(abs(int(mine) - int(theirs)) > slack for mine, theirs in zip(ours[field], values, strict=True)):
            found[field] = (ours[field], values)
    return found
