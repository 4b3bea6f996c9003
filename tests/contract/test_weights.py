"""Weights by every way that a subnet may demand, with the chain's own verdicts."""

from collections.abc import Iterator
from typing import Any

import pytest

from chain.ledger import ChainRejected, Ledger, NotYet
from chain.metagraph import PALLET
from chain.pending import PendingReveals
from chain.timelock import PULSE_DELAY_ROUNDS, QUICKNET_GENESIS_S, QUICKNET_PERIOD_S, find_encryption
from chain.weight_setter import WeightSetter
from chain.weights import WeightRules
from tests.contract.subnet import Subnet

# Round 1000 of drand's quicknet with the signature that drand published for it.
PULSE_ROUND = 1000
PULSE_SIGNATURE = "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"


def now(subnet: Subnet) -> int:
    return subnet.ledger("owner").head().number


def raw_weights(subnet: Subnet, name: str, values: dict[int, int], version_key: int = 0) -> str:
    """The error's name that the chain gives, or ok."""
    arguments = {
        "netuid": subnet.netuid, "dests": list(values), "weights": list(values.values()), "version_key": version_key,
    }  # fmt: skip
    try:
        subnet.ledger(name).submit(PALLET, "set_weights", arguments)
    except ChainRejected as refused:
        return refused.error_name
    return "ok"


def test_plain_weights_stand_in_the_metagraph(subnet: Subnet) -> None:
    weights, since = subnet.weights("first"), now(subnet)
    assert weights.set({3: 0.25, 4: 0.5, 0: 0.0}, since=since) == "plain"
    assert subnet.ledger("first").metagraph().weights[1] == {3: 32768, 4: 65535}
    assert weights.set({3: 1.0}, since=since) is None, "weights are set once"
    assert subnet.ledger("first").metagraph().weights[1] == {3: 32768, 4: 65535}


CASES: tuple[tuple[str, dict[int, int], int], ...] = (
    ("third", {4: 1}, 0),  # no permit
    ("third", {3: 7}, 0),  # itself alone
    ("first", {3: 1, 99: 1}, 0),
    ("first", {uid: 1 for uid in range(40)}, 0),
    ("first", {3: 1, 4: 2}, 0),
    ("first", {3: 1, 4: 1}, 0),
    ("first", {3: 1}, 0),
    ("first", {3: 1, 4: 1}, 6),
    ("owner", {3: 1, 4: 1}, 0),
    ("owner", {3: 1, 4: 1}, 7),
)


@pytest.mark.parametrize(
    "limits", [{}, {"min_allowed_weights": 2, "max_weight_limit": 33_000}, {"weights_version_key": 6}]
)
def test_the_ledger_foresees_the_chains_verdict(subnet: Subnet, limits: dict[str, int]) -> None:
    limits = {setting: value for setting, value in limits.items() if subnet.can_set(setting)}
    usual = {"min_allowed_weights": 1, "max_weight_limit": 65_535, "weights_version_key": 0}
    for setting, value in limits.items():
        subnet.set(setting, value)
    foreseen = [
        subnet.ledger(name).weight_rules().objection(values, version_key) or "ok" for name, values, version_key in CASES
    ]
    told = [raw_weights(subnet, name, values, version_key) for name, values, version_key in CASES]
    for setting in limits:
        subnet.set(setting, usual[setting])
    assert foreseen == told
    assert len(set(told)) >= 3, "the cases differ"


def test_weights_are_cut_and_padded_to_what_the_subnet_takes(subnet: Subnet) -> None:
    limited = subnet.can_set("max_weight_limit")
    if limited:
        subnet.set("max_weight_limit", 26_000)
    subnet.set("min_allowed_weights", 5)
    assert subnet.weights("second").set({3: 0.98, 4: 0.01, 0: 0.01}, since=now(subnet)) == "plain"
    row = subnet.ledger("second").metagraph().weights[2]
    assert len(row) == 5
    if limited:
        assert max(row.values()) / sum(row.values()) <= 26_000 / 65_535
        subnet.set("max_weight_limit", 65_535)
    subnet.set("min_allowed_weights", 1)


@pytest.fixture
def commit_reveal(subnet: Subnet) -> Iterator[None]:
    subnet.set("commit_reveal_weights_enabled", True)
    yield
    subnet.set("commit_reveal_weights_enabled", False)


def test_the_rate_limit_is_kept_before_the_chain_refuses(subnet: Subnet) -> None:
    weights = subnet.weights("first")
    subnet.pass_blocks(1)
    assert weights.set({3: 1.0}, since=now(subnet)) == "plain"
    subnet.set("weights_set_rate_limit", 200 if subnet.target.makes_blocks else 20)
    with pytest.raises(NotYet) as refused:
        weights.set({4: 1.0}, since=now(subnet))
    assert refused.value.error_name == "SettingWeightsTooFast"
    assert raw_weights(subnet, "first", {4: 1}) == "SettingWeightsTooFast"
    subnet.target.reach(subnet.ledger("first"), refused.value.until_block)
    assert weights.set({4: 1.0}, since=now(subnet)) == "plain"
    subnet.set("weights_set_rate_limit", 0)


