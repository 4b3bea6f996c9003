"""SubtensorModule's storage, events and errors; its calls stand in the modules named after what they do."""

from chain.devnode.pallet import Constant, Hasher, Pallet, State, StorageItem
from chain.devnode.scale import ACCOUNT, BOOL, U16, U64, ScaleType, Tuple, Vec
from chain.devnode.substrate_types import U64F64, UID_WEIGHTS

ROOT_NETUID = 0
TAO = 10**9  # rao
NOBODY = bytes(32)
START_CALL_DELAY_BLOCKS = 10
MIN_STAKE_RAO = 500_000
OWNER_CUT = 11_796  # of 65535, 18 %
DEFAULT_TAKE = 11_796

SUBTENSOR = Pallet(
    "SubtensorModule",
    7,
    "pallet_subtensor",
    errors=(
        "HotKeyNotRegisteredInSubNet",
        "HotKeyAccountNotExists",
        "NonAssociatedColdKey",
        "NotEnoughStakeToWithdraw",
        "NotEnoughStakeToSetWeights",
        "NotEnoughBalanceToStake",
        "NeuronNoValidatorPermit",
        "WeightVecNotEqualSize",
        "DuplicateUids",
        "UidVecContainInvalidOne",
        "WeightVecLengthIsLow",
        "TooManyRegistrationsThisBlock",
        "HotKeyAlreadyRegisteredInSubNet",
        "MaxWeightExceeded",
        "SettingWeightsTooFast",
        "IncorrectWeightVersionKey",
        "UidsLengthExceedUidsInSubNet",
        "NetworkTxRateLimitExceeded",
        "SubNetRegistrationDisabled",
        "TooManyRegistrationsThisInterval",
        "NotSubnetOwner",
        "RegistrationNotPermittedOnRootSubnet",
        "CanNotSetRootNetworkWeights",
        "NoNeuronIdAvailable",
        "SubnetNotExists",
        "AmountTooLow",
        "FirstEmissionBlockNumberAlreadySet",
        "NeedWaitingMoreBlocksToStarCall",
        "SubtokenDisabled",
        "CannotAffordLockCost",
    ),
)


def _by_subnet(name: str, value: ScaleType, default: object = None) -> StorageItem:
    return SUBTENSOR.item(name, (Hasher.IDENTITY, U16), value=value, default=default)


def _by_uid(name: str, value: ScaleType, default: object = None) -> StorageItem:
    return SUBTENSOR.item(name, (Hasher.IDENTITY, U16), (Hasher.IDENTITY, U16), value=value, default=default)


# Subnets.
TOTAL_NETWORKS = SUBTENSOR.item("TotalNetworks", value=U16, default=0)
NETWORKS_ADDED = _by_subnet("NetworksAdded", BOOL, False)
NETWORK_REGISTERED_AT = _by_subnet("NetworkRegisteredAt", U64, 0)
NETWORK_LAST_REGISTERED = SUBTENSOR.item("NetworkLastRegistered", value=U64, default=0)
NETWORK_RATE_LIMIT = SUBTENSOR.item("NetworkRateLimit", value=U64, default=7200)
NETWORK_MIN_LOCK_COST = SUBTENSOR.item("NetworkMinLockCost", value=U64, default=1000 * TAO)
SUBNET_OWNER = _by_subnet("SubnetOwner", ACCOUNT, NOBODY)
SUBNET_OWNER_HOTKEY = _by_subnet("SubnetOwnerHotkey", ACCOUNT, NOBODY)
FIRST_EMISSION_BLOCK = _by_subnet("FirstEmissionBlockNumber", U64)
SUBTOKEN_ENABLED = _by_subnet("SubtokenEnabled", BOOL, False)

# Hyperparameters, with what a new subnet starts from.
TEMPO = _by_subnet("Tempo", U16, 360)
KAPPA = _by_subnet("Kappa", U16, 32_767)
RHO = _by_subnet("Rho", U16, 10)
IMMUNITY_PERIOD = _by_subnet("ImmunityPeriod", U16, 5000)
MIN_ALLOWED_WEIGHTS = _by_subnet("MinAllowedWeights", U16, 1)
MAX_WEIGHTS_LIMIT = _by_subnet("MaxWeightsLimit", U16, 65_535)
WEIGHTS_SET_RATE_LIMIT = _by_subnet("WeightsSetRateLimit", U64, 100)
WEIGHTS_VERSION_KEY = _by_subnet("WeightsVersionKey", U64, 0)
ACTIVITY_CUTOFF = _by_subnet("ActivityCutoff", U16, 5000)
MAX_ALLOWED_UIDS = _by_subnet("MaxAllowedUids", U16, 256)
MAX_ALLOWED_VALIDATORS = _by_subnet("MaxAllowedValidators", U16, 64)
BONDS_MOVING_AVERAGE = _by_subnet("BondsMovingAverage", U64, 900_000)
BONDS_PENALTY = _by_subnet("BondsPenalty", U16, 65_535)
LIQUID_ALPHA_ON = _by_subnet("LiquidAlphaOn", BOOL, False)
YUMA3_ON = _by_subnet("Yuma3On", BOOL, False)
ALPHA_VALUES = _by_subnet("AlphaValues", Tuple((U16, U16)), (45_875, 58_982))
ALPHA_STEEPNESS = _by_subnet("AlphaSigmoidSteepness", U16, 1000)
STAKE_THRESHOLD = SUBTENSOR.item("StakeThreshold", value=U64, default=0)

