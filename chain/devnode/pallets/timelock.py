"""Timelocked weights: committed encrypted, opened by the chain itself some epochs later with a pulse of the beacon."""

import logging
from dataclasses import dataclass

from chain.devnode.beacon import decrypt
from chain.devnode.pallet import Context, DispatchError, Origin, State, blake256, rules_of
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.commit_reveal import MAX_UNREVEALED, check_commit
from chain.devnode.pallets.drand import PULSES
from chain.devnode.pallets.schedule import epoch_now, is_due
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.pallets.weights import ensure_mechanism, mark_update, store_weights
from chain.devnode.rules import NEW, OLD
from chain.devnode.scale import ACCOUNT, BYTES, U8, U16, U64, MalformedBytes, Reader, Tuple, Vec
from chain.devnode.substrate_types import TIMELOCKED_COMMIT

log = logging.getLogger(__name__)

FIRST_EPOCH_TO_REVEAL = 2  # by the old rules
VERSION = 4  # of the calls that do not say which
_WEIGHTS = Tuple((Vec(U16), Vec(U16), U64))

Weights = tuple[list[int], list[int], int]  # uids, values, version key


@dataclass(frozen=True, kw_only=True, slots=True)
class Timelocked:
    """A commit as it waits in the state; the old rules keep no block."""

    hotkey: bytes
    block: int
    commit: bytes
    round: int


def committed(state: State, netuid: int, epoch: int) -> list[Timelocked]:
    if rules_of(state).stateful_epochs:
        rows = s.TIMELOCKED_COMMITS.get(state, netuid, epoch)
    else:
        rows = [(who, 0, commit, number) for who, commit, number in s.CRV3_COMMITS.get(state, netuid, epoch)]
    return [Timelocked(hotkey=who, block=block, commit=commit, round=number) for who, block, commit, number in rows]


def committed_epochs(state: State, netuid: int) -> list[int]:
    item = s.TIMELOCKED_COMMITS if rules_of(state).stateful_epochs else s.CRV3_COMMITS
    return [epoch for (epoch,), _ in item.items(state, netuid)]


def _store(state: State, netuid: int, epoch: int, commits: list[Timelocked]) -> None:
    item = s.TIMELOCKED_COMMITS if rules_of(state).stateful_epochs else s.CRV3_COMMITS
    if not commits:
        item.remove(state, netuid, epoch)
    elif rules_of(state).stateful_epochs:
        item.put(state, netuid, epoch, [(one.hotkey, one.block, one.commit, one.round) for one in commits])
    else:
        item.put(state, netuid, epoch, [(one.hotkey, one.commit, one.round) for one in commits])


def _commit(context: Context, hotkey: bytes, netuid: int, commit: bytes, number: int, version: int | None) -> None:
    state, block = context.state, context.block
    uid = check_commit(context, netuid, hotkey, version)
    if context.rules.stateful_epochs:
        epoch = epoch_now(state, netuid, block)
    else:
        epoch = epoch_now(state, netuid, block) + is_due(state, netuid, block)
    waiting = committed(state, netuid, epoch)
    own = sum(one.hotkey == hotkey for one in waiting)
    SUBTENSOR.ensure(own < MAX_UNREVEALED, "TooManyUnrevealedCommits")
    _store(state, netuid, epoch, [*waiting, Timelocked(hotkey=hotkey, block=block, commit=commit, round=number)])
    mark_update(context, netuid, uid)


@SUBTENSOR.call(99, OLD, netuid=U16, commit=TIMELOCKED_COMMIT, reveal_round=U64)
def commit_crv3_weights(context: Context, origin: Origin, netuid: int, commit: bytes, reveal_round: int) -> None:
    hotkey = origin.signed()
    _commit(context, hotkey, netuid, commit, reveal_round, None)
    context.emit(SUBTENSOR, "CRV3WeightsCommitted", hotkey, netuid, blake256(commit))


