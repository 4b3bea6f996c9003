"""AdminUtils and Sudo: hyperparameters, set by root or, where the pallet allows it, by the subnet's owner."""

from collections.abc import Callable
from typing import Any

from chain.devnode.pallet import Context, DispatchError, Handler, Origin, Pallet
from chain.devnode.pallets import limits
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.hyperparameters import ADMIN, CHAIN_SETTERS, SUBNET_SETTERS, ChainParameter, Hyperparameter
from chain.devnode.pallets.owner import ensure_owner_or_root, restart_tempo
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.rules import NEW, OLD, Rules
from chain.devnode.scale import ACCOUNT, BOOL, U16, U64, ScaleType
from chain.devnode.substrate_types import DISPATCH_RESULT, U64F64

SUDO = Pallet("Sudo", 12, "pallet_sudo", errors=("RequireSudo",))
SUDO_KEY = SUDO.item("Key", value=ACCOUNT)
SUDO.event("Sudid", 0, 0, sudo_result=DISPATCH_RESULT)
ADMIN.event("Yuma3EnableToggled", 1, 1, netuid=U16, enabled=BOOL)
ADMIN.event("BondsResetToggled", 2, 2, netuid=U16, enabled=BOOL)
ADMIN.event("BurnHalfLifeSet", None, 3, netuid=U16, burn_half_life=U16)
ADMIN.event("BurnIncreaseMultSet", None, 4, netuid=U16, burn_increase_mult=U64F64)

LOWEST_ALPHA = 1638  # of 65535: 0.025
LONGEST_HALF_LIFE = 36_100
ONE = 1 << 64


def _ensure_subnet(context: Context, netuid: int) -> None:
    ADMIN.ensure(s.subnet_exists(context.state, netuid), "SubnetDoesNotExist")


def _begin(context: Context, origin: Origin, netuid: int, limit: str) -> bool:
    """The checks that an owner's setters share; whether it is the owner who asks."""
    is_owner = ensure_owner_or_root(context, origin, netuid)
    if is_owner and limit:
        limits.ensure_not_too_often(context, netuid, limit)
    limits.ensure_window(context, netuid)
    return is_owner


def _end(context: Context, netuid: int, limit: str, is_owner: bool) -> None:
    if is_owner and limit:
        limits.record(context, netuid, limit)


def _subnet_setter(rule: Hyperparameter) -> Handler:
    def handler(context: Context, origin: Origin, netuid: int, **values: Any) -> None:
        value = values[rule.argument]
        is_owner = False
        if context.rules.spec_version in rule.owner:
            is_owner = _begin(context, origin, netuid, rule.limit)
        else:
            origin.root()
            if rule.window:
                limits.ensure_window(context, netuid)
        if rule.exists:
            _ensure_subnet(context, netuid)
        if rule.check is not None:
            rule.check(context, netuid, value, is_owner)
        rule.item.put(context.state, netuid, value)
        if rule.event:
            context.emit(SUBTENSOR, rule.event, netuid, value)
        if rule.told:
            context.emit(ADMIN, rule.told, netuid, value)
        _end(context, netuid, rule.limit, is_owner)

    return handler


def _chain_setter(rule: ChainParameter) -> Handler:
    def handler(context: Context, origin: Origin, **values: Any) -> None:
        origin.root()
        rule.item.put(context.state, values[rule.argument])
        context.emit(SUBTENSOR, rule.event, values[rule.argument])

    return handler


def _declare_setters() -> None:
    for name, rule in SUBNET_SETTERS.items():
        arguments = (("netuid", U16), (rule.argument, rule.item.value))
        ADMIN.add_call(name, rule.index, arguments, _subnet_setter(rule), rule.specs)
    for name, chain_rule in CHAIN_SETTERS.items():
        argument = (chain_rule.argument, chain_rule.item.value)
        ADMIN.add_call(name, chain_rule.index, (argument,), _chain_setter(chain_rule), chain_rule.specs)


_declare_setters()


@ADMIN.call(6, netuid=U16, weights_version_key=U64)
def sudo_set_weights_version_key(context: Context, origin: Origin, netuid: int, weights_version_key: int) -> None:
    """Limited in all runtimes, in the old one checked after everything else."""
    is_owner, who = ensure_owner_or_root(context, origin, netuid), origin.account
    guarded = context.rules.guarded_hyperparameters
    if is_owner and who is not None and guarded:
        limits.ensure_transaction(context, who, netuid, limits.VERSION_KEY)
    limits.ensure_window(context, netuid)
    _ensure_subnet(context, netuid)
    if is_owner and who is not None:
        limits.ensure_transaction(context, who, netuid, limits.VERSION_KEY)
        limits.record_transaction(context, who, netuid, limits.VERSION_KEY)
    s.WEIGHTS_VERSION_KEY.put(context.state, netuid, weights_version_key)
    context.emit(SUBTENSOR, "WeightsVersionKeySet", netuid, weights_version_key)


