"""The hyperparameters that AdminUtils sets: what each writes, who may, and within which bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain.devnode.pallet import Context, Pallet, StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.subtensor import SUBTENSOR, TAO
from chain.devnode.rules import BOTH, NEW, OLD, ONLY_NEW, ONLY_OLD

_ERRORS = (
    "SubnetDoesNotExist",
    "MaxValidatorsLargerThanMaxUIds",
    "MaxAllowedUIdsLessThanCurrentUIds",
    "BondsMovingAverageMaxReached",
    "NegativeSigmoidSteepness",
)
_LATER_ERRORS = (
    "ValueNotInBounds",
    "MinAllowedUidsGreaterThanCurrentUids",
    "MinAllowedUidsGreaterThanMaxAllowedUids",
    "MaxAllowedUidsLessThanMinAllowedUids",
    "MaxAllowedUidsGreaterThanDefaultMaxAllowedUids",
    "InvalidValue",
    "NotPermittedOnRootSubnet",
    "POWRegistrationDisabled",
    "Deprecated",
)
ADMIN = Pallet("AdminUtils", 19, "pallet_admin_utils", errors=_ERRORS, later_errors=_ERRORS + _LATER_ERRORS)

OWNERS_FASTEST_BONDS = 975_000  # the slowest moving average an owner may ask for
MOST_UIDS = 256
LOWEST_MAX_BURN, HIGHEST_MIN_BURN = TAO // 10, TAO
REVEAL_PERIODS = range(1, 101)

Check = Callable[[Context, int, Any, bool], None]  # (context, netuid, value, whether the owner asks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameter:
    """One setter of a subnet's hyperparameter."""

    index: int
    argument: str
    item: StorageItem
    event: str = ""  # of SubtensorModule
    told: str = ""  # event of AdminUtils itself
    owner: tuple[int, ...] = ()  # by which rules the owner may, not only root
    limit: str = ""  # its name among those that the new rules let an owner change rarely
    window: bool = True  # the new rules forbid it shortly before an epoch
    exists: bool = True  # the subnet has to
    check: Check | None = None
    specs: tuple[int, ...] = BOTH


def _enough_uids(context: Context, netuid: int, value: int, _owner: bool) -> None:
    count = s.SUBNETWORK_N.get(context.state, netuid)
    if not context.rules.guarded_hyperparameters:
        ADMIN.ensure(count < value, "MaxAllowedUIdsLessThanCurrentUIds")
        return
    ADMIN.ensure(value >= s.MIN_ALLOWED_UIDS.get(context.state, netuid), "MaxAllowedUidsLessThanMinAllowedUids")
    ADMIN.ensure(count <= value, "MaxAllowedUIdsLessThanCurrentUIds")
    ADMIN.ensure(value <= MOST_UIDS, "MaxAllowedUidsGreaterThanDefaultMaxAllowedUids")


def _fewer_than_there_are(context: Context, netuid: int, value: int, _owner: bool) -> None:
    most = s.MAX_ALLOWED_UIDS.get(context.state, netuid)
    ADMIN.ensure(value < most, "MinAllowedUidsGreaterThanMaxAllowedUids")
    ADMIN.ensure(value < s.SUBNETWORK_N.get(context.state, netuid), "MinAllowedUidsGreaterThanCurrentUids")


def _within_uids(context: Context, netuid: int, value: int, _owner: bool) -> None:
    ADMIN.ensure(value <= s.MAX_ALLOWED_UIDS.get(context.state, netuid), "MaxValidatorsLargerThanMaxUIds")


def _not_too_slow(_context: Context, _netuid: int, value: int, owner: bool) -> None:
    ADMIN.ensure(not owner or value <= OWNERS_FASTEST_BONDS, "BondsMovingAverageMaxReached")


def _not_negative(_context: Context, _netuid: int, value: int, owner: bool) -> None:
    ADMIN.ensure(not owner or value >= 0, "NegativeSigmoidSteepness")


def _long_enough(context: Context, _netuid: int, value: int, _owner: bool) -> None:
    SUBTENSOR.ensure(value >= s.MIN_ACTIVITY_CUTOFF.get(context.state), "ActivityCutoffTooLow")


def _min_burn(context: Context, netuid: int, value: int, _owner: bool) -> None:
    if context.rules.guarded_hyperparameters:
        ADMIN.ensure(value < HIGHEST_MIN_BURN, "ValueNotInBounds")
        ADMIN.ensure(value < s.MAX_BURN.get(context.state, netuid), "ValueNotInBounds")


def _max_burn(context: Context, netuid: int, value: int, _owner: bool) -> None:
    if context.rules.guarded_hyperparameters:
        ADMIN.ensure(value > LOWEST_MAX_BURN, "ValueNotInBounds")
        ADMIN.ensure(value > s.MIN_BURN.get(context.state, netuid), "ValueNotInBounds")