@SUBTENSOR.call(113, NEW, netuid=U16, commit=TIMELOCKED_COMMIT, reveal_round=U64, commit_reveal_version=U16)
def commit_timelocked_weights(
    context: Context, origin: Origin, netuid: int, commit: bytes, reveal_round: int, commit_reveal_version: int
) -> None:
    commit_timelocked_mechanism_weights(context, origin, netuid, 0, commit, reveal_round, commit_reveal_version)


@SUBTENSOR.call(118, NEW, netuid=U16, mecid=U8, commit=TIMELOCKED_COMMIT, reveal_round=U64, commit_reveal_version=U16)
def commit_timelocked_mechanism_weights(
    context: Context,
    origin: Origin,
    netuid: int,
    mecid: int,
    commit: bytes,
    reveal_round: int,
    commit_reveal_version: int,
) -> None:
    hotkey = origin.signed()
    ensure_mechanism(context, netuid, mecid)
    _commit(context, hotkey, netuid, commit, reveal_round, commit_reveal_version)
    context.emit(SUBTENSOR, "TimelockedWeightsCommitted", hotkey, netuid, blake256(commit), reveal_round)


@SUBTENSOR.call(117, NEW, netuid=U16, mecid=U8, commit=TIMELOCKED_COMMIT, reveal_round=U64)
def commit_crv3_mechanism_weights(
    context: Context, origin: Origin, netuid: int, mecid: int, commit: bytes, reveal_round: int
) -> None:
    commit_timelocked_mechanism_weights(context, origin, netuid, mecid, commit, reveal_round, VERSION)


def reveal_due(context: Context, netuid: int) -> None:
    """Opens the commits whose epoch has come. By the old rules those without a pulse are lost, else they wait."""
    state = context.state
    period, now = int(s.REVEAL_PERIOD.get(state, netuid)), epoch_now(state, netuid, context.block)
    waits = context.rules.stateful_epochs
    due = max(0, now - period) if waits else max(0, now - max(0, period - 1))
    for epoch in committed_epochs(state, netuid):
        if epoch < due:
            _store(state, netuid, epoch, [])
    if now < (period if waits else FIRST_EPOCH_TO_REVEAL):
        return
    commits = committed(state, netuid, due)
    if not commits:
        return
    without_pulse = [one for one in commits if not PULSES.has(state, one.round)]
    _store(state, netuid, due, without_pulse if waits else [])
    for one in commits:
        if one in without_pulse:
            log.warning("subnet %d: no pulse %d for a commit of epoch %d", netuid, one.round, due)
        else:
            _reveal(context, netuid, one)


def _reveal(context: Context, netuid: int, one: Timelocked) -> None:
    signature = bytes(PULSES.get(context.state, one.round)["signature"]).removeprefix(b"0x")
    opened = decrypt(one.commit, signature)
    weights = None if opened is None else _read_payload(opened, one.hotkey, context.rules.timelock_names_hotkey)
    if weights is None:
        return
    uids, values, version_key = weights
    try:
        store_weights(context, one.hotkey, netuid, uids, values, version_key)
    except DispatchError as error:
        log.warning("subnet %d: timelocked weights are refused: %s", netuid, error)
        return
    if context.rules.stateful_epochs:
        context.emit(SUBTENSOR, "TimelockedWeightsRevealed", netuid, one.hotkey)
    else:
        context.emit(SUBTENSOR, "CRV3WeightsRevealed", netuid, one.hotkey)


def _read_payload(opened: bytes, hotkey: bytes, names_hotkey: bool) -> Weights | None:
    """None for junk, and for weights that name another hotkey: a copied commit."""
    named = _read(opened, Tuple((BYTES, _WEIGHTS))) if names_hotkey else None
    if named is not None and len(named[0]) >= len(hotkey):
        weights: Weights = named[1]
        return weights if ACCOUNT.read(Reader(named[0])) == hotkey else None
    return _read(opened, _WEIGHTS)


def _read(data: bytes, kind: Tuple) -> tuple | None:  # type: ignore[type-arg]
    """The runtime's decoding minds no bytes that are left over."""
    try:
        return kind.read(Reader(data))
    except MalformedBytes:
        return None
