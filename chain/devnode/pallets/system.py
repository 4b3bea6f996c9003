"""System and Timestamp: accounts, nonces, block hashes, events and the time of the block."""

from typing import Any

from chain.devnode.pallet import Constant, Context, DispatchError, Hasher, Origin, Pallet, State
from chain.devnode.scale import ACCOUNT, H256, TEXT, U16, U32, U64, Compact, Struct, Wrapper
from chain.devnode.substrate_types import ACCOUNT_INFO, DISPATCH_ERROR, DISPATCH_INFO

SYSTEM = Pallet(
    "System",
    0,
    "frame_system",
    errors=(
        "InvalidSpecName",
        "SpecVersionNeedsToIncrease",
        "FailedToExtractRuntimeVersion",
        "NonDefaultComposite",
        "NonZeroRefCount",
        "CallFiltered",
        "MultiBlockMigrationsOngoing",
        "NothingAuthorized",
        "Unauthorized",
    ),
)
SS58_PREFIX = 42
SPEC_NAME = "node-subtensor"

NO_ACCOUNT = {
    "nonce": 0,
    "consumers": 0,
    "providers": 0,
    "sufficients": 0,
    "data": {"free": 0, "reserved": 0, "frozen": 0, "flags": 1 << 127},
}
ACCOUNTS = SYSTEM.item("Account", (Hasher.BLAKE128, ACCOUNT), value=ACCOUNT_INFO, default=NO_ACCOUNT)
NUMBER = SYSTEM.item("Number", value=U32, default=0)
BLOCK_HASH = SYSTEM.item("BlockHash", (Hasher.TWOX64, U32), value=H256, default=bytes(32))
PARENT_HASH = SYSTEM.item("ParentHash", value=H256, default=bytes(32))
LAST_RUNTIME_UPGRADE = SYSTEM.item(
    "LastRuntimeUpgrade",
    value=Struct(
        ("frame_system", "LastRuntimeUpgradeInfo"),
        (("spec_version", Compact(U32)), ("spec_name", Wrapper(("Cow",), TEXT))),
    ),
)
# System.Events is declared by the runtime: its type spans all pallets.

SYSTEM.event("ExtrinsicSuccess", 0, 0, dispatch_info=DISPATCH_INFO)
SYSTEM.event("ExtrinsicFailed", 1, 1, dispatch_error=DISPATCH_ERROR, dispatch_info=DISPATCH_INFO)
SYSTEM.constants.append(Constant(name="SS58Prefix", kind=U16, value=SS58_PREFIX))
SYSTEM.constants.append(Constant(name="BlockHashCount", kind=U32, value=2400))

TIMESTAMP = Pallet("Timestamp", 2, "pallet_timestamp")
NOW = TIMESTAMP.item("Now", value=U64, default=0)


@TIMESTAMP.call(0, now=Compact(U64))
def set(_context: Context, _origin: Origin, **_now: int) -> None:
    """Only the block's author may say what time it is, in the inherent that opens the block."""
    raise DispatchError("BadOrigin")


def account(state: State, who: bytes) -> dict[str, Any]:
    info: dict[str, Any] = ACCOUNTS.get(state, who)
    return info


def nonce_of(state: State, who: bytes) -> int:
    return int(account(state, who)["nonce"])


def advance_nonce(state: State, who: bytes) -> None:
    info = account(state, who)
    ACCOUNTS.put(state, who, {**info, "nonce": info["nonce"] + 1})
