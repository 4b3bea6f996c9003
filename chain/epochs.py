"""What an epoch of Yuma Consensus takes and gives: plain values, as the chain stores them."""

from dataclasses import dataclass

# Per row (column, u16), in the order stored. An explicit zero is not the same as no entry.
SparseRows = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochInput:
    """What the chain holds when an epoch begins; sequences have one element per uid.

    The optional fields are what differs between runtimes; without them the epoch is one of spec 300.
    """

    n: int
    block: int
    tempo: int
    stake: tuple[int, ...]  # rao
    weights: SparseRows  # a zero lets a bond decay, a missing entry drops it (liquid alpha)
    bonds: SparseRows
    last_update: tuple[int, ...]
    block_at_registration: tuple[int, ...]
    activity_cutoff: int  # blocks
    permit: tuple[bool, ...]  # of the epoch before
    max_validators: int
    kappa: int  # u16 proportion
    bonds_penalty: int  # u16 proportion
    bonds_moving_average: int  # millionths
    yuma3: bool
    liquid_alpha: bool
    alpha_values: tuple[int, int]  # u16 proportions: lowest, highest
    steepness: int  # hundredths
    stake_threshold: int  # rao; less counts as none
    owner_uid: int  # -1 for none
    emission_rao: int
    pending_commits: tuple[tuple[int, int], ...] = ()  # (uid, block of its oldest unrevealed weights commit)
    stake_fraction: tuple[int, ...] = ()  # 2**-32 rao on top of `stake`, where root stake counts; () for none
    owner_permit: bool = False  # the owner always has a permit and is exempt from the threshold; spec 425: True
    # Bonds to uids registered after this block are forgotten; 0: to those registered at `block - tempo` or later.
    # Spec 425: LastMechansimStepBlock, the epoch before.
    last_step_block: int = 0
    # The exponent of liquid alpha stays within -20 and 20; else one too large to compute counts as exp() = 0.
    clamped_exponent: bool = False  # spec 425: True
    clears_bonds: bool = False  # rows of uids that had and get no permit are emptied, not left; spec 425: True


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochOutput:
    """What the chain stores at the end of an epoch, per uid; u16 where no unit stands."""

    active: tuple[bool, ...]
    rank: tuple[int, ...]
    trust: tuple[int, ...]
    consensus: tuple[int, ...]
    incentive: tuple[int, ...]
    dividends: tuple[int, ...]
    emission: tuple[int, ...]  # rao, its share of the sum of server and validator emission
    server_emission: tuple[int, ...]  # rao
    validator_emission: tuple[int, ...]  # rao
    validator_trust: tuple[int, ...]
    permit: tuple[bool, ...]  # for the next epoch
    pruning: tuple[int, ...]
    stake_weight: tuple[int, ...]
    bonds: SparseRows
