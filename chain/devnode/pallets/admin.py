"""AdminUtils and Sudo: hyperparameters, set by root or, where the pallet allows it, by the subnet's owner."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chain.devnode.pallet import Context, DispatchError, Handler, Origin, Pallet, StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.scale import ACCOUNT, U16, ScaleType
from chain.devnode.substrate_types import DISPATCH_RESULT

ADMIN = Pallet(
    "AdminUtils",
    19,
    "pallet_admin_utils",
    errors=(
        "SubnetDoesNotExist",
        "MaxValidatorsLargerThanMaxUIds",
        "MaxAllowedUIdsLessThanCurrentUIds",
        "InvalidValue",
    ),
)
SUDO = Pallet("Sudo", 12, "pallet_sudo", errors=("RequireSudo",))
SUDO_KEY = SUDO.item("Key", value=ACCOUNT)
SUDO.event("Sudid", sudo_result=DISPATCH_RESULT)

Check = Callable[[Context, int, Any], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameter:
    """One setter: the storage item it writes, its argument's name, and who may call it."""

    index: int
    argument: str
    item: StorageItem
    owner: bool = False
    check: Check | None = None


def _enough_uids(context: Context, netuid: int, value: int) -> None:
    ADMIN.ensure(s.SUBNETWORK_N.get(context.state, netuid) < value, "MaxAllowedUIdsLessThanCurrentUIds")


def _within_uids(context: Context, netuid: int, value: int) -> None:
    ADMIN.ensure(value <= s.MAX_ALLOWED_UIDS.get(context.state, netuid), "MaxValidatorsLargerThanMaxUIds")


def _at_most_one_million(_context: Context, _netuid: int, value: int) -> None:
    ADMIN.ensure(value <= 1_000_000, "InvalidValue")


_H = Hyperparameter
SUBNET_SETTERS = {
    "sudo_set_weights_version_key": _H(index=6, argument="weights_version_key", item=s.WEIGHTS_VERSION_KEY, owner=True),
    "sudo_set_weights_set_rate_limit": _H(index=7, argument="weights_set_rate_limit", item=s.WEIGHTS_SET_RATE_LIMIT),
    "sudo_set_adjustment_interval": _H(index=8, argument="adjustment_interval", item=s.ADJUSTMENT_INTERVAL),
    "sudo_set_max_weight_limit": _H(index=12, argument="max_weight_limit", item=s.MAX_WEIGHTS_LIMIT, owner=True),
    "sudo_set_immunity_period": _H(index=13, argument="immunity_period", item=s.IMMUNITY_PERIOD, owner=True),
    "sudo_set_min_allowed_weights": _H(
        index=14, argument="min_allowed_weights", item=s.MIN_ALLOWED_WEIGHTS, owner=True
    ),
    "sudo_set_max_allowed_uids": _H(index=15, argument="max_allowed_uids", item=s.MAX_ALLOWED_UIDS, check=_enough_uids),
    "sudo_set_kappa": _H(index=16, argument="kappa", item=s.KAPPA),
    "sudo_set_rho": _H(index=17, argument="rho", item=s.RHO, owner=True),
    "sudo_set_activity_cutoff": _H(index=18, argument="activity_cutoff", item=s.ACTIVITY_CUTOFF, owner=True),
    "sudo_set_network_registration_allowed": _H(index=19, argument="registration_allowed", item=s.REGISTRATION_ALLOWED),
    "sudo_set_target_registrations_per_interval": _H(
        index=21, argument="target_registrations_per_interval", item=s.TARGET_REGISTRATIONS
    ),
    "sudo_set_max_allowed_validators": _H(
        index=25, argument="max_allowed_validators", item=s.MAX_ALLOWED_VALIDATORS, check=_within_uids
    ),
    "sudo_set_bonds_moving_average": _H(
        index=26,
        argument="bonds_moving_average",
        item=s.BONDS_MOVING_AVERAGE,
        owner=True,
        check=_at_most_one_million,
    ),
    "sudo_set_max_registrations_per_block": _H(
        index=27, argument="max_registrations_per_block", item=s.MAX_REGISTRATIONS_PER_BLOCK
    ),
    "sudo_set_tempo": _H(index=30, argument="tempo", item=s.TEMPO),
    "sudo_set_liquid_alpha_enabled": _H(index=50, argument="enabled", item=s.LIQUID_ALPHA_ON, owner=True),
    "sudo_set_bonds_penalty": _H(index=60, argument="bonds_penalty", item=s.BONDS_PENALTY, owner=True),
    "sudo_set_yuma3_enabled": _H(index=69, argument="enabled", item=s.YUMA3_ON, owner=True),
}
CHAIN_SETTERS = {
    "sudo_set_network_rate_limit": _H(index=29, argument="rate_limit", item=s.NETWORK_RATE_LIMIT),
    "sudo_set_network_min_lock_cost": _H(index=36, argument="lock_cost", item=s.NETWORK_MIN_LOCK_COST),
    "sudo_set_stake_threshold": _H(index=42, argument="min_stake", item=s.STAKE_THRESHOLD),
}


def _subnet_setter(rule: Hyperparameter) -> Handler:
    def handler(context: Context, origin: Origin, netuid: int, **value: Any) -> None:
        owner = rule.owner and origin.account == s.SUBNET_OWNER.get(context.state, netuid)
        if not owner:
            origin.root()
        ADMIN.ensure(s.subnet_exists(context.state, netuid), "SubnetDoesNotExist")
        if rule.check is not None:
            rule.check(context, netuid, value[rule.argument])
        rule.item.put(context.state, netuid, value[rule.argument])

    return handler


def _chain_setter(rule: Hyperparameter) -> Handler:
    def handler(context: Context, origin: Origin, **value: Any) -> None:
        origin.root()
        rule.item.put(context.state, value[rule.argument])

    return handler


def _declare_setters() -> None:
    for name, rule in SUBNET_SETTERS.items():
        ADMIN.add_call(name, rule.index, (("netuid", U16), (rule.argument, rule.item.value)), _subnet_setter(rule))
    for name, rule in CHAIN_SETTERS.items():
        ADMIN.add_call(name, rule.index, ((rule.argument, rule.item.value),), _chain_setter(rule))


_declare_setters()


def declare_sudo(call_type: ScaleType, attempt: Callable[[Context, Any], DispatchError | None]) -> None:
    """Sudo's call takes any call, so it is declared once the type of all calls is known."""

    def sudo(context: Context, origin: Origin, call: Any) -> None:
        SUDO.ensure(origin.signed() == SUDO_KEY.get(context.state), "RequireSudo")
        error = attempt(context, call)
        context.emit(SUDO, "Sudid", ("Ok", ((),)) if error is None else ("Err", (error.encoded(),)))

    SUDO.add_call("sudo", 0, (("call", call_type),), sudo)
