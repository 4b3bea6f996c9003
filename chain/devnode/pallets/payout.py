"""What an epoch pays: the owner's cut, miners by their share, validators and their stakers by dividends."""

from chain.devnode.pallet import Context, State
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.shares import credit, credit_all
from chain.epochs import EpochOutput

FRACTION = 32  # U96F32


def pay(context: Context, netuid: int, outputs: EpochOutput, for_validators: int, owner_cut: int) -> None:
    """`for_validators` is shared out in proportion to dividends, so that nothing of it is lost."""
    state = context.state
    hotkeys = [s.KEYS.get(state, netuid, uid) for uid in range(len(outputs.permit))]
    credit(state, s.SUBNET_OWNER_HOTKEY.get(state, netuid), s.SUBNET_OWNER.get(state, netuid), netuid, owner_cut)
    in_vain = _owners_hotkeys(context, netuid)
    order = sorted(range(len(hotkeys)), key=lambda uid: hotkeys[uid])
    for uid in order:
        if hotkeys[uid] not in in_vain:
            credit(state, hotkeys[uid], s.OWNER.get(state, hotkeys[uid]), netuid, outputs.server_emission[uid])
    for key, _ in list(s.ALPHA_DIVIDENDS.items(state, netuid)):
        s.ALPHA_DIVIDENDS.remove(state, netuid, *key)
    everything = sum(outputs.validator_emission)
    for uid in order:
        share = (outputs.validator_emission[uid] << FRACTION) // everything if everything else 0
        _pay_dividends(state, netuid, hotkeys[uid], for_validators * share)


def _owners_hotkeys(context: Context, netuid: int) -> set[bytes]:
    """What these mine is burned: the hotkey that the owner named, by the new rules all of the owner's."""
    named = s.SUBNET_OWNER_HOTKEY.get(context.state, netuid)
    if not context.rules.privileged_owner:
        return {named}
    return {named, *s.OWNED_HOTKEYS.get(context.state, s.SUBNET_OWNER.get(context.state, netuid))}


def _pay_dividends(state: State, netuid: int, hotkey: bytes, dividends: int) -> None:
    """The take goes to the hotkey's owner, the rest to all who stake on it; both are floored to whole rao."""
    take = ((int(s.DELEGATES.get(state, hotkey)) << FRACTION) // s.U16_MAX) * dividends >> FRACTION
    stakers = (dividends - take) >> FRACTION
    credit(state, hotkey, s.OWNER.get(state, hotkey), netuid, take >> FRACTION)
    credit_all(state, hotkey, netuid, stakers)
    s.ALPHA_DIVIDENDS.put(state, netuid, hotkey, s.ALPHA_DIVIDENDS.get(state, netuid, hotkey) + stakers)
    total = s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, netuid)
    s.TOTAL_HOTKEY_ALPHA_LAST_EPOCH.put(state, hotkey, netuid, total)
