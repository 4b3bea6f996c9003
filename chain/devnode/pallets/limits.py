"""How often an owner may change a hyperparameter, and when nobody may: the new rules guard both."""

from chain.devnode.pallet import Context, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.schedule import blocks_until_next
from chain.devnode.pallets.subtensor import SUBTENSOR

VERSION_KEY = 4  # the runtime's numbers of transactions that are limited by themselves
TEMPO = 11
SHORTEST_TEMPO = 360


def ensure_window(context: Context, netuid: int) -> None:
    """Refuses in the last blocks before an epoch, and while one is asked for."""
    state, block = context.state, context.block
    if not context.rules.guarded_hyperparameters or s.TEMPO.get(state, netuid) == 0:
        return
    asked = s.PENDING_EPOCH_AT.get(state, netuid) > block
    soon = blocks_until_next(state, netuid, block) < s.ADMIN_FREEZE_WINDOW.get(state)
    SUBTENSOR.ensure(not asked and not soon, "AdminActionProhibitedDuringWeightsWindow")


def ensure_not_too_often(context: Context, netuid: int, hyperparameter: str) -> None:
    if not context.rules.guarded_hyperparameters:
        return
    limit = int(s.TEMPO.get(context.state, netuid)) * int(s.OWNER_RATE_LIMIT.get(context.state))
    _ensure_elapsed(context, s.LAST_RATE_LIMITED_BLOCK.get(context.state, _key(netuid, hyperparameter)), limit)


def record(context: Context, netuid: int, hyperparameter: str) -> None:
    if context.rules.guarded_hyperparameters:
        s.LAST_RATE_LIMITED_BLOCK.put(context.state, _key(netuid, hyperparameter), context.block)


def ensure_transaction(context: Context, who: bytes, netuid: int, transaction: int) -> None:
    last = s.TRANSACTION_LAST_BLOCK.get(context.state, who, netuid, transaction)
    _ensure_elapsed(context, last, _limit(context.state, netuid, transaction))


def record_transaction(context: Context, who: bytes, netuid: int, transaction: int) -> None:
    s.TRANSACTION_LAST_BLOCK.put(context.state, who, netuid, transaction, context.block)


def _limit(state: State, netuid: int, transaction: int) -> int:
    if transaction == TEMPO:
        return SHORTEST_TEMPO
    return int(s.TEMPO.get(state, netuid)) * int(s.WEIGHTS_VERSION_KEY_RATE_LIMIT.get(state))


def _key(netuid: int, hyperparameter: str) -> tuple[str, tuple[object, ...]]:
    return "OwnerHyperparamUpdate", (netuid, (hyperparameter, ()))


def _ensure_elapsed(context: Context, last: int, limit: int) -> None:
    SUBTENSOR.ensure(last == 0 or context.block - last >= limit, "TxRateLimitExceeded")
