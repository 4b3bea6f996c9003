"""SubtensorModule's events, each with its place in the old and in the new runtime."""

from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.scale import ACCOUNT, BOOL, H256, I16, U8, U16, U32, U64, Compact, ScaleType, Vec
from chain.devnode.substrate_types import DISPATCH_ERROR

SUBTENSOR.event("NetworkAdded", 0, 0, U16, U16)
SUBTENSOR.event("StakeAdded", 2, 2, ACCOUNT, ACCOUNT, U64, U64, U16, U64)
SUBTENSOR.event("StakeRemoved", 3, 3, ACCOUNT, ACCOUNT, U64, U64, U16, U64)
SUBTENSOR.event("WeightsSet", 5, 5, U16, U16)
SUBTENSOR.event("NeuronRegistered", 6, 6, U16, U16, ACCOUNT)
SUBTENSOR.event("AxonServed", 28, 28, U16, ACCOUNT)
SUBTENSOR.event("PrometheusServed", 29, 29, U16, ACCOUNT)
SUBTENSOR.event("CRV3WeightsCommitted", 77, 84, ACCOUNT, U16, H256)
SUBTENSOR.event("WeightsCommitted", 78, 85, ACCOUNT, U16, H256)
SUBTENSOR.event("WeightsRevealed", 79, 86, ACCOUNT, U16, H256)
SUBTENSOR.event("WeightsBatchRevealed", 80, 87, ACCOUNT, U16, Vec(H256))
SUBTENSOR.event("BatchWeightsCompleted", 81, 88, Vec(Compact(U16)), ACCOUNT)
SUBTENSOR.event("BatchCompletedWithErrors", 82, 89)
SUBTENSOR.event("SubnetOwnerHotkeySet", 87, 94, U16, ACCOUNT)
SUBTENSOR.event("FirstEmissionBlockNumberSet", 88, 95, U16, U64)
SUBTENSOR.event("CRV3WeightsRevealed", 92, 99, U16, ACCOUNT)
SUBTENSOR.event("TimelockedWeightsCommitted", None, 107, ACCOUNT, U16, H256, U64)
SUBTENSOR.event("TimelockedWeightsRevealed", None, 108, U16, ACCOUNT)
SUBTENSOR.event("IncentiveAlphaEmittedToMiners", None, 110, netuid=U16, emissions=Vec(U64))
SUBTENSOR.event("ActivityCutoffFactorMilliSet", None, 130, netuid=U16, factor_milli=U32)
SUBTENSOR.event("EpochTriggered", None, 131, netuid=U16, by=ACCOUNT, fires_at=U64)
SUBTENSOR.event("EpochDeferred", None, 132, netuid=U16, from_block=U64, to_block=U64)

# The new one says in which subnet an item of a batch failed.
SUBTENSOR.event("BatchWeightItemFailed", 83, None, DISPATCH_ERROR)
SUBTENSOR.event("BatchWeightItemFailed", None, 90, U16, DISPATCH_ERROR)

# What a hyperparameter was set to.
_OF_SUBNET: tuple[tuple[str, int | None, int | None, ScaleType], ...] = (
    ("MaxAllowedUidsSet", 9, 9, U16),
    ("MaxWeightLimitSet", 10, 10, U16),
    ("DifficultySet", 11, 11, U64),
    ("AdjustmentIntervalSet", 12, 12, U16),
    ("RegistrationPerIntervalSet", 13, 13, U16),
    ("MaxRegistrationsPerBlockSet", 14, 14, U16),
    ("ActivityCutoffSet", 15, 15, U16),
    ("AlphaSigmoidSteepnessSet", 17, 17, I16),
    ("KappaSet", 18, 18, U16),
    ("MinAllowedWeightSet", 19, 19, U16),
    ("WeightsSetRateLimitSet", 22, 22, U64),
    ("ImmunityPeriodSet", 23, 23, U16),
    ("BondsMovingAverageSet", 24, 24, U64),
    ("BondsPenaltySet", 25, 25, U16),
    ("BondsResetOnSet", 26, 26, BOOL),
    ("MaxAllowedValidatorsSet", 27, 27, U16),
    ("WeightsVersionKeySet", 32, 32, U64),
    ("MinDifficultySet", 33, 33, U64),
    ("MaxDifficultySet", 34, 34, U64),
    ("ServingRateLimitSet", 35, 35, U64),
    ("MaxBurnSet", 37, 37, U64),
    ("MinBurnSet", 38, 38, U64),
    ("RegistrationAllowed", 46, 50, BOOL),
    ("PowRegistrationAllowed", 47, 51, BOOL),
    ("TempoSet", 48, 52, U16),
    ("RAORecycledForRegistrationSet", 49, 53, U64),
    ("AdjustmentAlphaSet", 52, 55, U64),
    ("TransferToggle", 86, 93, BOOL),
    ("CommitRevealPeriodsSet", 93, 100, U64),
    ("CommitRevealEnabled", 94, 101, BOOL),
    ("MinAllowedUidsSet", None, 111, U16),
    ("MinNonImmuneUidsSet", None, 113, U16),
)
_OF_CHAIN: tuple[tuple[str, int | None, int | None, ScaleType], ...] = (
    ("StakeThresholdSet", 50, 54, U64),
    ("SubnetOwnerCutSet", 54, 57, U16),
    ("NetworkRateLimitSet", 55, 58, U64),
    ("NetworkMinLockCostSet", 57, 61, U64),
    ("NetworkLockCostReductionIntervalSet", 58, 63, U64),
    ("StartCallDelaySet", None, 60, U64),
    ("MaxEpochsPerBlockSet", None, 39, U8),
    ("AdminFreezeWindowSet", None, 43, U16),
    ("OwnerHyperparamRateLimitSet", None, 44, U16),
    ("CommitRevealVersionSet", None, 106, U16),
)
for _name, _old, _new, _kind in _OF_SUBNET:
    SUBTENSOR.event(_name, _old, _new, U16, _kind)
for _name, _old, _new, _kind in _OF_CHAIN:
    SUBTENSOR.event(_name, _old, _new, _kind)
