"""Emission of every block and the epochs that pay it out, by Yuma Consensus and the rules of the chain."""

from collections.abc import Sequence

from chain.devnode.pallet import Context, State, StorageItem, rules_of
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.commit_reveal import commit_epoch, is_expired
from chain.devnode.pallets.payout import pay
from chain.devnode.pallets.schedule import is_due
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.pallets.timelock import committed, committed_epochs, reveal_due
from chain.epochs import EpochInput, EpochOutput
from chain.yuma import run_epoch

EMISSION_PER_BLOCK_RAO = 10**9
FRACTION = 32  # the runtime shares out emission in U96F32


def step(context: Context, netuids: Sequence[int]) -> None:
    """Once a block: what is committed and due is opened, emission grows, and epochs run."""
    state = context.state
    if context.rules.stateful_epochs:
        deferred = _deferred(context, netuids)
        for netuid in netuids:
            if netuid not in deferred:
                reveal_due(context, netuid)
    for netuid in netuids:
        if _emits(state, netuid):
            _emit(context, netuid)
    if context.rules.stateful_epochs:
        _run_stateful(context, netuids)
        return
    for netuid in netuids:
        if is_due(state, netuid, context.block):
            reveal_due(context, netuid)
            s.BLOCKS_SINCE_LAST_STEP.put(state, netuid, 0)
            s.LAST_STEP_BLOCK.put(state, netuid, context.block)
            _run(context, netuid)
        else:
            _add(state, s.BLOCKS_SINCE_LAST_STEP, netuid, 1)


def _deferred(context: Context, netuids: Sequence[int]) -> set[int]:
    due = [netuid for netuid in netuids if is_due(context.state, netuid, context.block)]
    return set(due[int(s.MAX_EPOCHS_PER_BLOCK.get(context.state)) :])


def _run_stateful(context: Context, netuids: Sequence[int]) -> None:
    """Some epochs in a block; those beyond that run in the next one."""
    state, block = context.state, context.block
    most = int(s.MAX_EPOCHS_PER_BLOCK.get(state))
    ready: list[int] = []
    for netuid in netuids:
        _add(state, s.BLOCKS_SINCE_LAST_STEP, netuid, 1)
        if not is_due(state, netuid, block):
            continue
        if len(ready) >= most:
            s.PENDING_EPOCH_AT.put(state, netuid, block + 1)
            context.emit(SUBTENSOR, "EpochDeferred", netuid, block, block + 1)
            continue
        ready.append(netuid)
        s.BLOCKS_SINCE_LAST_STEP.put(state, netuid, 0)
        s.LAST_EPOCH_BLOCK.put(state, netuid, block)
        s.PENDING_EPOCH_AT.put(state, netuid, 0)
        _add(state, s.SUBNET_EPOCH_INDEX, netuid, 1)
    for netuid in ready:
        _run(context, netuid)
        s.LAST_STEP_BLOCK.put(state, netuid, block)


def _add(state: State, item: StorageItem, netuid: int, amount: int) -> None:
    item.put(state, netuid, item.get(state, netuid) + amount)


def _emits(state: State, netuid: int) -> bool:
    """From the block after the start call on; by the new rules only while one may register."""
    if not s.FIRST_EMISSION_BLOCK.has(state, netuid):
        return False
    if not rules_of(state).pending_in_halves:
        return True
    return bool(s.SUBTOKEN_ENABLED.get(state, netuid) and s.REGISTRATION_ALLOWED.get(state, netuid))


def _emit(context: Context, netuid: int) -> None:
    """The owner's cut first; each part is floored to whole rao."""
    state = context.state
    everything = EMISSION_PER_BLOCK_RAO << FRACTION
    cut = 0
    if not context.rules.pending_in_halves or s.OWNER_CUT_ENABLED.get(state, netuid):
        proportion = (int(s.SUBNET_OWNER_CUT.get(state)) << FRACTION) // s.U16_MAX
        cut = everything * proportion >> FRACTION
    _add(state, s.PENDING_OWNER_CUT, netuid, cut >> FRACTION)
    rest = everything - cut
    if context.rules.pending_in_halves:
        servers = rest >> 1
        _add(state, s.PENDING_SERVER_EMISSION, netuid, servers >> FRACTION)
        _add(state, s.PENDING_VALIDATOR_EMISSION, netuid, (rest - servers) >> FRACTION)
    else:
        _add(state, s.PENDING_EMISSION, netuid, rest >> FRACTION)


def _take(state: State, item: StorageItem, netuid: int) -> int:
    """Empties what is pending."""
    amount = int(item.get(state, netuid))
    item.put(state, netuid, 0)
    return amount


def _run(context: Context, netuid: int) -> None:
    """Ranks everybody and pays; half of the emission is for validators, all of it if nobody serves."""
    state = context.state
    cut = _take(state, s.PENDING_OWNER_CUT, netuid)
    if context.rules.pending_in_halves:
        servers, validators = (
            _take(state, item, netuid) for item in (s.PENDING_SERVER_EMISSION, s.PENDING_VALIDATOR_EMISSION)
        )
        emission = servers + validators
    else:
        emission = _take(state, s.PENDING_EMISSION, netuid)
        validators = emission // 2
    inputs = read_inputs(state, netuid, context.block, emission)
    outputs = run_epoch(inputs)
    _write(context, netuid, outputs)
    pay(context, netuid, outputs, validators if any(outputs.server_emission) else emission, cut)


