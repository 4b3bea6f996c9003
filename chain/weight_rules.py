"""Reads what a subnet demands of one hotkey's weights, on every runtime that is known."""

from typing import Any

from chain.metagraph import PALLET, Head, has_storage, read_schedule, read_values
from chain.submit import call_arguments
from chain.weights import Commit, WeightRules

# Newest first. The last argument tells whether the runtime wants to hear a version.
TIMELOCK_CALLS = ("commit_timelocked_weights", "commit_crv3_weights")
TIMELOCK_ITEMS = ("TimelockedWeightCommits", "CRV3WeightCommitsV2", "CRV3WeightCommits")
VERSION_ARGUMENT = "commit_reveal_version"
DEFAULT_TIMELOCK_VERSION = 4

ITEMS = (
    "SubnetworkN", "Tempo", "SubnetOwnerHotkey", "LastUpdate", "ValidatorPermit", "MinAllowedWeights",
    "MaxWeightsLimit", "WeightsSetRateLimit", "WeightsVersionKey", "CommitRevealWeightsEnabled", "RevealPeriodEpochs",
)  # fmt: skip


def read_weight_rules(interface: Any, netuid: int, hotkey: str, head: Head) -> WeightRules:
    """As of `head`; ConfigError for an unknown subnet."""
    at = head.hash
    schedule = read_schedule(interface, netuid, at)
    values = read_values(interface, netuid, ITEMS, at)
    uid = interface.query(PALLET, "Uids", [netuid, hotkey], block_hash=at).value
    call = _timelock_call(interface)
    period = int(values.get("RevealPeriodEpochs", 1))
    epoch = schedule.epoch_at(head.number + 1)
    counted = schedule.index is not None
    return WeightRules(
        block=head.number,
        count=int(values["SubnetworkN"]),
        uid=uid,
        permit=_of(values["ValidatorPermit"], uid) is True or values["SubnetOwnerHotkey"] == hotkey,
        last_update=int(_of(values["LastUpdate"], uid) or 0),
        weights_set=uid is not None and _has_weights(interface, netuid, uid, at),
        min_allowed_weights=int(values["MinAllowedWeights"]),
        max_weights_limit=int(values.get("MaxWeightsLimit", 65_535)),
        rate_limit=int(values["WeightsSetRateLimit"]),
        version_key=int(values["WeightsVersionKey"]),
        commit_reveal=bool(values.get("CommitRevealWeightsEnabled", False)),
        reveal_period=period,
        epoch=epoch,
        next_epoch_block=schedule.next_epoch(head.number + 1),
        epoch_blocks=schedule.period,
        commits=_commits(interface, netuid, hotkey, at, counted=counted),
        timelocked=_timelocked(interface, netuid, hotkey, at, epoch, period),
        timelock_call=call,
        timelock_version=_timelock_version(interface, call, at),
    )


def _of(vector: Any, uid: int | None) -> Any:
    """A vector is shorter than the subnet until the epoch after a registration has run."""
    return vector[uid] if uid is not None and uid < len(vector) else None


def _has_weights(interface: Any, netuid: int, uid: int, at: str) -> bool:
    return bool(interface.query(PALLET, "Weights", [netuid, uid], block_hash=at).value)


def _commits(interface: Any, netuid: int, hotkey: str, at: str, *, counted: bool) -> tuple[Commit, ...]:
    if not has_storage(interface, "WeightCommits"):
        return ()
    found = interface.query(PALLET, "WeightCommits", [netuid, hotkey], block_hash=at).value or []
    return tuple(
        Commit(
            hash=str(digest),
            opens=None if counted else int(opens),
            closes=None if counted else int(closes),
            epoch=int(second) if counted else None,
        )
        for digest, second, opens, closes in found
    )


def _timelocked(interface: Any, netuid: int, hotkey: str, at: str, epoch: int, period: int) -> int:
    item = next((name for name in TIMELOCK_ITEMS if has_storage(interface, name)), None)
    if item is None:
        return 0
    epochs = range(max(0, epoch - period), epoch + 2)
    waiting = [interface.query(PALLET, item, [netuid, number], block_hash=at).value or [] for number in epochs]
    return sum(entry[0] == hotkey for entries in waiting for entry in entries)


def _timelock_call(interface: Any) -> str | None:
    calls = call_arguments(interface, PALLET)
    return next((name for name in TIMELOCK_CALLS if name in calls), None)


def _timelock_version(interface: Any, call: str | None, at: str) -> int | None:
    if call is None or VERSION_ARGUMENT not in call_arguments(interface, PALLET)[call]:
        return None
    if not has_storage(interface, "CommitRevealWeightsVersion"):
        return DEFAULT_TIMELOCK_VERSION
    return int(interface.query(PALLET, "CommitRevealWeightsVersion", block_hash=at).value)
