"""What the runtime asks of a call before the pool takes it, and again before a block does: its transaction extension.

A call that fails here is in no block: its sender is told `Custom error: N` instead of the pallet's error.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chain.devnode.pallet import DispatchError, State, rules_of
from chain.devnode.pallets import serving, staking
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.commit_reveal import can_reveal, commit_hash, commits_of
from chain.devnode.pallets.drand import LAST_STORED_ROUND
from chain.devnode.pallets.registration import is_interval_full, may_register_network
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.pallets.weights import has_stake_to_weigh, may_update
from chain.devnode.rules import NEW, OLD
from chain.devnode.runtime import RuntimeCall

Arguments = Mapping[str, Any]
Check = Callable[[State, int, bytes, Arguments], None]  # (state, block, signer, arguments)

# The numbers of the runtime's CustomTransactionError, by the pallet's errors.
CODES = {
    "AmountTooLow": 1,
    "NotEnoughStakeToSetWeights": 1,
    "NotEnoughBalanceToStake": 2,
    "SubnetNotExists": 3,
    "HotKeyAccountNotExists": 4,
    "NotEnoughStakeToWithdraw": 5,
    "TooManyRegistrationsThisInterval": 6,
    "CommittingWeightsTooFast": 6,
    "SettingWeightsTooFast": 6,
    "NetworkTxRateLimitExceeded": 6,
    "HotKeyNotRegisteredInNetwork": 10,
    "InvalidIpAddress": 11,
    "ServingRateLimitExceeded": 12,
    "InvalidPort": 13,
    "InvalidRevealRound": 15,
    "NoWeightsCommitFound": 16,
    "RevealTooEarly": 17,
    "InputLengthsUnequal": 18,
}
BAD_REQUEST = 255


def refusal(state: State, block: int, signer: bytes, call: RuntimeCall) -> int | None:
    """The number of the error that keeps a call out of the pool or the block; None for one that may come in."""
    if call.pallet is not SUBTENSOR:
        return None
    try:
        for check in CHECKS[rules_of(state).spec_version].get(call.call.name, ()):
            check(state, block, signer, call.arguments)
    except DispatchError as error:
        return CODES.get(error.name, BAD_REQUEST)
    return None


def _stake(state: State, _block: int, signer: bytes, arguments: Arguments) -> None:
    netuids = arguments["netuids"] if "netuids" in arguments else [arguments["netuid"]]
    enough = all(has_stake_to_weigh(state, netuid, signer) for netuid in netuids)
    SUBTENSOR.ensure(enough, "NotEnoughStakeToSetWeights")


def _equal_lengths(_state: State, _block: int, _signer: bytes, arguments: Arguments) -> None:
    lengths = {len(value) for value in arguments.values() if isinstance(value, list)}
    SUBTENSOR.ensure(len(lengths) == 1, "InputLengthsUnequal")


def _ensure_revealable(
    state: State,
    block: int,
    signer: bytes,
    netuid: int,
    mecid: int,
    *shown: tuple[list[int], list[int], list[int], int],
) -> None:
    commits = commits_of(state, netuid, signer) if mecid == 0 else []
    for weights in shown:
        digest = commit_hash(signer, netuid, *weights)
        found = next((commit for commit in commits if commit[0] == digest), None)
        if found is None:
            raise SUBTENSOR.fail("NoWeightsCommitFound")
        SUBTENSOR.ensure(can_reveal(state, netuid, block, found), "RevealTooEarly")


def _reveal(state: State, block: int, signer: bytes, arguments: Arguments) -> None:
    shown = (arguments["uids"], arguments["values"], arguments["salt"], arguments["version_key"])
    _ensure_revealable(state, block, signer, arguments["netuid"], arguments.get("mecid", 0), shown)


def _batch_reveal(state: State, block: int, signer: bytes, arguments: Arguments) -> None:
    names = ("uids_list", "values_list", "salts_list", "version_keys")
    shown = zip(*(arguments[name] for name in names), strict=True)
    _ensure_revealable(state, block, signer, arguments["netuid"], 0, *shown)


def _round(state: State, _block: int, _signer: bytes, arguments: Arguments) -> None:
    SUBTENSOR.ensure(arguments["reveal_round"] >= LAST_STORED_ROUND.get(state), "InvalidRevealRound")


def _rate(error: str) -> Check:
    def check(state: State, block: int, signer: bytes, arguments: Arguments) -> None:
        netuid = arguments["netuid"]
        limited = error == "CommittingWeightsTooFast" or not s.COMMIT_REVEAL_ON.get(state, netuid)
        if limited and s.UIDS.has(state, netuid, signer):
            uid = int(s.UIDS.get(state, netuid, signer))
            SUBTENSOR.ensure(may_update(state, netuid, uid, block), error)

    return check


def _network_rate(state: State, block: int, _signer: bytes, _arguments: Arguments) -> None:
    SUBTENSOR.ensure(may_register_network(state, block), "NetworkTxRateLimitExceeded")


def _interval(state: State, _block: int, _signer: bytes, arguments: Arguments) -> None:
    SUBTENSOR.ensure(not is_interval_full(state, arguments["netuid"]), "TooManyRegistrationsThisInterval")


def _add_stake(state: State, _block: int, signer: bytes, arguments: Arguments) -> None:
    staking.check_add(state, signer, arguments["hotkey"], arguments["netuid"], arguments["amount_staked"])


def _remove_stake(state: State, _block: int, signer: bytes, arguments: Arguments) -> None:
    staking.check_remove(state, signer, arguments["hotkey"], arguments["netuid"], arguments["amount_unstaked"])


def _served(check: Callable[[State, int, bytes, int, int, int, int], None]) -> Check:
    def checked(state: State, block: int, signer: bytes, arguments: Arguments) -> None:
        endpoint = (arguments[name] for name in ("netuid", "ip", "port", "ip_type"))
        check(state, block, signer, *endpoint)

    return checked


_AXON = _served(serving.check_axon)
_COMMIT_RATE = _rate("CommittingWeightsTooFast")
CHECKS: Mapping[int, Mapping[str, tuple[Check, ...]]] = {
    OLD: {
        "commit_weights": (_stake,),
        "reveal_weights": (_stake,),
        "batch_reveal_weights": (_stake,),
        "set_weights": (_stake,),
        "commit_crv3_weights": (_stake,),
        "add_stake": (_add_stake,),
        "remove_stake": (_remove_stake,),
        "burned_register": (_interval,),
        "serve_axon": (_AXON,),
    },
    NEW: {
        "set_weights": (_stake, _rate("SettingWeightsTooFast")),
        "set_mechanism_weights": (_stake, _rate("SettingWeightsTooFast")),
        "batch_set_weights": (_equal_lengths, _stake),
        "commit_weights": (_stake, _COMMIT_RATE),
        "commit_mechanism_weights": (_stake, _COMMIT_RATE),
        "batch_commit_weights": (_equal_lengths, _stake),
        "reveal_weights": (_stake, _reveal),
        "reveal_mechanism_weights": (_stake, _reveal),
        "batch_reveal_weights": (_equal_lengths, _stake, _batch_reveal),
        "commit_timelocked_weights": (_stake, _round),
        "commit_timelocked_mechanism_weights": (_stake, _round),
        "commit_crv3_mechanism_weights": (_stake, _round),
        "register_network": (_network_rate,),
        "serve_axon": (_AXON,),
        "serve_axon_tls": (_AXON,),
        "serve_prometheus": (_served(serving.check_prometheus),),
    },
}
