"""The named types of Substrate and Subtensor that clients look up by path."""

from chain.devnode.scale import (
    ACCOUNT,
    BYTES,
    U8,
    U16,
    U32,
    U64,
    U128,
    UNIT,
    Compact,
    Enum,
    FixedBytes,
    ScaleType,
    Struct,
    Tuple,
    Variant,
    Vec,
    Wrapper,
)

RAW_MAX = 128  # bytes in the longest Raw field of a commitment
BIG_RAW_MAX = 512


def plain_enum(path: tuple[str, ...], *names: str) -> Enum:
    return Enum(path, tuple(Variant(name, index) for index, name in enumerate(names)))


def one(inner: ScaleType) -> tuple[tuple[str | None, ScaleType], ...]:
    return ((None, inner),)


ACCOUNT_DATA = Struct(
    ("pallet_balances", "types", "AccountData"),
    (("free", U64), ("reserved", U64), ("frozen", U64), ("flags", U128)),
)
ACCOUNT_INFO = Struct(
    ("frame_system", "AccountInfo"),
    (("nonce", U32), ("consumers", U32), ("providers", U32), ("sufficients", U32), ("data", ACCOUNT_DATA)),
)
MULTI_ADDRESS = Enum(
    ("sp_runtime", "multiaddress", "MultiAddress"),
    (
        Variant("Id", 0, one(ACCOUNT)),
        Variant("Index", 1, one(Compact(U32))),
        Variant("Raw", 2, one(BYTES)),
        Variant("Address32", 3, one(FixedBytes(32))),
        Variant("Address20", 4, one(FixedBytes(20))),
    ),
)
MULTI_SIGNATURE = Enum(
    ("sp_runtime", "MultiSignature"),
    (
        Variant("Ed25519", 0, one(Wrapper(("sp_core", "ed25519", "Signature"), FixedBytes(64)))),
        Variant("Sr25519", 1, one(Wrapper(("sp_core", "sr25519", "Signature"), FixedBytes(64)))),
        Variant("Ecdsa", 2, one(Wrapper(("sp_core", "ecdsa", "Signature"), FixedBytes(65)))),
    ),
)

WEIGHT = Struct(("sp_weights", "weight_v2", "Weight"), (("ref_time", Compact(U64)), ("proof_size", Compact(U64))))
DISPATCH_INFO = Struct(
    ("frame_support", "dispatch", "DispatchInfo"),
    (
        ("weight", WEIGHT),
        ("class", plain_enum(("frame_support", "dispatch", "DispatchClass"), "Normal", "Operational", "Mandatory")),
        ("pays_fee", plain_enum(("frame_support", "dispatch", "Pays"), "Yes", "No")),
    ),
)
MODULE_ERROR = Struct(("sp_runtime", "ModuleError"), (("index", U8), ("error", FixedBytes(4))))
DISPATCH_ERROR = Enum(
    ("sp_runtime", "DispatchError"),
    (
        Variant("Other", 0),
        Variant("CannotLookup", 1),
        Variant("BadOrigin", 2),
        Variant("Module", 3, one(MODULE_ERROR)),
        Variant("ConsumerRemaining", 4),
        Variant("NoProviders", 5),
        Variant("TooManyConsumers", 6),
    ),
)
DISPATCH_RESULT = Enum(("Result",), (Variant("Ok", 0, one(UNIT)), Variant("Err", 1, one(DISPATCH_ERROR))))
PHASE = Enum(
    ("frame_system", "Phase"),
    (Variant("ApplyExtrinsic", 0, one(U32)), Variant("Finalization", 1), Variant("Initialization", 2)),
)


def _data_variants() -> tuple[Variant, ...]:
    raw = [Variant(f"Raw{size}", size + 1, one(FixedBytes(size))) for size in range(RAW_MAX + 1)]
    hashes = [
        Variant(name, RAW_MAX + 2 + index, one(FixedBytes(32)))
        for index, name in enumerate(("BlakeTwo256", "Sha256", "Keccak256", "ShaThree256"))
    ]
    return (Variant("None", 0), *raw, *hashes, Variant("BigRaw", 136, one(bounded(BYTES))))


def bounded(inner: ScaleType) -> Wrapper:
    return Wrapper(("bounded_collections", "bounded_vec", "BoundedVec"), inner)


COMMITMENT_DATA = Enum(("pallet_commitments", "types", "Data"), _data_variants())
COMMITMENT_INFO = Struct(
    ("pallet_commitments", "types", "CommitmentInfo"), (("fields", bounded(Vec(COMMITMENT_DATA))),)
)
COMMITMENT_REGISTRATION = Struct(
    ("pallet_commitments", "types", "Registration"), (("deposit", U64), ("block", U32), ("info", COMMITMENT_INFO))
)
USAGE_TRACKER = Struct(("pallet_commitments", "types", "UsageTracker"), (("last_epoch", U64), ("used_space", U64)))

U64F64 = Struct(("substrate_fixed", "FixedU128"), (("bits", U128),))
UID_WEIGHTS = Vec(Tuple((U16, U16)))
