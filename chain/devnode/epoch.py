"""Emission of every block and the epochs that pay it out, by Yuma Consensus, with the rules of spec 300."""

from chain.devnode.pallet import Context, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.staking import credit, credit_all
from chain.schedule import runs_epoch
from chain.yuma import EpochInput, EpochOutput, run_epoch

EMISSION_PER_BLOCK_RAO = 10**9
U16_MAX = 65_535


def step(context: Context, netuid: int) -> None:
    """Once a block: add the block's emission to what is pending, and pay at the epoch."""
    state, block = context.state, context.block
    started = s.FIRST_EMISSION_BLOCK.get(state, netuid)
    if started is not None and block >= started:
        cut = EMISSION_PER_BLOCK_RAO * s.OWNER_CUT // U16_MAX
        _add(state, netuid, cut, EMISSION_PER_BLOCK_RAO - cut)
    if not runs_epoch(block, netuid, s.TEMPO.get(state, netuid)):
        s.BLOCKS_SINCE_LAST_STEP.put(state, netuid, s.BLOCKS_SINCE_LAST_STEP.get(state, netuid) + 1)
        return
    s.BLOCKS_SINCE_LAST_STEP.put(state, netuid, 0)
    s.LAST_STEP_BLOCK.put(state, netuid, block)
    s.LAST_EPOCH_BLOCK.put(state, netuid, block)
    emission, cut = s.PENDING_EMISSION.get(state, netuid), s.PENDING_OWNER_CUT.get(state, netuid)
    inputs = read_inputs(state, netuid, block, emission)
    outputs = run_epoch(inputs)
    _write(state, netuid, inputs, outputs)
    if emission:
        s.PENDING_EMISSION.put(state, netuid, 0)
        s.PENDING_OWNER_CUT.put(state, netuid, 0)
        _pay(state, netuid, outputs, cut)


def _add(state: State, netuid: int, cut: int, rest: int) -> None:
    s.PENDING_OWNER_CUT.put(state, netuid, s.PENDING_OWNER_CUT.get(state, netuid) + cut)
    s.PENDING_EMISSION.put(state, netuid, s.PENDING_EMISSION.get(state, netuid) + rest)


def hotkeys_of(state: State, netuid: int) -> list[bytes]:
    return [s.KEYS.get(state, netuid, uid) for uid in range(s.SUBNETWORK_N.get(state, netuid))]


def read_inputs(state: State, netuid: int, block: int, emission: int) -> EpochInput:
    """Everything Yuma Consensus looks at, from the state before the epoch."""
    hotkeys = hotkeys_of(state, netuid)
    uids = range(len(hotkeys))
    low, high = s.ALPHA_VALUES.get(state, netuid)
    return EpochInput(
        n=len(hotkeys),
        block=block,
        tempo=s.TEMPO.get(state, netuid),
        stake=tuple(s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid) for hotkey in hotkeys),
        weights=tuple(tuple(s.WEIGHTS.get(state, netuid, uid)) for uid in uids),
        bonds=tuple(tuple(s.BONDS.get(state, netuid, uid)) for uid in uids),
        last_update=tuple(s.LAST_UPDATE.get(state, netuid)),
        block_at_registration=tuple(s.BLOCK_AT_REGISTRATION.get(state, netuid, uid) for uid in uids),
        activity_cutoff=s.ACTIVITY_CUTOFF.get(state, netuid),
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
        owner_uid=s.UIDS.get(state, netuid, s.SUBNET_OWNER_HOTKEY.get(state, netuid)),
        emission_rao=emission,
        owner_permit=False,
    )


def _write(state: State, netuid: int, inputs: EpochInput, outputs: EpochOutput) -> None:
    for item, vector in (
        (s.ACTIVE, outputs.active),
        (s.RANK, outputs.rank),
        (s.TRUST, outputs.trust),
        (s.CONSENSUS, outputs.consensus),
        (s.INCENTIVE, outputs.incentive),
        (s.DIVIDENDS, outputs.dividends),
        (s.EMISSION, outputs.emission),
        (s.VALIDATOR_TRUST, outputs.validator_trust),
        (s.VALIDATOR_PERMIT, outputs.permit),
        (s.PRUNING_SCORES, outputs.pruning),
        (s.STAKE_WEIGHT, outputs.stake_weight),
    ):
        item.put(state, netuid, list(vector))
    for uid in range(inputs.n):
        if outputs.permit[uid]:
            s.BONDS.put(state, netuid, uid, outputs.bonds[uid])
        elif inputs.permit[uid]:
            s.BONDS.put(state, netuid, uid, [])


def _pay(state: State, netuid: int, outputs: EpochOutput, owner_cut: int) -> None:
    """Miners' halves go to the hotkey's owner; of validators' halves the take does, the rest to all their stakers."""
    owner_hotkey = s.SUBNET_OWNER_HOTKEY.get(state, netuid)
    credit(state, owner_hotkey, s.SUBNET_OWNER.get(state, netuid), netuid, owner_cut)
    for uid, hotkey in enumerate(hotkeys_of(state, netuid)):
        coldkey = s.OWNER.get(state, hotkey)
        earned, dividends = outputs.server_emission[uid], outputs.validator_emission[uid]
        if earned and hotkey != owner_hotkey:  # what a miner named by the owner's hotkey earns is burned
            credit(state, hotkey, coldkey, netuid, earned)
        if dividends:
            take = dividends * s.DEFAULT_TAKE // U16_MAX
            credit_all(state, hotkey, netuid, dividends - take)
            credit(state, hotkey, coldkey, netuid, take)
