"""SubtensorModule's storage; calls stand in the modules named after what they do, events in subtensor_events."""

from chain.devnode.pallet import Constant, Hasher, Pallet, State, StorageItem
from chain.devnode.pallets.error_names import ERRORS
from chain.devnode.rules import BOTH, NEW, OLD, ONLY_NEW, ONLY_OLD
from chain.devnode.scale import ACCOUNT, BOOL, H256, I16, U8, U16, U32, U64, ScaleType, Tuple, Vec
from chain.devnode.substrate_types import (
    AXON_INFO,
    NEURON_CERTIFICATE,
    PROMETHEUS_INFO,
    RATE_LIMIT_KEY,
    SAFE_FLOAT,
    TIMELOCKED_COMMIT,
    U64F64,
    UID_WEIGHTS,
)

ROOT_NETUID = 0
TAO = 10**9  # rao
NOBODY = bytes(32)
START_CALL_DELAY_BLOCKS = 10
MIN_STAKE_RAO = 2_000_000
U16_MAX = 65_535
OWNER_CUT = 11_796  # of 65535, 18 %
DEFAULT_TAKE = 11_796

SUBTENSOR = Pallet("SubtensorModule", 7, "pallet_subtensor", errors=ERRORS[OLD], later_errors=ERRORS[NEW])


def _by_subnet(
    name: str, value: ScaleType, default: object = None, *, specs: tuple[int, ...] = BOTH, **later: object
) -> StorageItem:
    defaults = {NEW: later["later"]} if later else None
    return SUBTENSOR.item(name, (Hasher.IDENTITY, U16), value=value, default=default, specs=specs, defaults=defaults)


def _by_uid(name: str, value: ScaleType, default: object = None) -> StorageItem:
    return SUBTENSOR.item(name, (Hasher.IDENTITY, U16), (Hasher.IDENTITY, U16), value=value, default=default)


def _by_account(name: str, value: ScaleType, default: object = None) -> StorageItem:
    return SUBTENSOR.item(name, (Hasher.IDENTITY, U16), (Hasher.BLAKE128, ACCOUNT), value=value, default=default)


# Subnets.
TOTAL_NETWORKS = SUBTENSOR.item("TotalNetworks", value=U16, default=0)
NETWORKS_ADDED = _by_subnet("NetworksAdded", BOOL, False)
NETWORK_REGISTERED_AT = _by_subnet("NetworkRegisteredAt", U64, 0)
NETWORK_LAST_REGISTERED = SUBTENSOR.item("NetworkLastRegistered", value=U64, default=0, specs=ONLY_OLD)
NETWORK_RATE_LIMIT = SUBTENSOR.item("NetworkRateLimit", value=U64, default=7200)
NETWORK_MIN_LOCK_COST = SUBTENSOR.item("NetworkMinLockCost", value=U64, default=1000 * TAO)
NETWORK_LAST_LOCK_COST = SUBTENSOR.item("NetworkLastLockCost", value=U64, default=1000 * TAO)
NETWORK_LOCK_REDUCTION = SUBTENSOR.item("NetworkLockReductionInterval", value=U64, default=14 * 7200)
SUBNET_MECHANISM = _by_subnet("SubnetMechanism", U16, 0)
SUBNET_OWNER = _by_subnet("SubnetOwner", ACCOUNT, NOBODY)
SUBNET_OWNER_HOTKEY = _by_subnet("SubnetOwnerHotkey", ACCOUNT, NOBODY)
FIRST_EMISSION_BLOCK = _by_subnet("FirstEmissionBlockNumber", U64)
START_CALL_DELAY = SUBTENSOR.item("StartCallDelay", value=U64, default=0, specs=ONLY_NEW)
SUBTOKEN_ENABLED = _by_subnet("SubtokenEnabled", BOOL, False)
MECHANISM_COUNT = SUBTENSOR.item("MechanismCountCurrent", (Hasher.TWOX64, U16), value=U8, default=1, specs=ONLY_NEW)

