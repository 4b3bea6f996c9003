"""Weights that are committed first, by both sets of rules; what spec 300 answers call by call is recorded elsewhere."""

from hashlib import blake2b

import pytest

from chain.devnode.epoch import read_inputs
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.commit_reveal import commit_hash
from chain.devnode.rules import BOTH, NEW, OLD
from tests.devnode_chain import NETUID, Chain, found_subnet, hot, key

UIDS, VALUES = [2, 3], [10, 20]


def hidden(rules: int) -> Chain:
    chain = found_subnet(rules)
    chain.set("commit_reveal_weights_enabled", True, "enabled")
    chain.epoch()
    return chain


def commit(chain: Chain, salt: int, uid: int = 1) -> str:
    digest = commit_hash(key(hot(uid)), NETUID, UIDS, VALUES, [salt], 0)
    return chain.call(hot(uid), "commit_weights", netuid=NETUID, commit_hash=digest)


def reveal(chain: Chain, salt: int, uid: int = 1) -> str:
    shown = {"uids": UIDS, "values": VALUES, "salt": [salt], "version_key": 0}
    return chain.call(hot(uid), "reveal_weights", netuid=NETUID, **shown)


def test_the_hash_spans_everything_that_is_shown() -> None:
    """As SCALE: hotkey, netuid, uids, values, salt, version key."""
    encoded = bytes([7] * 32) + bytes.fromhex("01000802000300080a0014000409000500000000000000")
    assert commit_hash(bytes([7] * 32), 1, UIDS, VALUES, [9], 5) == blake2b(encoded, digest_size=32).digest()


@pytest.mark.parametrize("rules", BOTH)
def test_a_commit_is_revealed_in_the_next_epoch_only(rules: int) -> None:
    """The new runtime refuses before the call is in a block."""
    early, late = ("RevealTooEarly", "ExpiredWeightCommit") if rules == OLD else ("Custom error: 17",) * 2
    chain = hidden(rules)
    assert commit(chain, 1) == "ok"
    assert reveal(chain, 1) == early
    chain.epoch()
    assert reveal(chain, 1) == "ok"
    assert chain.read(s.WEIGHTS, NETUID, 1) == [(2, 32768), (3, 65535)]
    assert commit(chain, 2) == "ok"
    chain.epoch()
    chain.epoch()
    assert reveal(chain, 2) == late
    assert chain.read(s.WEIGHTS, NETUID, 1) == [(2, 32768), (3, 65535)]


@pytest.mark.parametrize("rules", BOTH)
def test_the_reveal_period_moves_the_window(rules: int) -> None:
    chain = hidden(rules)
    chain.set("commit_reveal_weights_interval", 3, "interval")
    assert commit(chain, 1) == "ok"
    for _ in range(2):
        chain.epoch()
        assert reveal(chain, 1) != "ok"
    chain.epoch()
    assert reveal(chain, 1) == "ok"


@pytest.mark.parametrize("rules", BOTH)
def test_a_reveal_drops_older_commits_and_keeps_later_ones(rules: int) -> None:
    chain = hidden(rules)
    for salt in (1, 2, 3):
        assert commit(chain, salt) == "ok"
    chain.epoch()
    assert reveal(chain, 2) == "ok"
    assert reveal(chain, 1) == ("InvalidRevealCommitHashNotMatch" if rules == OLD else "Custom error: 16")
    assert reveal(chain, 3) == "ok"
    assert not s.WEIGHT_COMMITS.has(chain.state, NETUID, key(hot(1)))


@pytest.mark.parametrize("rules", BOTH)
def test_ten_commits_may_wait_and_expired_ones_make_room(rules: int) -> None:
    chain = hidden(rules)
    chain.set("tempo", 20)
    chain.epoch()
    assert [commit(chain, salt) for salt in range(11)] == ["ok"] * 10 + ["TooManyUnrevealedCommits"]
    chain.epoch()
    assert commit(chain, 11) == "TooManyUnrevealedCommits"
    chain.epoch()
    assert commit(chain, 12) == "ok"
    assert len(chain.read(s.WEIGHT_COMMITS, NETUID, key(hot(1)))) == 1


@pytest.mark.parametrize("rules", BOTH)
def test_commits_are_limited_in_rate_and_reveals_are_not(rules: int) -> None:
    chain = hidden(rules)
    chain.set("weights_set_rate_limit", 5)
    assert commit(chain, 1) == "ok"
    made = chain.block
    assert commit(chain, 2) == ("CommittingWeightsTooFast" if rules == OLD else "Custom error: 6")
    chain.epoch()
    assert commit(chain, 3) == "ok"
    assert chain.block >= made + 5
    updated = chain.read(s.LAST_UPDATE, NETUID)
    assert reveal(chain, 1) == "ok"
    assert chain.read(s.LAST_UPDATE, NETUID) == updated


def test_the_new_runtime_refuses_by_number_what_the_old_one_fails_by_name() -> None:
    chain = hidden(NEW)
    assert reveal(chain, 1) == "Custom error: 16"
    assert commit(chain, 1, uid=2) == "ok"
    chain.epoch()
    assert reveal(chain, 1, uid=2) == "NeuronNoValidatorPermit"
    lists = {"uids_list": [UIDS], "values_list": [VALUES], "salts_list": [], "version_keys": [0]}
    assert chain.call(hot(1), "batch_reveal_weights", netuid=NETUID, **lists) == "Custom error: 18"
    assert chain.sudo("sudo_set_stake_threshold", min_stake=10**18) == "ok"
    assert commit(chain, 2) == "Custom error: 1"
    assert commit(chain, 2, uid=0) == "ok", "the owner's hotkey needs no stake"


def test_other_mechanisms_of_a_subnet_do_not_exist() -> None:
    chain = hidden(NEW)
    first = {"netuid": NETUID, "commit_hash": bytes(32)}
    assert chain.call(hot(1), "commit_mechanism_weights", **first, mecid=0) == "ok"
    assert chain.call(hot(1), "commit_mechanism_weights", **first, mecid=1) == "MechanismDoesNotExist"


def test_the_new_runtime_counts_commits_by_its_own_epochs() -> None:
    chain = hidden(NEW)
    assert commit(chain, 1) == "ok"
    ((_, epoch, block, rest),) = chain.read(s.WEIGHT_COMMITS, NETUID, key(hot(1)))
    assert (epoch, block, rest) == (chain.read(s.SUBNET_EPOCH_INDEX, NETUID), chain.block, 0)


def test_hidden_weights_count_from_the_first_commit_in_the_new_runtime() -> None:
    """What a validator showed before it committed is older than a neuron that registered since."""
    chain = hidden(NEW)
    assert commit(chain, 1) == "ok"
    first = chain.block
    assert commit(chain, 2) == "ok"
    assert read_inputs(chain.state, NETUID, chain.block, 0).pending_commits == ((1, first),)
    chain.epoch()
    assert reveal(chain, 1) == "ok"
    assert read_inputs(chain.state, NETUID, chain.block, 0).pending_commits == ((1, first + 1),)
    chain.set("commit_reveal_weights_enabled", False, "enabled")
    assert read_inputs(chain.state, NETUID, chain.block, 0).pending_commits == ()