@pytest.mark.usefixtures("long_epoch", "commit_reveal")
def test_committed_weights_are_hidden_and_revealed_in_their_epoch(subnet: Subnet) -> None:
    """A new process finds the salt on disk; the chain accepts the reveal only in its window."""
    before = subnet.ledger("second").metagraph().weights.get(2)
    weights, since = subnet.weights("second"), now(subnet)
    weights._encrypt = None  # as without the extra
    assert weights.set({3: 0.5, 4: 1.0}, since=since) == "commit_reveal"
    assert weights.set({3: 0.5, 4: 1.0}, since=since) is None
    assert raw_weights(subnet, "second", {3: 1}) == "CommitRevealEnabled"
    rules = subnet.ledger("second").weight_rules()
    assert len(rules.commits) == 1
    (pending,) = weights._pending.all()
    assert rules.commits[0].hash == pending.commit_hash, "the chain holds the hash that we computed"
    early = {"netuid": subnet.netuid, "uids": [3, 4], "values": [32768, 65535], "salt": list(pending.salt)}
    with pytest.raises(ChainRejected) as refused:
        subnet.ledger("second").submit(PALLET, "reveal_weights", {**early, "version_key": 0})
    assert refused.value.error_name == "RevealTooEarly"
    after_restart = subnet.weights("second")
    due = after_restart.reveal_due()
    assert due is not None
    assert subnet.ledger("second").metagraph().weights.get(2) == before, "still hidden"
    while due is not None:
        subnet.target.reach(subnet.ledger("second"), due)
        due = after_restart.reveal_due()
    assert subnet.ledger("second").metagraph().weights[2] == {3: 32768, 4: 65535}
    assert after_restart._pending.all() == []


@pytest.mark.usefixtures("long_epoch", "commit_reveal")
def test_weights_that_nobody_revealed_in_time_are_given_up(subnet: Subnet) -> None:
    weights = subnet.weights("second")
    weights._encrypt = None
    before = subnet.ledger("second").metagraph().weights[2]
    assert weights.set({0: 1.0}, since=now(subnet)) == "commit_reveal"
    for _ in range(3):
        subnet.pass_epoch()
    assert weights.reveal_due() is None
    assert weights._pending.all() == []
    assert subnet.ledger("second").metagraph().weights[2] == before


class LedgerWithMemory(Ledger):
    """Remembers what it said last, so that a clock can be set by it."""

    rules: WeightRules

    def weight_rules(self) -> WeightRules:
        self.rules = super().weight_rules()
        return self.rules


def time_for_pulse(ledger: LedgerWithMemory) -> float:
    """The time at which weights of the rules just read are encrypted to the round whose signature we have."""
    ahead_s = (ledger.rules.next_epoch_block - ledger.rules.block) * ledger.block_time_s()
    return QUICKNET_GENESIS_S + (PULSE_ROUND + PULSE_DELAY_ROUNDS + 0.5) * QUICKNET_PERIOD_S - ahead_s


@pytest.mark.usefixtures("long_epoch", "commit_reveal")
def test_timelocked_weights_are_shown_by_the_chain_itself(subnet: Subnet) -> None:
    if find_encryption() is None:
        pytest.skip("timelocked weights need the extra `timelock`")
    if not subnet.target.makes_blocks:
        pytest.skip("a running node has its own beacon, whose rounds take hours to reach ours")
    ledger = LedgerWithMemory(subnet.target.url, subnet.netuid, keypair=subnet.hot["first"], submit_timeout_s=60)
    subnet.pass_epoch()  # the older runtime reveals nothing in epochs 0 and 1
    subnet.target.reach(ledger, ledger.next_epoch_block(ledger.head().number) - 30)
    pending = PendingReveals(subnet.folder / "timelock.json")
    weights, since = WeightSetter(ledger, pending, now_s=lambda: time_for_pulse(ledger)), now(subnet)
    assert weights.set({3: 1.0, 0: 0.5}, since=since) == "timelock"
    assert weights.set({3: 1.0, 0: 0.5}, since=since) is None
    assert weights.reveal_due() is None
    write_pulse(subnet)
    subnet.pass_epoch()
    subnet.pass_epoch()
    assert ledger.metagraph().weights[1] == {0: 32768, 3: 65535}


def write_pulse(subnet: Subnet) -> None:
    """Puts the beacon's round into the chain's state, where its offchain worker would have written it."""
    signature = bytes.fromhex(PULSE_SIGNATURE)
    key = subnet.ledger("owner")._quorum.agree(lambda one: _pulse_key(one))
    compact = bytes([len(signature) << 2]) if len(signature) < 64 else (len(signature) << 2 | 1).to_bytes(2, "little")
    randomness = bytes([32 << 2]) + bytes(32)
    value = PULSE_ROUND.to_bytes(8, "little") + randomness + compact + signature
    subnet.target.request("dev_setStorage", [[[key, "0x" + value.hex()]]])


def _pulse_key(interface: Any) -> str:
    interface.init_runtime(block_hash=interface.get_chain_finalised_head())
    return str(interface.create_storage_key("Drand", "Pulses", [PULSE_ROUND]).to_hex())