# Hyperparameters; what a new subnet starts from stands in the module registration where it differs.
TEMPO = _by_subnet("Tempo", U16, 360)
KAPPA = _by_subnet("Kappa", U16, 32_767)
RHO = _by_subnet("Rho", U16, 10)
IMMUNITY_PERIOD = _by_subnet("ImmunityPeriod", U16, 4096)
MIN_ALLOWED_WEIGHTS = _by_subnet("MinAllowedWeights", U16, 1024)
MAX_WEIGHTS_LIMIT = _by_subnet("MaxWeightsLimit", U16, 1000, later=U16_MAX)
WEIGHTS_SET_RATE_LIMIT = _by_subnet("WeightsSetRateLimit", U64, 100)
WEIGHTS_VERSION_KEY = _by_subnet("WeightsVersionKey", U64, 0)
WEIGHTS_VERSION_KEY_RATE_LIMIT = SUBTENSOR.item("WeightsVersionKeyRateLimit", value=U64, default=5)
ACTIVITY_CUTOFF = _by_subnet("ActivityCutoff", U16, 5000)
ACTIVITY_CUTOFF_FACTOR = _by_subnet("ActivityCutoffFactorMilli", U32, 13_889, specs=ONLY_NEW)
MIN_ACTIVITY_CUTOFF = SUBTENSOR.item("MinActivityCutoff", value=U16, default=360)
MIN_ALLOWED_UIDS = _by_subnet("MinAllowedUids", U16, 64, specs=ONLY_NEW)
MAX_ALLOWED_UIDS = _by_subnet("MaxAllowedUids", U16, 4096, later=256)
MAX_ALLOWED_VALIDATORS = _by_subnet("MaxAllowedValidators", U16, 128)
MIN_NON_IMMUNE_UIDS = _by_subnet("MinNonImmuneUids", U16, 10, specs=ONLY_NEW)
IMMUNE_OWNER_UIDS_LIMIT = _by_subnet("ImmuneOwnerUidsLimit", U16, 1, specs=ONLY_NEW)
BONDS_MOVING_AVERAGE = _by_subnet("BondsMovingAverage", U64, 900_000)
BONDS_PENALTY = _by_subnet("BondsPenalty", U16, U16_MAX)
BONDS_RESET_ON = _by_subnet("BondsResetOn", BOOL, False)
LIQUID_ALPHA_ON = SUBTENSOR.item("LiquidAlphaOn", (Hasher.BLAKE128, U16), value=BOOL, default=False)
YUMA3_ON = SUBTENSOR.item("Yuma3On", (Hasher.BLAKE128, U16), value=BOOL, default=False)
ALPHA_VALUES = _by_subnet("AlphaValues", Tuple((U16, U16)), (45_875, 58_982))
ALPHA_STEEPNESS = _by_subnet("AlphaSigmoidSteepness", I16, 1000)
SERVING_RATE_LIMIT = _by_subnet("ServingRateLimit", U64, 50)
TRANSFER_TOGGLE = _by_subnet("TransferToggle", BOOL, True)
STAKE_THRESHOLD = SUBTENSOR.item("StakeThreshold", value=U64, default=0)
SUBNET_OWNER_CUT = SUBTENSOR.item("SubnetOwnerCut", value=U16, default=OWNER_CUT)
OWNER_CUT_ENABLED = _by_subnet("OwnerCutEnabled", BOOL, True, specs=ONLY_NEW)
ADMIN_FREEZE_WINDOW = SUBTENSOR.item("AdminFreezeWindow", value=U16, default=10, specs=ONLY_NEW)
OWNER_RATE_LIMIT = SUBTENSOR.item("OwnerHyperparamRateLimit", value=U16, default=2, specs=ONLY_NEW)

# Commit-reveal.
COMMIT_REVEAL_ON = _by_subnet("CommitRevealWeightsEnabled", BOOL, False, later=True)
COMMIT_REVEAL_VERSION = SUBTENSOR.item("CommitRevealWeightsVersion", value=U16, default=4, specs=ONLY_NEW)
REVEAL_PERIOD = SUBTENSOR.item("RevealPeriodEpochs", (Hasher.TWOX64, U16), value=U64, default=1)
WEIGHT_COMMITS = SUBTENSOR.item(
    "WeightCommits",
    (Hasher.TWOX64, U16),
    (Hasher.TWOX64, ACCOUNT),
    value=Vec(Tuple((H256, U64, U64, U64))),
)
CRV3_COMMITS = SUBTENSOR.item(
    "CRV3WeightCommits",
    (Hasher.TWOX64, U16),
    (Hasher.TWOX64, U64),
    value=Vec(Tuple((ACCOUNT, TIMELOCKED_COMMIT, U64))),
    default=[],
)
TIMELOCKED_COMMITS = SUBTENSOR.item(
    "TimelockedWeightCommits",
    (Hasher.TWOX64, U16),
    (Hasher.TWOX64, U64),
    value=Vec(Tuple((ACCOUNT, U64, TIMELOCKED_COMMIT, U64))),
    default=[],
    specs=ONLY_NEW,
)

