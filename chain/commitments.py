"""Commitments on the chain: a few public bytes for each hotkey of a subnet, and how many more an epoch allows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chain.metagraph import KEYS_PER_REQUEST, Head, has_storage, read_schedule

PALLET = "Commitments"
DEFAULT_SPACE_BYTES = 3100  # an epoch
MIN_COST_BYTES = 100  # of one commitment, however short
_UNLIMITED = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Commitment:
    """What a hotkey put on chain last; `block` is when."""

    hotkey: str
    block: int
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What an epoch leaves of a hotkey's space for commitments."""

    left_bytes: int
    renewed_at: int  # block


def cost_bytes(data: bytes) -> int:
    """What a commitment takes of the quota."""
    return max(MIN_COST_BYTES, len(data))


def read_commitments(interface: Any, netuid: int, at: str) -> dict[str, Commitment]:
    rows = interface.query_map(PALLET, "CommitmentOf", [netuid], block_hash=at, page_size=KEYS_PER_REQUEST)
    read = ((str(account.value), value) for account, value in rows if account is not None)
    found = (_commitment(hotkey, value) for hotkey, value in read if value is not None)
    return {commitment.hotkey: commitment for commitment in found if commitment is not None}


def read_commitment(interface: Any, netuid: int, hotkey: str, at: str) -> Commitment | None:
    found = interface.query(PALLET, "CommitmentOf", [netuid, hotkey], block_hash=at)
    return None if found.value is None else _commitment(hotkey, found)


def read_quota(interface: Any, netuid: int, hotkey: str, head: Head) -> Quota:
    """For a commitment in the next block."""
    if not has_storage(interface, "UsedSpaceOf", PALLET):
        return Quota(left_bytes=_UNLIMITED, renewed_at=head.number)
    schedule = read_schedule(interface, netuid, head.hash)
    epoch = schedule.epoch_at(head.number + 1)
    usage = interface.query(PALLET, "UsedSpaceOf", [netuid, hotkey], block_hash=head.hash).value
    limit = DEFAULT_SPACE_BYTES
    if has_storage(interface, "MaxSpace", PALLET):
        limit = int(interface.query(PALLET, "MaxSpace", block_hash=head.hash).value)
    same = usage is not None and int(usage["last_epoch"]) == epoch
    used = int(usage["used_space"]) if same else 0
    return Quota(left_bytes=limit - used, renewed_at=schedule.next_epoch(head.number) + 1)


def _commitment(hotkey: str, value: Any) -> Commitment | None:
    registration = value.value
    for item in _flat(registration["info"]["fields"]):
        for name, content in item.items() if isinstance(item, dict) else ():
            if name.startswith("Raw") and name[3:].isdigit():
                data = bytes.fromhex(content[2:]) if isinstance(content, str) else bytes(content)
                return Commitment(hotkey=hotkey, block=int(registration["block"]), data=data)
    return None


def _flat(items: Any) -> Iterator[Any]:
    for item in items:
        if isinstance(item, (list, tuple)):
            yield from _flat(item)
        else:
            yield item