@ADMIN.call(20, OLD, netuid=U16, registration_allowed=BOOL)
def sudo_set_network_pow_registration_allowed(
    context: Context, origin: Origin, netuid: int, registration_allowed: bool
) -> None:
    ensure_owner_or_root(context, origin, netuid)
    s.POW_REGISTRATION_ALLOWED.put(context.state, netuid, registration_allowed)
    context.emit(SUBTENSOR, "PowRegistrationAllowed", netuid, registration_allowed)


@ADMIN.call(30, netuid=U16, tempo=U16)
def sudo_set_tempo(context: Context, origin: Origin, netuid: int, tempo: int) -> None:
    origin.root()
    limits.ensure_window(context, netuid)
    _ensure_subnet(context, netuid)
    restart_tempo(context, netuid, tempo)


@ADMIN.call(51, netuid=U16, alpha_low=U16, alpha_high=U16)
def sudo_set_alpha_values(context: Context, origin: Origin, netuid: int, alpha_low: int, alpha_high: int) -> None:
    is_owner = _begin(context, origin, netuid, "AlphaValues")
    if not context.rules.guarded_hyperparameters:
        origin.signed()
    SUBTENSOR.ensure(s.LIQUID_ALPHA_ON.get(context.state, netuid), "LiquidAlphaDisabled")
    SUBTENSOR.ensure(alpha_high >= LOWEST_ALPHA, "AlphaHighTooLow")
    SUBTENSOR.ensure(LOWEST_ALPHA <= alpha_low <= alpha_high, "AlphaLowOutOfRange")
    s.ALPHA_VALUES.put(context.state, netuid, (alpha_low, alpha_high))
    _end(context, netuid, "AlphaValues", is_owner)


@ADMIN.call(89, NEW, netuid=U16, burn_half_life=U16)
def sudo_set_burn_half_life(context: Context, origin: Origin, netuid: int, burn_half_life: int) -> None:
    is_owner = _begin(context, origin, netuid, "BurnHalfLife")
    _ensure_subnet(context, netuid)
    ADMIN.ensure(netuid != s.ROOT_NETUID, "NotPermittedOnRootSubnet")
    ADMIN.ensure(0 < burn_half_life <= LONGEST_HALF_LIFE, "InvalidValue")
    s.BURN_HALF_LIFE.put(context.state, netuid, burn_half_life)
    context.emit(ADMIN, "BurnHalfLifeSet", netuid, burn_half_life)
    _end(context, netuid, "BurnHalfLife", is_owner)


@ADMIN.call(90, NEW, netuid=U16, burn_increase_mult=U64F64)
def sudo_set_burn_increase_mult(
    context: Context, origin: Origin, netuid: int, burn_increase_mult: dict[str, int]
) -> None:
    is_owner = _begin(context, origin, netuid, "BurnIncreaseMult")
    _ensure_subnet(context, netuid)
    ADMIN.ensure(netuid != s.ROOT_NETUID, "NotPermittedOnRootSubnet")
    ADMIN.ensure(ONE <= burn_increase_mult["bits"] <= 3 * ONE, "InvalidValue")
    s.BURN_INCREASE.put(context.state, netuid, burn_increase_mult)
    context.emit(ADMIN, "BurnIncreaseMultSet", netuid, burn_increase_mult)
    _end(context, netuid, "BurnIncreaseMult", is_owner)


@ADMIN.call(92, NEW, netuid=U16, enabled=BOOL)
def sudo_set_owner_cut_enabled(context: Context, origin: Origin, netuid: int, enabled: bool) -> None:
    _begin(context, origin, netuid, "")
    _ensure_subnet(context, netuid)
    ADMIN.ensure(netuid != s.ROOT_NETUID, "NotPermittedOnRootSubnet")
    s.OWNER_CUT_ENABLED.put(context.state, netuid, enabled)


def declare_sudo(rules: Rules, call_type: ScaleType, attempt: Callable[[Context, Any], DispatchError | None]) -> None:
    """Sudo's call takes any call, so it is declared once the type of all calls is known."""

    def sudo(context: Context, origin: Origin, call: Any) -> None:
        SUDO.ensure(origin.signed() == SUDO_KEY.get(context.state), "RequireSudo")
        error = attempt(context, call)
        context.emit(SUDO, "Sudid", ("Ok", ((),)) if error is None else ("Err", (error.encoded(),)))

    SUDO.add_call("sudo", 0, (("call", call_type),), sudo, (rules.spec_version,))