# Registration.
BURN = _by_subnet("Burn", U64, TAO // 10)
MIN_BURN = _by_subnet("MinBurn", U64, 500_000)
MAX_BURN = _by_subnet("MaxBurn", U64, 100 * TAO)
BURN_HALF_LIFE = _by_subnet("BurnHalfLife", U16, 360, specs=ONLY_NEW)
BURN_INCREASE = _by_subnet("BurnIncreaseMult", U64F64, {"bits": int(1.26 * 2**64)}, specs=ONLY_NEW)
DIFFICULTY = _by_subnet("Difficulty", U64, 10_000_000)
MIN_DIFFICULTY = _by_subnet("MinDifficulty", U64, 10_000_000)
MAX_DIFFICULTY = _by_subnet("MaxDifficulty", U64, (1 << 62) - 1)
REGISTRATION_ALLOWED = _by_subnet("NetworkRegistrationAllowed", BOOL, True)
POW_REGISTRATION_ALLOWED = _by_subnet("NetworkPowRegistrationAllowed", BOOL, True)
MAX_REGISTRATIONS_PER_BLOCK = _by_subnet("MaxRegistrationsPerBlock", U16, 1)
TARGET_REGISTRATIONS = _by_subnet("TargetRegistrationsPerInterval", U16, 2)
ADJUSTMENT_INTERVAL = _by_subnet("AdjustmentInterval", U16, 100)
ADJUSTMENT_ALPHA = _by_subnet("AdjustmentAlpha", U64, 0)
LAST_ADJUSTMENT_BLOCK = _by_subnet("LastAdjustmentBlock", U64, 0)
REGISTRATIONS_THIS_BLOCK = _by_subnet("RegistrationsThisBlock", U16, 0)
REGISTRATIONS_THIS_INTERVAL = _by_subnet("RegistrationsThisInterval", U16, 0)
POW_REGISTRATIONS_THIS_INTERVAL = _by_subnet("POWRegistrationsThisInterval", U16, 0)
BURN_REGISTRATIONS_THIS_INTERVAL = _by_subnet("BurnRegistrationsThisInterval", U16, 0)
RAO_BURNED = _by_subnet("RAORecycledForRegistration", U64, 0)

# Neurons.
SUBNETWORK_N = _by_subnet("SubnetworkN", U16, 0)
KEYS = _by_uid("Keys", ACCOUNT, NOBODY)
UIDS = _by_account("Uids", U16)
BLOCK_AT_REGISTRATION = _by_uid("BlockAtRegistration", U64, 0)
WEIGHTS = _by_uid("Weights", UID_WEIGHTS, [])
BONDS = _by_uid("Bonds", UID_WEIGHTS, [])
AXONS = _by_account("Axons", AXON_INFO)
PROMETHEUS = _by_account("Prometheus", PROMETHEUS_INFO)
NEURON_CERTIFICATES = _by_account("NeuronCertificates", NEURON_CERTIFICATE)
OWNER = SUBTENSOR.item("Owner", (Hasher.BLAKE128, ACCOUNT), value=ACCOUNT, default=NOBODY)
OWNED_HOTKEYS = SUBTENSOR.item("OwnedHotkeys", (Hasher.BLAKE128, ACCOUNT), value=Vec(ACCOUNT), default=[])
STAKING_HOTKEYS = SUBTENSOR.item("StakingHotkeys", (Hasher.BLAKE128, ACCOUNT), value=Vec(ACCOUNT), default=[])
DELEGATES = SUBTENSOR.item("Delegates", (Hasher.BLAKE128, ACCOUNT), value=U16, default=DEFAULT_TAKE)
IS_NETWORK_MEMBER = SUBTENSOR.item(
    "IsNetworkMember", (Hasher.BLAKE128, ACCOUNT), (Hasher.IDENTITY, U16), value=BOOL, default=False
)

# One entry a uid, rewritten by every epoch.
ACTIVE = _by_subnet("Active", Vec(BOOL), [])
RANK = _by_subnet("Rank", Vec(U16), [], specs=ONLY_OLD)
TRUST = _by_subnet("Trust", Vec(U16), [], specs=ONLY_OLD)
CONSENSUS = _by_subnet("Consensus", Vec(U16), [])
INCENTIVE = _by_subnet("Incentive", Vec(U16), [])
DIVIDENDS = _by_subnet("Dividends", Vec(U16), [])
EMISSION = _by_subnet("Emission", Vec(U64), [])
VALIDATOR_TRUST = _by_subnet("ValidatorTrust", Vec(U16), [])
VALIDATOR_PERMIT = _by_subnet("ValidatorPermit", Vec(BOOL), [])
PRUNING_SCORES = _by_subnet("PruningScores", Vec(U16), [], specs=ONLY_OLD)
STAKE_WEIGHT = _by_subnet("StakeWeight", Vec(U16), [])
LAST_UPDATE = _by_subnet("LastUpdate", Vec(U64), [])

# Emission and epochs.
PENDING_EMISSION = _by_subnet("PendingEmission", U64, 0, specs=ONLY_OLD)
PENDING_SERVER_EMISSION = _by_subnet("PendingServerEmission", U64, 0, specs=ONLY_NEW)
PENDING_VALIDATOR_EMISSION = _by_subnet("PendingValidatorEmission", U64, 0, specs=ONLY_NEW)
PENDING_OWNER_CUT = _by_subnet("PendingOwnerCut", U64, 0)
BLOCKS_SINCE_LAST_STEP = _by_subnet("BlocksSinceLastStep", U64, 0)
LAST_STEP_BLOCK = _by_subnet("LastMechansimStepBlock", U64, 0)
LAST_EPOCH_BLOCK = _by_subnet("LastEpochBlock", U64, 0, specs=ONLY_NEW)
PENDING_EPOCH_AT = _by_subnet("PendingEpochAt", U64, 0, specs=ONLY_NEW)
SUBNET_EPOCH_INDEX = _by_subnet("SubnetEpochIndex", U64, 0, specs=ONLY_NEW)
MAX_EPOCHS_PER_BLOCK = SUBTENSOR.item("MaxEpochsPerBlock", value=U8, default=2, specs=ONLY_NEW)
ALPHA_DIVIDENDS = _by_account("AlphaDividendsPerSubnet", U64, 0)

# Limits on how often somebody may change something.
TRANSACTION_LAST_BLOCK = SUBTENSOR.item(
    "TransactionKeyLastBlock",
    (Hasher.BLAKE128, ACCOUNT),
    (Hasher.IDENTITY, U16),
    (Hasher.IDENTITY, U16),
    value=U64,
    default=0,
)
LAST_RATE_LIMITED_BLOCK = SUBTENSOR.item(
    "LastRateLimitedBlock", (Hasher.IDENTITY, RATE_LIMIT_KEY), value=U64, default=0, specs=ONLY_NEW
)

# Stake: alpha of a hotkey on a subnet, and who owns which share of it.
_OF_HOTKEY = ((Hasher.BLAKE128, ACCOUNT), (Hasher.IDENTITY, U16))
_OF_STAKER = ((Hasher.BLAKE128, ACCOUNT), (Hasher.BLAKE128, ACCOUNT), (Hasher.IDENTITY, U16))
TOTAL_HOTKEY_ALPHA = SUBTENSOR.item("TotalHotkeyAlpha", *_OF_HOTKEY, value=U64, default=0)
TOTAL_HOTKEY_ALPHA_LAST_EPOCH = SUBTENSOR.item("TotalHotkeyAlphaLastEpoch", *_OF_HOTKEY, value=U64, default=0)
TOTAL_HOTKEY_SHARES = SUBTENSOR.item("TotalHotkeyShares", *_OF_HOTKEY, value=U64F64, default={"bits": 0})
ALPHA = SUBTENSOR.item("Alpha", *_OF_STAKER, value=U64F64, default={"bits": 0})
# Who staked in this block may not unstake in it; emptied when the block ends.
STAKING_OPERATIONS = SUBTENSOR.item(
    "StakingOperationRateLimiter", *_OF_STAKER, value=BOOL, default=False, specs=ONLY_OLD
)
NO_SHARES = {"mantissa": 0, "exponent": 0}
TOTAL_HOTKEY_SHARES_V2 = SUBTENSOR.item(
    "TotalHotkeySharesV2", *_OF_HOTKEY, value=SAFE_FLOAT, default=NO_SHARES, specs=ONLY_NEW
)
ALPHA_V2 = SUBTENSOR.item("AlphaV2", *_OF_STAKER, value=SAFE_FLOAT, default=NO_SHARES, specs=ONLY_NEW)

SUBTENSOR.constants.append(
    Constant(name="DurationOfStartCall", kind=U64, value=START_CALL_DELAY_BLOCKS, specs=ONLY_OLD)
)
SUBTENSOR.constants.append(Constant(name="InitialDefaultDelegateTake", kind=U16, value=DEFAULT_TAKE))
SUBTENSOR.constants.append(Constant(name="InitialMaxRegistrationsPerBlock", kind=U16, value=1))


def subnet_exists(state: State, netuid: int) -> bool:
    return bool(NETWORKS_ADDED.get(state, netuid))


def netuids(state: State) -> list[int]:
    """All subnets but root, in the order in which the runtime walks over them."""
    return [keys[0] for keys, added in NETWORKS_ADDED.items(state) if added and keys[0] != ROOT_NETUID]


def owner_uid(state: State, netuid: int) -> int | None:
    """The uid of the hotkey that the subnet's owner named, while it is registered."""
    uid: int | None = UIDS.get(state, netuid, SUBNET_OWNER_HOTKEY.get(state, netuid))
    return uid
