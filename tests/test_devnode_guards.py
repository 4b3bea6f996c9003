"""The new runtime's epochs, which subnets' owners may move, and what keeps owners from changing rules too often."""

import pytest

from chain.devnode.pallet import StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.rules import NEW
from tests.devnode_chain import NETUID, OWNER, Chain, found_subnet, hot, key

FROZEN = "AdminActionProhibitedDuringWeightsWindow"


@pytest.fixture
def chain() -> Chain:
    """Subnet 1 of //Alice in epochs of 10 blocks, with no blocks in which nothing changes."""
    return found_subnet(NEW)


def read(chain: Chain, item: StorageItem) -> int:
    return int(chain.read(item, NETUID))


def ran(chain: Chain) -> bool:
    return read(chain, s.LAST_EPOCH_BLOCK) == chain.block


def test_epochs_are_a_tempo_apart_and_counted(chain: Chain) -> None:
    index, last = read(chain, s.SUBNET_EPOCH_INDEX), read(chain, s.LAST_EPOCH_BLOCK)
    chain.blocks(9)
    assert read(chain, s.SUBNET_EPOCH_INDEX) == index
    chain.blocks()
    assert (read(chain, s.SUBNET_EPOCH_INDEX), read(chain, s.LAST_EPOCH_BLOCK)) == (index + 1, last + 10)
    assert read(chain, s.LAST_STEP_BLOCK) == last + 10


def test_another_tempo_counts_from_the_block_of_its_call(chain: Chain) -> None:
    chain.blocks(4)
    chain.set("tempo", 7)
    changed = chain.block
    chain.epoch()
    assert chain.block == changed + 7


def test_a_tempo_of_zero_stops_the_epochs(chain: Chain) -> None:
    chain.set("tempo", 0)
    before = read(chain, s.SUBNET_EPOCH_INDEX)
    chain.blocks(30)
    assert read(chain, s.SUBNET_EPOCH_INDEX) == before


def test_of_many_epochs_in_a_block_some_wait_for_the_next() -> None:
    chain = Chain(NEW)
    for number in range(5):
        assert chain.call(OWNER, "register_network", hotkey=key(f"//Alice//{number}")) == "ok"
        chain.write(s.TEMPO, number + 1, 20)
    for netuid in range(1, 6):
        chain.write(s.LAST_EPOCH_BLOCK, netuid, chain.block)
    started = chain.block
    chain.blocks(23)
    assert [chain.read(s.LAST_EPOCH_BLOCK, netuid) - started for netuid in range(1, 6)] == [20, 20, 21, 21, 22]
    assert [chain.read(s.PENDING_EPOCH_AT, netuid) for netuid in range(1, 6)] == [0] * 5
    chain.blocks(19)
    assert [chain.read(s.LAST_EPOCH_BLOCK, netuid) - started for netuid in range(1, 6)] == [40, 40, 41, 41, 42]


def test_an_owner_asks_for_an_epoch(chain: Chain) -> None:
    chain.set("tempo", 100)
    assert chain.sudo("sudo_set_admin_freeze_window", window=5) == "ok"
    chain.set("commit_reveal_weights_enabled", True, "enabled")
    assert chain.call(OWNER, "trigger_epoch", netuid=NETUID) == "DynamicTempoBlockedByCommitReveal"
    chain.set("commit_reveal_weights_enabled", False, "enabled")
    assert chain.call("//Bob", "trigger_epoch", netuid=NETUID) == "BadOrigin"
    assert chain.call(OWNER, "trigger_epoch", netuid=NETUID) == "ok"
    asked = chain.block
    assert chain.call(OWNER, "trigger_epoch", netuid=NETUID) == "EpochTriggerAlreadyPending"
    assert chain.admin(OWNER, "sudo_set_rho", rho=3) == FROZEN
    chain.epoch()
    assert chain.block == asked + 5
    assert chain.call(OWNER, "trigger_epoch", netuid=NETUID) == "TxRateLimitExceeded"
    chain.blocks(94)
    assert chain.call(OWNER, "trigger_epoch", netuid=NETUID) == "AutoEpochAlreadyImminent"


