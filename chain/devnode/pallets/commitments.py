"""Commitments: a few bytes of public data per hotkey and subnet, with a quota of bytes per epoch."""

from typing import Any

from chain.devnode.pallet import Constant, Context, Hasher, Origin, Pallet
from chain.devnode.pallets.schedule import epoch_of
from chain.devnode.pallets.subtensor import SUBNET_EPOCH_INDEX, UIDS
from chain.devnode.scale import ACCOUNT, U16, U32
from chain.devnode.substrate_types import (
    COMMITMENT_INFO,
    COMMITMENT_REGISTRATION,
    MAX_COMMITMENT_FIELDS,
    USAGE_TRACKER,
)

BYTES_PER_EPOCH = 3100
MIN_CALL_COST_BYTES = 100

COMMITMENTS = Pallet(
    "Commitments",
    18,
    "pallet_commitments",
    errors=(
        "TooManyFieldsInCommitmentInfo",
        "AccountNotAllowedCommit",
        "SpaceLimitExceeded",
        "UnexpectedUnreserveLeftover",
    ),
)
_BY_ACCOUNT = ((Hasher.IDENTITY, U16), (Hasher.TWOX64, ACCOUNT))
COMMITMENT_OF = COMMITMENTS.item("CommitmentOf", *_BY_ACCOUNT, value=COMMITMENT_REGISTRATION)
LAST_COMMITMENT = COMMITMENTS.item("LastCommitment", *_BY_ACCOUNT, value=U32)
USED_SPACE_OF = COMMITMENTS.item("UsedSpaceOf", *_BY_ACCOUNT, value=USAGE_TRACKER)
MAX_SPACE = COMMITMENTS.item("MaxSpace", value=U32, default=BYTES_PER_EPOCH)
COMMITMENTS.event("Commitment", 0, 0, netuid=U16, who=ACCOUNT)
COMMITMENTS.constants.append(Constant(name="MaxFields", kind=U32, value=MAX_COMMITMENT_FIELDS))


def _cost_bytes(info: dict[str, Any]) -> int:
    data = sum(len(items[0]) for _, items in info["fields"] if items)
    return max(MIN_CALL_COST_BYTES, data)


@COMMITMENTS.call(0, netuid=U16, info=COMMITMENT_INFO)
def set_commitment(context: Context, origin: Origin, netuid: int, info: dict[str, Any]) -> None:
    who, state = origin.signed(), context.state
    COMMITMENTS.ensure(UIDS.has(state, netuid, who), "AccountNotAllowedCommit")
    if context.rules.stateful_epochs:
        epoch = int(SUBNET_EPOCH_INDEX.get(state, netuid))
    else:
        epoch = epoch_of(state, netuid, context.block)
    usage = USED_SPACE_OF.get(state, netuid, who)
    used = usage["used_space"] if usage is not None and usage["last_epoch"] == epoch else 0
    used += _cost_bytes(info)
    COMMITMENTS.ensure(used <= MAX_SPACE.get(state), "SpaceLimitExceeded")
    USED_SPACE_OF.put(state, netuid, who, {"last_epoch": epoch, "used_space": used})
    COMMITMENT_OF.put(state, netuid, who, {"deposit": 0, "block": context.block, "info": info})
    LAST_COMMITMENT.put(state, netuid, who, context.block)
    context.emit(COMMITMENTS, "Commitment", netuid, who)
