"""The embedded chain's rules: registration, stake, the checks of set_weights in order, quota, hyperparameters."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from substrateinterface import ExtrinsicReceipt, Keypair, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from chain.devnode.pallets.weights import is_max_limited, max_upscale
from chain.devnode.server import RunningDevnode, running_devnode

COLD = [Keypair.create_from_uri(uri) for uri in ("//Alice", "//Bob", "//Charlie", "//Dave")]
HOT = [Keypair.create_from_uri(f"{uri}//hot") for uri in ("//Alice", "//Bob", "//Charlie", "//Dave")]
STRANGER = Keypair.create_from_uri("//Stranger")
TAO = 10**9


class Chain:
    """A node, its client, and one line per call: `chain.call(key, module, function, ...)` is the error's name or ok.

    What the pool refuses gives the reason that its answer tells.
    """

    def __init__(self, node: RunningDevnode) -> None:
        self.node = node
        self.client = SubstrateInterface(node.url, ss58_format=42)

    def call(self, keypair: Keypair, module: str, function: str, **parameters: Any) -> str:
        composed = self.client.compose_call(module, function, parameters)
        try:
            submitted = self.client.submit_extrinsic(self.client.create_signed_extrinsic(composed, keypair))
        except SubstrateRequestException as error:
            return str(error.args[0]["data"])
        block_hash = self.node.new_blocks(1)
        receipt = ExtrinsicReceipt(self.client, extrinsic_hash=submitted.extrinsic_hash, block_hash=block_hash)
        return "ok" if receipt.is_success else str((receipt.error_message or {})["name"])

    def sudo(self, function: str, **parameters: Any) -> None:
        call = self.client.compose_call("AdminUtils", function, parameters)
        assert self.call(COLD[0], "Sudo", "sudo", call=call) == "ok"

    def subtensor(self, keypair: Keypair, function: str, **parameters: Any) -> str:
        return self.call(keypair, "SubtensorModule", function, **parameters)

    def weights(self, keypair: Keypair, dests: list[int], values: list[int], netuid: int = 1, version: int = 0) -> str:
        return self.subtensor(keypair, "set_weights", netuid=netuid, dests=dests, weights=values, version_key=version)

    def value(self, name: str, *keys: Any) -> Any:
        return self.client.query("SubtensorModule", name, list(keys)).value


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Chain]:
    with running_devnode(tmp_path / "chain.db") as node:
        yield Chain(node)


@pytest.fixture
def chain(empty: Chain) -> Chain:
    """Subnet 1 of Alice, four neurons of which uid 1 has stake and a permit; epochs every 11 blocks."""
    assert empty.subtensor(COLD[0], "register_network", hotkey=HOT[0].ss58_address) == "ok"
    empty.sudo("sudo_set_tempo", netuid=1, tempo=10)
    empty.sudo("sudo_set_max_registrations_per_block", netuid=1, max_registrations_per_block=8)
    empty.sudo("sudo_set_target_registrations_per_interval", netuid=1, target_registrations_per_interval=100)
    for cold, hot in zip(COLD[1:], HOT[1:], strict=True):
        assert empty.subtensor(cold, "burned_register", netuid=1, hotkey=hot.ss58_address) == "ok"
    empty.node.new_blocks(10)
    assert empty.subtensor(COLD[0], "start_call", netuid=1) == "ok"
    stake = {"hotkey": HOT[1].ss58_address, "netuid": 1, "amount_staked": 1000 * TAO}
    assert empty.subtensor(COLD[1], "add_stake", **stake) == "ok"
    empty.node.new_blocks(22)
    empty.sudo("sudo_set_weights_set_rate_limit", netuid=1, weights_set_rate_limit=0)
    return empty


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ([0, 1, 65534], [0, 1, 65535]),
        ([0, 0, 0], [0, 0, 0]),
        ([1, 1], [65535, 65535]),
        ([0, 1, 2, 32768, 32769], [0, 2, 4, 65533, 65535]),
        ([1, 2], [32768, 65535]),
        ([], []),
    ],
)
def test_weights_are_upscaled_as_the_pallet_does(given: list[int], stored: list[int]) -> None:
    assert max_upscale(given) == stored


@pytest.mark.parametrize(
    ("values", "limit", "allowed"),
    [
        ([0, 65535, 65535], 32767, False),
        ([0, 65535, 65535], 32768, True),
        ([65535, 65535, 65535], 21845, True),
        ([65535, 65535, 65535], 21844, False),
        ([0, 0], 0, True),
    ],
)
def test_the_largest_share_is_limited_as_the_pallet_does(values: list[int], limit: int, allowed: bool) -> None:
    assert is_max_limited(values, limit) is allowed


def test_set_weights_fails_by_name_in_the_pallets_order(chain: Chain) -> None:
    """Each case passes all checks before its own and breaks it and later ones too, which must not be told."""
    validator, miner = HOT[1], HOT[2]
    chain.sudo("sudo_set_weights_version_key", netuid=1, weights_version_key=5)
    bad = [9, 9]
    assert chain.weights(STRANGER, bad, [1], netuid=0) == "CanNotSetRootNetworkWeights"
    assert chain.weights(STRANGER, bad, [1], netuid=7) == "WeightVecNotEqualSize"
    assert chain.weights(STRANGER, bad, [1, 1], netuid=7) == "SubNetworkDoesNotExist"
    assert chain.weights(STRANGER, [9] * 5, [1] * 5) == "UidsLengthExceedUidsInSubNet"
    assert chain.weights(STRANGER, bad, [1, 1]) == "HotKeyNotRegisteredInSubNet"
    chain.sudo("sudo_set_stake_threshold", min_stake=TAO)
    assert chain.weights(miner, bad, [1, 1]) == "Custom error: 1"
    chain.sudo("sudo_set_stake_threshold", min_stake=0)
    assert chain.weights(miner, bad, [1, 1], version=4) == "IncorrectWeightVersionKey"
    chain.sudo("sudo_set_weights_set_rate_limit", netuid=1, weights_set_rate_limit=1000)
    assert chain.weights(miner, bad, [1, 1], version=5) == "SettingWeightsTooFast"
    chain.sudo("sudo_set_weights_set_rate_limit", netuid=1, weights_set_rate_limit=0)
    assert chain.weights(miner, bad, [1, 1], version=5) == "NeuronNoValidatorPermit"
    assert chain.weights(validator, bad, [1, 1], version=5) == "DuplicateUids"
    assert chain.weights(validator, [9], [1], version=5) == "UidVecContainInvalidOne"
    chain.sudo("sudo_set_min_allowed_weights", netuid=1, min_allowed_weights=2)
    chain.sudo("sudo_set_max_weight_limit", netuid=1, max_weight_limit=40000)
    assert chain.weights(validator, [2], [1], version=5) == "WeightVecLengthIsLow"
    assert chain.weights(validator, [2, 3], [1, 9], version=5) == "MaxWeightExceeded"
    assert chain.weights(validator, [2, 3], [10, 12], version=6) == "ok"
    assert chain.value("Weights", 1, 1) == [(2, 54613), (3, 65535)]


def test_a_failed_call_changes_nothing_but_the_nonce(chain: Chain) -> None:
    before = chain.value("LastUpdate", 1)
    assert chain.weights(HOT[1], [9], [1]) == "UidVecContainInvalidOne"
    assert chain.value("LastUpdate", 1) == before
    assert chain.value("Weights", 1, 1) == []


def test_anyone_may_set_a_single_weight_on_itself(chain: Chain) -> None:
    chain.sudo("sudo_set_min_allowed_weights", netuid=1, min_allowed_weights=3)
    chain.sudo("sudo_set_max_weight_limit", netuid=1, max_weight_limit=100)
    assert chain.weights(HOT[2], [2], [1]) == "ok"


def test_the_rate_limit_counts_from_the_last_setting(chain: Chain) -> None:
    chain.sudo("sudo_set_weights_set_rate_limit", netuid=1, weights_set_rate_limit=4)
    assert chain.weights(HOT[1], [2], [1]) == "ok"
    assert chain.weights(HOT[1], [2], [1]) == "SettingWeightsTooFast"
    chain.node.new_blocks(2)
    assert chain.weights(HOT[1], [2], [1]) == "ok"


def commit(chain: Chain, keypair: Keypair, *fields: dict[str, bytes], netuid: int = 1) -> str:
    return chain.call(keypair, "Commitments", "set_commitment", netuid=netuid, info={"fields": [list(fields)]})


def test_commitments_are_stored_with_their_block(chain: Chain) -> None:
    assert commit(chain, HOT[2], {"Raw5": b"hello"}) == "ok"
    stored = chain.client.query("Commitments", "CommitmentOf", [1, HOT[2].ss58_address]).value
    assert stored["block"] == chain.client.get_block_number(chain.client.get_chain_head())
    assert stored["deposit"] == 0
    assert "0x" + b"hello".hex() in str(stored["info"])


def test_only_registered_hotkeys_commit(chain: Chain) -> None:
    assert commit(chain, STRANGER, {"Raw1": b"x"}) == "AccountNotAllowedCommit"
    assert commit(chain, HOT[2], {"Raw1": b"x"}, netuid=3) == "AccountNotAllowedCommit"
    assert commit(chain, HOT[2], *[{"Raw1": b"x"}] * 4) == "a vector of 4, at most 3"


def test_the_quota_of_bytes_per_epoch_counts_short_calls_as_hundred(chain: Chain) -> None:
    while chain.value("BlocksSinceLastStep", 1) != 0:
        chain.node.new_blocks(1)
    chain.sudo("sudo_set_tempo", netuid=1, tempo=1000)
    big = {"BigRaw": b"y" * 512}
    for _ in range(2):
        assert commit(chain, HOT[2], big, big, {"Raw1": b"x"}) == "ok"  # 1025 bytes each
    assert commit(chain, HOT[2], big, big) == "ok"  # 3074 in all
    assert commit(chain, HOT[2], {"Raw1": b"x"}) == "SpaceLimitExceeded"
    assert commit(chain, HOT[3], {"Raw1": b"x"}) == "ok"
    chain.node.new_blocks(1001)
    assert commit(chain, HOT[2], {"Raw1": b"x"}) == "ok"


def test_registration_burns_and_is_refused_by_name(empty: Chain) -> None:
    hotkey = HOT[1].ss58_address
    register = "burned_register"
    assert empty.subtensor(COLD[1], register, netuid=0, hotkey=hotkey) == "RegistrationNotPermittedOnRootSubnet"
    assert empty.subtensor(COLD[1], register, netuid=1, hotkey=hotkey) == "SubNetworkDoesNotExist"
    assert empty.subtensor(COLD[0], "register_network", hotkey=HOT[0].ss58_address) == "ok"
    assert empty.subtensor(STRANGER, register, netuid=1, hotkey=hotkey) == "NotEnoughBalanceToStake"
    owned = HOT[0].ss58_address
    assert empty.subtensor(COLD[1], register, netuid=1, hotkey=owned) == "HotKeyAlreadyRegisteredInSubNet"
    before = empty.client.query("System", "Account", [COLD[1].ss58_address]).value["data"]["free"]
    assert empty.subtensor(COLD[1], register, netuid=1, hotkey=hotkey) == "ok"
    after = empty.client.query("System", "Account", [COLD[1].ss58_address]).value["data"]["free"]
    assert before - after == empty.value("Burn", 1)
    assert empty.value("Owner", hotkey) == COLD[1].ss58_address
    assert empty.value("Uids", 1, hotkey) == 1
    for index in range(2):
        other = Keypair.create_from_uri(f"//Bob//{index}").ss58_address
        assert empty.subtensor(COLD[1], register, netuid=1, hotkey=other) == "ok"
    spare = Keypair.create_from_uri("//Bob//spare").ss58_address
    assert empty.subtensor(COLD[1], register, netuid=1, hotkey=spare) == "Custom error: 6"
    empty.sudo("sudo_set_target_registrations_per_interval", netuid=1, target_registrations_per_interval=9)
    assert empty.subtensor(COLD[0], "register_network", hotkey=HOT[0].ss58_address) == "ok"
    assert empty.subtensor(COLD[2], register, netuid=2, hotkey=hotkey) == "NonAssociatedColdKey"
    empty.sudo("sudo_set_network_registration_allowed", netuid=1, registration_allowed=False)
    assert empty.subtensor(COLD[1], register, netuid=1, hotkey=spare) == "SubNetRegistrationDisabled"


def test_stake_is_refused_by_name_and_comes_back(chain: Chain) -> None:
    hotkey = HOT[1].ss58_address
    stake = {"hotkey": hotkey, "netuid": 1}
    assert chain.subtensor(COLD[1], "add_stake", **stake, amount_staked=1_999_999) == "Custom error: 1"
    assert chain.subtensor(STRANGER, "add_stake", **stake, amount_staked=TAO) == "Custom error: 2"
    nowhere = {"hotkey": hotkey, "netuid": 9}
    assert chain.subtensor(COLD[1], "add_stake", **nowhere, amount_staked=TAO) == "Custom error: 3"
    unknown = {"hotkey": STRANGER.ss58_address, "netuid": 1}
    assert chain.subtensor(COLD[1], "add_stake", **unknown, amount_staked=TAO) == "Custom error: 4"
    assert chain.subtensor(COLD[2], "add_stake", **stake, amount_staked=TAO) == "ok"
    assert chain.subtensor(COLD[2], "remove_stake", **stake, amount_unstaked=2 * TAO) == "Custom error: 5"
    assert chain.subtensor(COLD[2], "remove_stake", **stake, amount_unstaked=1) == "Custom error: 1"
    before = chain.value("TotalHotkeyAlpha", hotkey, 1)
    assert chain.subtensor(COLD[2], "remove_stake", **stake, amount_unstaked=TAO // 2) == "ok"
    assert chain.value("TotalHotkeyAlpha", hotkey, 1) == before - TAO // 2


def test_staking_and_emission_wait_for_the_start_call(empty: Chain) -> None:
    assert empty.subtensor(COLD[0], "register_network", hotkey=HOT[0].ss58_address) == "ok"
    stake = {"hotkey": HOT[0].ss58_address, "netuid": 1, "amount_staked": TAO}
    assert empty.subtensor(COLD[0], "add_stake", **stake) == "Custom error: 255"  # SubtokenDisabled
    assert empty.subtensor(COLD[1], "start_call", netuid=1) == "BadOrigin"
    assert empty.subtensor(COLD[0], "start_call", netuid=1) == "NeedWaitingMoreBlocksToStarCall"
    empty.node.new_blocks(8)
    assert empty.value("PendingEmission", 1) == 0
    assert empty.subtensor(COLD[0], "start_call", netuid=1) == "ok"
    assert empty.subtensor(COLD[0], "start_call", netuid=1) == "FirstEmissionBlockNumberAlreadySet"
    assert empty.value("PendingEmission", 1) + empty.value("PendingOwnerCut", 1) == TAO - 1  # two floors


def test_the_owner_sets_what_the_pallet_leaves_to_it(chain: Chain) -> None:
    def admin(keypair: Keypair, function: str, **parameters: Any) -> str:
        return chain.call(keypair, "AdminUtils", function, netuid=1, **parameters)

    assert admin(COLD[0], "sudo_set_immunity_period", immunity_period=7) == "ok"
    assert chain.value("ImmunityPeriod", 1) == 7
    assert admin(COLD[1], "sudo_set_immunity_period", immunity_period=8) == "BadOrigin"
    assert admin(COLD[0], "sudo_set_tempo", tempo=5) == "BadOrigin"


def test_a_second_subnet_waits_for_the_network_rate_limit(chain: Chain) -> None:
    chain.sudo("sudo_set_network_rate_limit", rate_limit=100)
    assert chain.subtensor(COLD[1], "register_network", hotkey=HOT[1].ss58_address) == "NetworkTxRateLimitExceeded"
    chain.node.new_blocks(60)
    assert chain.subtensor(COLD[1], "register_network", hotkey=HOT[1].ss58_address) == "ok"
    assert chain.value("SubnetOwner", 2) == COLD[1].ss58_address