def test_nobody_changes_a_hyperparameter_shortly_before_an_epoch(chain: Chain) -> None:
    chain.set("tempo", 30)
    assert chain.sudo("sudo_set_admin_freeze_window", window=10) == "ok"
    chain.epoch()
    chain.blocks(18)
    assert chain.admin(OWNER, "sudo_set_rho", rho=3) == "ok"
    chain.blocks()
    assert chain.admin(OWNER, "sudo_set_immunity_period", immunity_period=3) == FROZEN
    assert chain.sudo("sudo_set_rho", netuid=NETUID, rho=4) == FROZEN
    assert chain.sudo("sudo_set_weights_set_rate_limit", netuid=NETUID, weights_set_rate_limit=4) == "ok"
    chain.epoch()
    assert chain.admin(OWNER, "sudo_set_immunity_period", immunity_period=3) == "ok"


def test_an_owner_changes_each_hyperparameter_once_in_two_epochs(chain: Chain) -> None:
    assert chain.admin(OWNER, "sudo_set_rho", rho=3) == "ok"
    assert chain.admin(OWNER, "sudo_set_rho", rho=4) == "TxRateLimitExceeded"
    assert chain.admin(OWNER, "sudo_set_immunity_period", immunity_period=3) == "ok"
    assert chain.sudo("sudo_set_rho", netuid=NETUID, rho=5) == "ok"
    chain.blocks(15)
    assert chain.admin(OWNER, "sudo_set_rho", rho=4) == "TxRateLimitExceeded"
    assert chain.admin(OWNER, "sudo_set_rho", rho=4) == "ok"


def test_an_owner_moves_its_tempo_within_bounds(chain: Chain) -> None:
    for tempo in (359, 50_401):
        assert chain.call(OWNER, "set_tempo", netuid=NETUID, tempo=tempo) == "TempoOutOfBounds"
    assert chain.call("//Bob", "set_tempo", netuid=NETUID, tempo=360) == "BadOrigin"
    assert chain.call(OWNER, "set_tempo", netuid=NETUID, tempo=360) == "ok"
    assert read(chain, s.LAST_EPOCH_BLOCK) == chain.block
    assert chain.call(OWNER, "set_tempo", netuid=NETUID, tempo=361) == "TxRateLimitExceeded"


def test_validators_are_active_for_some_tempos(chain: Chain) -> None:
    """13.889 of them, if the owner says nothing else."""
    assert chain.call(OWNER, "set_activity_cutoff_factor", netuid=NETUID, factor_milli=999) == (
        "ActivityCutoffFactorMilliOutOfBounds"
    )
    assert chain.call(hot(1), "set_weights", netuid=NETUID, dests=[2], weights=[1], version_key=0) == "ok"
    chain.epoch()
    assert chain.read(s.ACTIVE, NETUID)[1] is True
    assert chain.call(OWNER, "set_activity_cutoff_factor", netuid=NETUID, factor_milli=1000) == "ok"
    chain.epoch()
    chain.epoch()
    assert chain.read(s.ACTIVE, NETUID)[1] is False


def test_the_owners_hotkey_weighs_without_stake_or_permit(chain: Chain) -> None:
    chain.write(s.VALIDATOR_PERMIT, NETUID, [False] * 4)
    assert chain.sudo("sudo_set_stake_threshold", min_stake=10**18) == "ok"
    asked = {"netuid": NETUID, "dests": [2, 3], "weights": [1, 1], "version_key": 0}
    assert chain.call(hot(1), "set_weights", **asked) == "Custom error: 1"
    assert chain.call(hot(0), "set_weights", **asked) == "ok"
    chain.epoch()
    assert chain.read(s.VALIDATOR_PERMIT, NETUID)[0] is True


@pytest.mark.parametrize(
    ("name", "argument", "value", "error"),
    [
        ("min_burn", "", 10**9, "ValueNotInBounds"),
        ("max_burn", "", 10**8, "ValueNotInBounds"),
        ("commit_reveal_weights_interval", "interval", 0, "RevealPeriodTooSmall"),
        ("commit_reveal_weights_interval", "interval", 101, "RevealPeriodTooLarge"),
        ("max_allowed_uids", "", 63, "MaxAllowedUidsLessThanMinAllowedUids"),
        ("max_allowed_uids", "", 257, "MaxAllowedUidsGreaterThanDefaultMaxAllowedUids"),
        ("kappa", "", 1, "BadOrigin"),
        ("burn_half_life", "", 0, "InvalidValue"),
        ("alpha_sigmoid_steepness", "steepness", -1, "NegativeSigmoidSteepness"),
    ],
)
def test_an_owners_value_has_bounds(chain: Chain, name: str, argument: str, value: int, error: str) -> None:
    assert chain.admin(OWNER, f"sudo_set_{name}", **{argument or name: value}) == error
