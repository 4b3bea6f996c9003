"""The named types of Substrate and Subtensor that clients look up by path."""

from chain.devnode.scale import (
    ACCOUNT,
    BYTES,
    I64,
    U8,
    U16,
    U32,
    U64,
    U128,
    UNIT,
    Bounded,
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
MAX_COMMITMENT_FIELDS = 3


def plain_enum(path: tuple[str, ...], *names: str) -> Enum:
    return Enum(path, tuple(Variant(name, index) for index, name in enumerate(names)))


def one(inner: ScaleType) -> tuple[tuple[str | None, ScaleType], ...]:
    return ((None, inner),)


ACCOUNT_DATA = Struct(
    ("pallet_balances", "types", "AccountData"),
    (
        ("free", U64),
        ("reserved", U64),
        ("frozen", U64),
        ("flags", Wrapper(("pallet_balances", "types", "ExtraFlags"), U128)),
    ),
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
    ("frame_system", "DispatchEventInfo"),
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
    return (
        Variant("None", 0),
        *raw,
        *hashes,
        Variant("BigRaw", 136, one(Bounded(BYTES, BIG_RAW_MAX))),
    )


COMMITMENT_DATA = Enum(("pallet_commitments", "types", "Data"), _data_variants())
COMMITMENT_INFO = Struct(
    ("pallet_commitments", "types", "CommitmentInfo"),
    (("fields", Bounded(Vec(COMMITMENT_DATA), MAX_COMMITMENT_FIELDS)),),
)
COMMITMENT_REGISTRATION = Struct(
    ("pallet_commitments", "types", "Registration"), (("deposit", U64), ("block", U32), ("info", COMMITMENT_INFO))
)
USAGE_TRACKER = Struct(("pallet_commitments", "types", "UsageTracker"), (("last_epoch", U64), ("used_space", U64)))

PULSE = Struct(
    ("pallet_drand", "types", "Pulse"),
    (("round", U64), ("randomness", Bounded(BYTES, 32)), ("signature", Bounded(BYTES, 144))),
)
TIMELOCKED_COMMIT = Bounded(BYTES, 5000)

_ENDPOINT = (("block", U64), ("version", U32), ("ip", U128), ("port", U16), ("ip_type", U8))
AXON_INFO = Struct(
    ("pallet_subtensor", "pallet", "AxonInfo"),
    (*_ENDPOINT, ("protocol", U8), ("placeholder1", U8), ("placeholder2", U8)),
)
PROMETHEUS_INFO = Struct(("pallet_subtensor", "pallet", "PrometheusInfo"), _ENDPOINT)

NEURON_CERTIFICATE = Struct(
    ("pallet_subtensor", "pallet", "NeuronCertificate"), (("public_key", Bounded(BYTES, 64)), ("algorithm", U8))
)

# Which hyperparameter an owner changed last and when: the runtime's names in its order.
_HYPERPARAMETERS = """
    Unknown ServingRateLimit MaxDifficulty AdjustmentAlpha MaxWeightLimit ImmunityPeriod MinAllowedWeights Kappa Rho
    ActivityCutoff PowRegistrationAllowed MinBurn MaxBurn BondsMovingAverage BondsPenalty CommitRevealEnabled
    LiquidAlphaEnabled AlphaValues WeightCommitInterval TransferEnabled AlphaSigmoidSteepness Yuma3Enabled
    BondsResetEnabled ImmuneNeuronLimit RecycleOrBurn MaxAllowedUids BurnHalfLife BurnIncreaseMult
    SubnetEmissionEnabled MinChildkeyTake ActivityCutoffFactorMilli TriggerEpoch
"""
HYPERPARAMETER = plain_enum(("pallet_subtensor", "utils", "rate_limiting", "Hyperparameter"), *_HYPERPARAMETERS.split())
RATE_LIMIT_KEY = Enum(
    ("pallet_subtensor", "RateLimitKey"),
    (
        Variant("SetSNOwnerHotkey", 0, one(U16)),
        Variant("OwnerHyperparamUpdate", 1, ((None, U16), (None, HYPERPARAMETER))),
        Variant("NetworkLastRegistered", 2),
        Variant("LastTxBlock", 3, one(ACCOUNT)),
        Variant("LastTxBlockChildKeyTake", 4, one(ACCOUNT)),
        Variant("LastTxBlockDelegateTake", 5, one(ACCOUNT)),
        Variant("AddStakeBurn", 6, one(U16)),
    ),
)
SAFE_FLOAT = Struct(("share_pool", "SafeFloat"), (("mantissa", U128), ("exponent", I64)))
U64F64 = Struct(("substrate_fixed", "FixedU128"), (("bits", U128),))
UID_WEIGHTS = Vec(Tuple((U16, U16)))