def _reveal_period(context: Context, _netuid: int, value: int, _owner: bool) -> None:
    if context.rules.guarded_hyperparameters:
        SUBTENSOR.ensure(value < REVEAL_PERIODS.stop, "RevealPeriodTooLarge")
        SUBTENSOR.ensure(value >= REVEAL_PERIODS.start, "RevealPeriodTooSmall")


_H = Hyperparameter
SUBNET_SETTERS = {
    "sudo_set_serving_rate_limit": _H(
        index=3, argument="serving_rate_limit", item=s.SERVING_RATE_LIMIT, event="ServingRateLimitSet", owner=BOTH,
        limit="ServingRateLimit", exists=False,
    ),
    "sudo_set_weights_set_rate_limit": _H(
        index=7, argument="weights_set_rate_limit", item=s.WEIGHTS_SET_RATE_LIMIT, event="WeightsSetRateLimitSet",
        window=False,
    ),
    "sudo_set_adjustment_interval": _H(
        index=8, argument="adjustment_interval", item=s.ADJUSTMENT_INTERVAL, event="AdjustmentIntervalSet",
        window=False,
    ),
    "sudo_set_adjustment_alpha": _H(
        index=9, argument="adjustment_alpha", item=s.ADJUSTMENT_ALPHA, event="AdjustmentAlphaSet", owner=BOTH,
        limit="AdjustmentAlpha",
    ),
    "sudo_set_max_weight_limit": _H(
        index=12, argument="max_weight_limit", item=s.MAX_WEIGHTS_LIMIT, event="MaxWeightLimitSet", owner=BOTH,
        specs=ONLY_OLD,
    ),
    "sudo_set_immunity_period": _H(
        index=13, argument="immunity_period", item=s.IMMUNITY_PERIOD, event="ImmunityPeriodSet", owner=BOTH,
        limit="ImmunityPeriod",
    ),
    "sudo_set_min_allowed_weights": _H(
        index=14, argument="min_allowed_weights", item=s.MIN_ALLOWED_WEIGHTS, event="MinAllowedWeightSet", owner=BOTH,
        limit="MinAllowedWeights",
    ),
    "sudo_set_max_allowed_uids": _H(
        index=15, argument="max_allowed_uids", item=s.MAX_ALLOWED_UIDS, event="MaxAllowedUidsSet", owner=(NEW,),
        limit="MaxAllowedUids", check=_enough_uids,
    ),
    "sudo_set_kappa": _H(
        index=16, argument="kappa", item=s.KAPPA, event="KappaSet", owner=(OLD,), window=False
    ),
    "sudo_set_rho": _H(index=17, argument="rho", item=s.RHO, owner=BOTH, limit="Rho"),
    "sudo_set_activity_cutoff": _H(
        index=18, argument="activity_cutoff", item=s.ACTIVITY_CUTOFF, event="ActivityCutoffSet", owner=BOTH,
        limit="ActivityCutoff", check=_long_enough,
    ),
    "sudo_set_network_registration_allowed": _H(
        index=19, argument="registration_allowed", item=s.REGISTRATION_ALLOWED, event="RegistrationAllowed",
        window=False, exists=False,
    ),
    "sudo_set_target_registrations_per_interval": _H(
        index=21, argument="target_registrations_per_interval", item=s.TARGET_REGISTRATIONS,
        event="RegistrationPerIntervalSet",
    ),
    "sudo_set_min_burn": _H(
        index=22, argument="min_burn", item=s.MIN_BURN, event="MinBurnSet", owner=(NEW,), limit="MinBurn",
        check=_min_burn,
    ),
    "sudo_set_max_burn": _H(
        index=23, argument="max_burn", item=s.MAX_BURN, event="MaxBurnSet", owner=(NEW,), limit="MaxBurn",
        check=_max_burn,
    ),
    "sudo_set_max_allowed_validators": _H(
        index=25, argument="max_allowed_validators", item=s.MAX_ALLOWED_VALIDATORS, event="MaxAllowedValidatorsSet",
        check=_within_uids,
    ),
    "sudo_set_bonds_moving_average": _H(
        index=26, argument="bonds_moving_average", item=s.BONDS_MOVING_AVERAGE, event="BondsMovingAverageSet",
        owner=BOTH, limit="BondsMovingAverage", check=_not_too_slow,
    ),
    "sudo_set_max_registrations_per_block": _H(
        index=27, argument="max_registrations_per_block", item=s.MAX_REGISTRATIONS_PER_BLOCK,
        event="MaxRegistrationsPerBlockSet",
    ),
    "sudo_set_commit_reveal_weights_enabled": _H(
        index=49, argument="enabled", item=s.COMMIT_REVEAL_ON, event="CommitRevealEnabled", owner=BOTH,
        limit="CommitRevealEnabled",
    ),
    "sudo_set_liquid_alpha_enabled": _H(
        index=50, argument="enabled", item=s.LIQUID_ALPHA_ON, owner=BOTH, limit="LiquidAlphaEnabled", exists=False
    ),
    "sudo_set_commit_reveal_weights_interval": _H(
        index=57, argument="interval", item=s.REVEAL_PERIOD, event="CommitRevealPeriodsSet", owner=BOTH,
        limit="WeightCommitInterval", check=_reveal_period,
    ),
    "sudo_set_bonds_penalty": _H(
        index=60, argument="bonds_penalty", item=s.BONDS_PENALTY, event="BondsPenaltySet", owner=BOTH,
        limit="BondsPenalty",
    ),
    "sudo_set_toggle_transfer": _H(
        index=61, argument="toggle", item=s.TRANSFER_TOGGLE, event="TransferToggle", owner=BOTH,
        limit="TransferEnabled", exists=False,
    ),
    "sudo_set_subtoken_enabled": _H(
        index=66, argument="subtoken_enabled", item=s.SUBTOKEN_ENABLED, exists=False
    ),
    "sudo_set_alpha_sigmoid_steepness": _H(
        index=68, argument="steepness", item=s.ALPHA_STEEPNESS, owner=BOTH, limit="AlphaSigmoidSteepness",
        check=_not_negative,
    ),
    "sudo_set_yuma3_enabled": _H(
        index=69, argument="enabled", item=s.YUMA3_ON, told="Yuma3EnableToggled", owner=BOTH, limit="Yuma3Enabled",
        exists=False,
    ),
    "sudo_set_bonds_reset_enabled": _H(
        index=70, argument="enabled", item=s.BONDS_RESET_ON, event="BondsResetOnSet", told="BondsResetToggled",
        owner=BOTH, limit="BondsResetEnabled", exists=False,
    ),
    "sudo_set_min_allowed_uids": _H(
        index=79, argument="min_allowed_uids", item=s.MIN_ALLOWED_UIDS, event="MinAllowedUidsSet",
        check=_fewer_than_there_are, specs=ONLY_NEW,
    ),
    "sudo_set_min_non_immune_uids": _H(
        index=84, argument="min", item=s.MIN_NON_IMMUNE_UIDS, event="MinNonImmuneUidsSet", window=False, exists=False,
        specs=ONLY_NEW,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainParameter:
    """One setter of what holds for all subnets; root's."""

    index: int
    argument: str
    item: StorageItem
    event: str
    specs: tuple[int, ...] = BOTH


_C = ChainParameter
CHAIN_SETTERS = {
    "sudo_set_subnet_owner_cut": _C(
        index=28, argument="subnet_owner_cut", item=s.SUBNET_OWNER_CUT, event="SubnetOwnerCutSet"
    ),
    "sudo_set_network_rate_limit": _C(
        index=29, argument="rate_limit", item=s.NETWORK_RATE_LIMIT, event="NetworkRateLimitSet"
    ),
    "sudo_set_network_min_lock_cost": _C(
        index=36, argument="lock_cost", item=s.NETWORK_MIN_LOCK_COST, event="NetworkMinLockCostSet"
    ),
    "sudo_set_lock_reduction_interval": _C(
        index=38, argument="interval", item=s.NETWORK_LOCK_REDUCTION, event="NetworkLockCostReductionIntervalSet"
    ),
    "sudo_set_stake_threshold": _C(index=42, argument="min_stake", item=s.STAKE_THRESHOLD, event="StakeThresholdSet"),
    "sudo_set_commit_reveal_version": _C(
        index=71, argument="version", item=s.COMMIT_REVEAL_VERSION, event="CommitRevealVersionSet", specs=ONLY_NEW
    ),
    "sudo_set_admin_freeze_window": _C(
        index=74, argument="window", item=s.ADMIN_FREEZE_WINDOW, event="AdminFreezeWindowSet", specs=ONLY_NEW
    ),
    "sudo_set_owner_hparam_rate_limit": _C(
        index=75, argument="epochs", item=s.OWNER_RATE_LIMIT, event="OwnerHyperparamRateLimitSet", specs=ONLY_NEW
    ),
    "sudo_set_start_call_delay": _C(
        index=85, argument="delay", item=s.START_CALL_DELAY, event="StartCallDelaySet", specs=ONLY_NEW
    ),
    "sudo_set_max_epochs_per_block": _C(
        index=96, argument="max_epochs_per_block", item=s.MAX_EPOCHS_PER_BLOCK, event="MaxEpochsPerBlockSet",
        specs=ONLY_NEW,
    ),
}  # fmt: skip
