"""Which runtime a chain follows: it is born with one, keeps it, and shows clients exactly what that one has."""

from pathlib import Path

import pytest
from substrateinterface import SubstrateInterface

from chain.devnode.node import Node
from chain.devnode.pallets import subtensor as s
from chain.devnode.rules import BOTH, NEW, OLD
from chain.devnode.server import running_devnode
from hivetune.errors import ConfigError
from tests.devnode_chain import NETUID, Chain

ONLY_OLD_NAMES = {
    "calls": {"commit_crv3_weights"},
    "storage": {"Rank", "Trust", "PruningScores", "PendingEmission", "NetworkLastRegistered"},
    "errors": {"SubNetworkDoesNotExist", "StakingOperationRateLimitExceeded"},
}
ONLY_NEW_NAMES = {
    "calls": {
        "commit_timelocked_weights", "commit_timelocked_mechanism_weights", "commit_mechanism_weights",
        "reveal_mechanism_weights", "set_mechanism_weights", "set_tempo", "trigger_epoch",
        "set_activity_cutoff_factor", "register_limit",
    },
    "storage": {
        "TimelockedWeightCommits", "LastEpochBlock", "PendingEpochAt", "SubnetEpochIndex", "ActivityCutoffFactorMilli",
        "AlphaV2", "TotalHotkeySharesV2", "CommitRevealWeightsVersion", "MinNonImmuneUids", "ImmuneOwnerUidsLimit",
    },
    "errors": {"SubnetNotExists", "IncorrectCommitRevealVersion", "AdminActionProhibitedDuringWeightsWindow"},
}  # fmt: skip


def shown(client: SubstrateInterface) -> dict[str, set[str]]:
    (pallet,) = (pallet for pallet in client.get_metadata().pallets if pallet.value["name"] == "SubtensorModule")
    return {
        "calls": {call.name for call in pallet.calls},
        "storage": {item.value["name"] for item in pallet.storage},
        "errors": {error.name for error in pallet.errors},
    }


@pytest.mark.parametrize("rules", BOTH)
def test_clients_see_the_names_of_the_runtime_that_is_followed(tmp_path: Path, rules: int) -> None:
    present, absent = (ONLY_OLD_NAMES, ONLY_NEW_NAMES) if rules == OLD else (ONLY_NEW_NAMES, ONLY_OLD_NAMES)
    with running_devnode(tmp_path / "chain.db", rules=rules) as node:
        client = SubstrateInterface(node.url)
        assert client.rpc_request("state_getRuntimeVersion", [])["result"]["specVersion"] == rules
        names = shown(client)
        for kind, wanted in present.items():
            assert wanted <= names[kind]
            assert not absent[kind] & names[kind] - {"SubnetNotExists"}, "the old runtime has this error too"
        assert {"commit_weights", "reveal_weights", "batch_commit_weights", "set_weights"} <= names["calls"]
        default = client.query("SubtensorModule", "CommitRevealWeightsEnabled", [1]).value
        assert default is (rules == NEW)


def test_a_chain_keeps_the_rules_it_was_born_with(tmp_path: Path) -> None:
    Node(tmp_path / "chain.db", rules=NEW).close()
    with pytest.raises(ConfigError, match="follows runtime 425, asked for is 300"):
        Node(tmp_path / "chain.db")
    node = Node(tmp_path / "chain.db", rules=NEW)
    assert node.rules.spec_version == NEW
    node.close()


def test_other_rules_than_these_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rules of runtime 301, there are 300, 425"):
        Node(tmp_path / "chain.db", rules=301)
    assert not (tmp_path / "chain.db").exists()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (OLD, {"COMMIT_REVEAL_ON": False, "YUMA3_ON": False, "BURN": 10**8, "KAPPA": 32767, "MAX_ALLOWED_UIDS": 256}),
        (NEW, {"COMMIT_REVEAL_ON": True, "YUMA3_ON": True, "BURN": 10**9, "KAPPA": 32767, "MAX_ALLOWED_UIDS": 256}),
    ],
)
def test_a_new_subnet_starts_as_its_runtime_has_it(rules: int, expected: dict[str, object]) -> None:
    chain = Chain(rules)
    assert chain.call("//Alice", "register_network", hotkey=bytes(range(32))) == "ok"
    assert {name: chain.read(getattr(s, name), NETUID) for name in expected} == expected
