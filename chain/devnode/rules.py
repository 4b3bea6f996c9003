"""What differs between the runtimes that the embedded chain follows. A chain keeps the rules it was born with."""

from dataclasses import dataclass

from hivetune.errors import ConfigError

OLD, NEW = 300, 425
BOTH = (OLD, NEW)
ONLY_OLD = (OLD,)
ONLY_NEW = (NEW,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """One runtime, by its spec version. Read from its source, and for 300 measured on the runtime itself."""

    spec_version: int
    # Epochs are counted from the last one, at most some in a block, and not told by block height alone.
    stateful_epochs: bool
    # Yuma Consensus minds commits that are not revealed, holds exponents within bounds, empties bonds of those without
    # a permit, and leaves no ranks; the activity cutoff is a multiple of the tempo.
    revised_yuma: bool
    # The owner's hotkey has a permit and may weigh without the stake; what any hotkey of the owner mines is burned.
    privileged_owner: bool
    # Owners change hyperparameters once in some epochs, and nobody does shortly before an epoch.
    guarded_hyperparameters: bool
    # The one to prune has the least emission, not the least pruning score; its weights and those for it go too.
    prunes_by_emission: bool
    # A registration raises the price at once and time lowers it; before, each interval adjusted it.
    price_decays: bool
    new_subnet_yuma3: bool
    # When the last subnet was made stands among all other limits, and how long its start must wait in the state.
    limits_in_one_map: bool
    stored_start_delay: bool
    # A neuron serves only where it is registered; before, being registered anywhere was enough.
    serves_where_registered: bool
    batch_names_subnet: bool
    # A timelocked payload names its hotkey, and waits for its pulse as long as its epoch lasts.
    timelock_names_hotkey: bool
    # Emission waits in halves for servers and validators, and only while the subnet takes registrations.
    pending_in_halves: bool
    # Shares of stake are decimal floats.
    float_shares: bool
    # Asking for more stake than there is takes all; before, it failed, as did unstaking in the block of staking.
    lenient_unstaking: bool
    # Names of errors.
    no_subnet: str
    no_mechanism: str
    no_lock: str


RULES = {
    OLD: Rules(
        spec_version=OLD,
        stateful_epochs=False,
        revised_yuma=False,
        privileged_owner=False,
        guarded_hyperparameters=False,
        prunes_by_emission=False,
        price_decays=False,
        new_subnet_yuma3=False,
        limits_in_one_map=False,
        stored_start_delay=False,
        serves_where_registered=False,
        batch_names_subnet=False,
        timelock_names_hotkey=False,
        pending_in_halves=False,
        float_shares=False,
        lenient_unstaking=False,
        no_subnet="SubNetworkDoesNotExist",
        no_mechanism="SubNetworkDoesNotExist",
        no_lock="NotEnoughBalanceToStake",
    ),
    NEW: Rules(
        spec_version=NEW,
        stateful_epochs=True,
        revised_yuma=True,
        privileged_owner=True,
        guarded_hyperparameters=True,
        prunes_by_emission=True,
        price_decays=True,
        new_subnet_yuma3=True,
        limits_in_one_map=True,
        stored_start_delay=True,
        serves_where_registered=True,
        batch_names_subnet=True,
        timelock_names_hotkey=True,
        pending_in_halves=True,
        float_shares=True,
        lenient_unstaking=True,
        no_subnet="SubnetNotExists",
        no_mechanism="MechanismDoesNotExist",
        no_lock="CannotAffordLockCost",
    ),
}


def rules_of_spec(spec_version: int) -> Rules:
    if spec_version not in RULES:
        raise ConfigError(f"no rules of runtime {spec_version}, there are {', '.join(map(str, RULES))}")
    return RULES[spec_version]