def hotkeys_of(state: State, netuid: int) -> list[bytes]:
    return [s.KEYS.get(state, netuid, uid) for uid in range(s.SUBNETWORK_N.get(state, netuid))]


def read_inputs(state: State, netuid: int, block: int, emission: int) -> EpochInput:
    """Everything Yuma Consensus looks at, from the state before the epoch."""
    hotkeys = hotkeys_of(state, netuid)
    uids = range(len(hotkeys))
    low, high = s.ALPHA_VALUES.get(state, netuid)
    rules, owner = rules_of(state), s.owner_uid(state, netuid)
    return EpochInput(
        n=len(hotkeys),
        block=block,
        tempo=s.TEMPO.get(state, netuid),
        stake=tuple(s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid) for hotkey in hotkeys),
        weights=tuple(tuple(s.WEIGHTS.get(state, netuid, uid)) for uid in uids),
        bonds=tuple(tuple(s.BONDS.get(state, netuid, uid)) for uid in uids),
        last_update=tuple(s.LAST_UPDATE.get(state, netuid)),
        block_at_registration=tuple(s.BLOCK_AT_REGISTRATION.get(state, netuid, uid) for uid in uids),
        activity_cutoff=_activity_cutoff(state, netuid),
        permit=tuple(s.VALIDATOR_PERMIT.get(state, netuid)),
        max_validators=s.MAX_ALLOWED_VALIDATORS.get(state, netuid),
        kappa=s.KAPPA.get(state, netuid),
        bonds_penalty=s.BONDS_PENALTY.get(state, netuid),
        bonds_moving_average=s.BONDS_MOVING_AVERAGE.get(state, netuid),
        yuma3=s.YUMA3_ON.get(state, netuid),
        liquid_alpha=s.LIQUID_ALPHA_ON.get(state, netuid),
        alpha_values=(low, high),
        steepness=s.ALPHA_STEEPNESS.get(state, netuid),
        stake_threshold=s.STAKE_THRESHOLD.get(state),
        owner_uid=-1 if owner is None else owner,
        emission_rao=emission,
        pending_commits=_pending_commits(state, netuid, block, hotkeys) if rules.revised_yuma else (),
        owner_permit=rules.privileged_owner,
        last_step_block=s.LAST_STEP_BLOCK.get(state, netuid) if rules.revised_yuma else 0,
        clamped_exponent=rules.revised_yuma,
        clears_bonds=rules.revised_yuma,
    )


def _activity_cutoff(state: State, netuid: int) -> int:
    if not rules_of(state).revised_yuma:
        return int(s.ACTIVITY_CUTOFF.get(state, netuid))
    return max(1, int(s.ACTIVITY_CUTOFF_FACTOR.get(state, netuid)) * int(s.TEMPO.get(state, netuid)) // 1000)


def _pending_commits(state: State, netuid: int, block: int, hotkeys: Sequence[bytes]) -> tuple[tuple[int, int], ...]:
    """(uid, block of its oldest commit that can still be shown): such weights are older than their validator says."""
    if not s.COMMIT_REVEAL_ON.get(state, netuid):
        return ()
    uids = {hotkey: uid for uid, hotkey in enumerate(hotkeys)}
    oldest: dict[int, int] = {}
    found = [
        (hotkey, commit[2])
        for (hotkey,), commits in s.WEIGHT_COMMITS.items(state, netuid)
        for commit in commits
        if not is_expired(state, netuid, block, commit_epoch(state, netuid, commit))
    ]
    for epoch in committed_epochs(state, netuid):
        if not is_expired(state, netuid, block, epoch):
            found.extend((one.hotkey, one.block) for one in committed(state, netuid, epoch))
    for hotkey, made in found:
        if hotkey in uids:
            oldest[uids[hotkey]] = min(made, oldest.get(uids[hotkey], made))
    return tuple(sorted(oldest.items()))


def _write(context: Context, netuid: int, outputs: EpochOutput) -> None:
    state = context.state
    vectors = [
        (s.ACTIVE, outputs.active),
        (s.CONSENSUS, outputs.consensus),
        (s.INCENTIVE, outputs.incentive),
        (s.DIVIDENDS, outputs.dividends),
        (s.EMISSION, outputs.emission),
        (s.VALIDATOR_TRUST, outputs.validator_trust),
        (s.STAKE_WEIGHT, outputs.stake_weight),
    ]
    if not context.rules.revised_yuma:
        vectors += [(s.RANK, outputs.rank), (s.TRUST, outputs.trust), (s.PRUNING_SCORES, outputs.pruning)]
    before = s.VALIDATOR_PERMIT.get(state, netuid)
    for item, vector in (*vectors, (s.VALIDATOR_PERMIT, outputs.permit)):
        item.put(state, netuid, list(vector))
    if context.rules.revised_yuma:
        context.emit(SUBTENSOR, "IncentiveAlphaEmittedToMiners", netuid, list(outputs.server_emission))
    for uid, permitted in enumerate(outputs.permit):
        if permitted or before[uid] or context.rules.revised_yuma:
            s.BONDS.put(state, netuid, uid, outputs.bonds[uid])