# Registration.
BURN = _by_subnet("Burn", U64, TAO // 10)
REGISTRATION_ALLOWED = _by_subnet("NetworkRegistrationAllowed", BOOL, True)
MAX_REGISTRATIONS_PER_BLOCK = _by_subnet("MaxRegistrationsPerBlock", U16, 1)
TARGET_REGISTRATIONS = _by_subnet("TargetRegistrationsPerInterval", U16, 1)
ADJUSTMENT_INTERVAL = _by_subnet("AdjustmentInterval", U16, 360)
LAST_ADJUSTMENT_BLOCK = _by_subnet("LastAdjustmentBlock", U64, 0)
REGISTRATIONS_THIS_BLOCK = _by_subnet("RegistrationsThisBlock", U16, 0)
REGISTRATIONS_THIS_INTERVAL = _by_subnet("RegistrationsThisInterval", U16, 0)
RAO_BURNED = _by_subnet("RAORecycledForRegistration", U64, 0)

# Neurons.
SUBNETWORK_N = _by_subnet("SubnetworkN", U16, 0)
KEYS = _by_uid("Keys", ACCOUNT, NOBODY)
UIDS = SUBTENSOR.item("Uids", (Hasher.IDENTITY, U16), (Hasher.BLAKE128, ACCOUNT), value=U16)
BLOCK_AT_REGISTRATION = _by_uid("BlockAtRegistration", U64, 0)
WEIGHTS = _by_uid("Weights", UID_WEIGHTS, [])
BONDS = _by_uid("Bonds", UID_WEIGHTS, [])
OWNER = SUBTENSOR.item("Owner", (Hasher.BLAKE128, ACCOUNT), value=ACCOUNT, default=NOBODY)
OWNED_HOTKEYS = SUBTENSOR.item("OwnedHotkeys", (Hasher.BLAKE128, ACCOUNT), value=Vec(ACCOUNT), default=[])
IS_NETWORK_MEMBER = SUBTENSOR.item(
    "IsNetworkMember", (Hasher.BLAKE128, ACCOUNT), (Hasher.IDENTITY, U16), value=BOOL, default=False
)

# One entry a uid, rewritten by every epoch.
ACTIVE = _by_subnet("Active", Vec(BOOL), [])
RANK = _by_subnet("Rank", Vec(U16), [])
TRUST = _by_subnet("Trust", Vec(U16), [])
CONSENSUS = _by_subnet("Consensus", Vec(U16), [])
INCENTIVE = _by_subnet("Incentive", Vec(U16), [])
DIVIDENDS = _by_subnet("Dividends", Vec(U16), [])
EMISSION = _by_subnet("Emission", Vec(U64), [])
VALIDATOR_TRUST = _by_subnet("ValidatorTrust", Vec(U16), [])
VALIDATOR_PERMIT = _by_subnet("ValidatorPermit", Vec(BOOL), [])
PRUNING_SCORES = _by_subnet("PruningScores", Vec(U16), [])
STAKE_WEIGHT = _by_subnet("StakeWeight", Vec(U16), [])
LAST_UPDATE = _by_subnet("LastUpdate", Vec(U64), [])

# Emission and epochs.
PENDING_EMISSION = _by_subnet("PendingEmission", U64, 0)
PENDING_OWNER_CUT = _by_subnet("PendingOwnerCut", U64, 0)
BLOCKS_SINCE_LAST_STEP = _by_subnet("BlocksSinceLastStep", U64, 0)
LAST_STEP_BLOCK = _by_subnet("LastMechansimStepBlock", U64, 0)
LAST_EPOCH_BLOCK = _by_subnet("LastEpochBlock", U64, 0)

# Stake: alpha of a hotkey on a subnet, and who owns which share of it.
TOTAL_HOTKEY_ALPHA = SUBTENSOR.item(
    "TotalHotkeyAlpha", (Hasher.BLAKE128, ACCOUNT), (Hasher.IDENTITY, U16), value=U64, default=0
)
TOTAL_HOTKEY_SHARES = SUBTENSOR.item(
    "TotalHotkeyShares", (Hasher.BLAKE128, ACCOUNT), (Hasher.IDENTITY, U16), value=U64F64, default={"bits": 0}
)
ALPHA = SUBTENSOR.item(
    "Alpha",
    (Hasher.BLAKE128, ACCOUNT),
    (Hasher.BLAKE128, ACCOUNT),
    (Hasher.IDENTITY, U16),
    value=U64F64,
    default={"bits": 0},
)

SUBTENSOR.event("NetworkAdded", U16, U16)
SUBTENSOR.event("StakeAdded", ACCOUNT, ACCOUNT, U64, U64, U16, U64)
SUBTENSOR.event("StakeRemoved", ACCOUNT, ACCOUNT, U64, U64, U16, U64)
SUBTENSOR.event("WeightsSet", U16, U16)
SUBTENSOR.event("NeuronRegistered", U16, U16, ACCOUNT)
SUBTENSOR.event("FirstEmissionBlockNumberSet", U16, U64)

SUBTENSOR.constants.append(Constant(name="DurationOfStartCall", kind=U64, value=START_CALL_DELAY_BLOCKS))
SUBTENSOR.constants.append(Constant(name="InitialDefaultDelegateTake", kind=U16, value=DEFAULT_TAKE))
SUBTENSOR.constants.append(Constant(name="InitialMaxRegistrationsPerBlock", kind=U16, value=1))


def subnet_exists(state: State, netuid: int) -> bool:
    return bool(NETWORKS_ADDED.get(state, netuid))


def netuids(state: State) -> list[int]:
    """All subnets but root, in order."""
    return sorted(keys[0] for keys, added in NETWORKS_ADDED.items(state) if added and keys[0] != ROOT_NETUID)
