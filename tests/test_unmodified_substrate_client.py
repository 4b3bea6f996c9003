"""substrate-interface as it comes from PyPI against the embedded chain: reads, signed calls, events, errors by name."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from substrateinterface import ExtrinsicReceipt, Keypair, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException

from chain.devnode.server import RunningDevnode, running_devnode

ALICE, BOB = Keypair.create_from_uri("//Alice"), Keypair.create_from_uri("//Bob")
HOT = Keypair.create_from_uri("//Alice//hot")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningDevnode]:
    with running_devnode(tmp_path / "chain.db") as running:
        yield running


@pytest.fixture
def client(node: RunningDevnode) -> Iterator[SubstrateInterface]:
    with SubstrateInterface(node.url, ss58_format=42) as substrate:
        yield substrate


def sign(client: SubstrateInterface, module: str, function: str, keypair: Keypair, **options: Any) -> Any:
    parameters = options.pop("parameters", {})
    return client.create_signed_extrinsic(client.compose_call(module, function, parameters), keypair, **options)


def transfer(client: SubstrateInterface, amount: int, keypair: Keypair = ALICE, **options: Any) -> Any:
    parameters = {"dest": BOB.ss58_address, "value": amount}
    return sign(client, "Balances", "transfer_keep_alive", keypair, parameters=parameters, **options)


def sealed(client: SubstrateInterface, node: RunningDevnode, extrinsic: Any) -> ExtrinsicReceipt:
    submitted = client.submit_extrinsic(extrinsic)
    block_hash = node.new_blocks(1)
    return ExtrinsicReceipt(client, extrinsic_hash=submitted.extrinsic_hash, block_hash=block_hash)


def free(client: SubstrateInterface, keypair: Keypair, at: str | None = None) -> int:
    return int(client.query("System", "Account", [keypair.ss58_address], block_hash=at).value["data"]["free"])


def test_a_transfer_moves_balance_and_leaves_its_events(client: SubstrateInterface, node: RunningDevnode) -> None:
    before = free(client, BOB)
    receipt = sealed(client, node, transfer(client, 12345))
    assert receipt.is_success
    assert free(client, BOB) == before + 12345
    names = [event.value["event_id"] for event in receipt.triggered_events]
    assert names == ["Transfer", "ExtrinsicSuccess"]


def test_submit_with_wait_for_inclusion_returns_when_the_block_is_there(tmp_path: Path) -> None:
    with running_devnode(tmp_path / "chain.db", block_time_s=0.1) as node:
        client = SubstrateInterface(node.url, ss58_format=42)
        receipt = client.submit_extrinsic(transfer(client, 777), wait_for_inclusion=True)
        assert receipt.is_success
        final = client.submit_extrinsic(transfer(client, 778), wait_for_finalization=True)
        assert final.finalized
        assert final.is_success


def test_past_blocks_can_be_read_at_their_hash(client: SubstrateInterface, node: RunningDevnode) -> None:
    start = free(client, BOB)
    hashes = [sealed(client, node, transfer(client, 1000)).block_hash for _ in range(3)]
    assert [free(client, BOB, at) - start for at in hashes] == [1000, 2000, 3000]
    assert free(client, BOB, client.get_block_hash(0)) == start


def test_module_errors_are_decoded_by_name(client: SubstrateInterface, node: RunningDevnode) -> None:
    receipt = sealed(client, node, sign(client, "SubtensorModule", "start_call", ALICE, parameters={"netuid": 9}))
    assert not receipt.is_success
    assert receipt.error_message is not None
    assert receipt.error_message["name"] == "SubNetworkDoesNotExist"


def test_errors_outside_pallets_are_decoded(client: SubstrateInterface, node: RunningDevnode) -> None:
    parameters = {"netuid": 1, "tempo": 10}
    receipt = sealed(client, node, sign(client, "AdminUtils", "sudo_set_tempo", BOB, parameters=parameters))
    assert receipt.error_message is not None
    assert receipt.error_message["name"] == "BadOrigin"


def test_maps_double_maps_and_many_keys_at_once_are_read(client: SubstrateInterface, node: RunningDevnode) -> None:
    call = {"hotkey": HOT.ss58_address}
    assert sealed(client, node, sign(client, "SubtensorModule", "register_network", ALICE, parameters=call)).is_success
    networks = {key.value: value.value for key, value in client.query_map("SubtensorModule", "NetworksAdded")}
    assert networks == {0: True, 1: True}
    keys = {key.value: value.value for key, value in client.query_map("SubtensorModule", "Keys", [1])}
    assert keys == {0: HOT.ss58_address}
    names = ("Tempo", "Kappa", "SubnetworkN", "SubnetOwner")
    wanted = [client.create_storage_key("SubtensorModule", name, [1]) for name in names]
    assert [value.value for _, value in client.query_multi(wanted)] == [360, 32767, 1, ALICE.ss58_address]
    assert client.query("SubtensorModule", "Uids", [1, BOB.ss58_address]).value is None


def test_maps_longer_than_a_page_are_read_whole(tmp_path: Path) -> None:
    accounts = {Keypair.create_from_uri(f"//many//{index}").ss58_address: 10**9 + index for index in range(250)}
    with running_devnode(tmp_path / "chain.db", endow=accounts) as node:
        client = SubstrateInterface(node.url, ss58_format=42)
        found = {key.value: info.value["data"]["free"] for key, info in client.query_map("System", "Account")}
    assert len(found) == 250 + 6
    assert all(found[address] == amount for address, amount in accounts.items())


def test_blocks_chain_and_their_hash_is_that_of_the_header(client: SubstrateInterface, node: RunningDevnode) -> None:
    sealed(client, node, transfer(client, 1000))
    node.new_blocks(3)
    for number in range(1, 5):
        block = client.get_block(block_number=number)
        assert block["header"]["parentHash"] == client.get_block_hash(number - 1)
    assert [one.value["call"]["call_function"] for one in client.get_block(block_number=1)["extrinsics"]] == [
        "set",
        "transfer_keep_alive",
    ]


def test_mortal_extrinsics_are_taken_until_their_era_ends(client: SubstrateInterface, node: RunningDevnode) -> None:
    node.new_blocks(3)
    assert sealed(client, node, transfer(client, 1000, era={"period": 8})).is_success
    late = transfer(client, 1000, era={"period": 4})
    node.new_blocks(8)
    with pytest.raises(SubstrateRequestException, match="1010"):
        client.submit_extrinsic(late)


def test_an_extrinsic_whose_era_ends_in_the_pool_is_not_included(
    client: SubstrateInterface, node: RunningDevnode
) -> None:
    waiting = transfer(client, 1000, era={"period": 4}, nonce=1)  # nonce 0 is missing
    client.submit_extrinsic(waiting)
    node.new_blocks(8)
    assert sealed(client, node, transfer(client, 2000, nonce=0)).is_success
    before = free(client, BOB)
    node.new_blocks(2)
    assert free(client, BOB) == before
    assert node.request("author_pendingExtrinsics", []) == []


def test_a_used_nonce_is_refused(client: SubstrateInterface, node: RunningDevnode) -> None:
    sealed(client, node, transfer(client, 1000))
    with pytest.raises(SubstrateRequestException, match=r"1010.*Invalid Transaction"):
        client.submit_extrinsic(transfer(client, 1000, nonce=0))


def test_nonces_wait_for_the_ones_before_them(client: SubstrateInterface, node: RunningDevnode) -> None:
    start = free(client, BOB)
    client.submit_extrinsic(transfer(client, 1000, nonce=1))
    node.new_blocks(1)
    assert free(client, BOB) == start
    client.submit_extrinsic(transfer(client, 2000, nonce=0))
    assert client.get_account_nonce(ALICE.ss58_address) == 2
    node.new_blocks(1)
    assert free(client, BOB) == start + 3000


def test_the_same_extrinsic_or_nonce_twice_is_refused_by_the_pool(client: SubstrateInterface) -> None:
    first = transfer(client, 1000)
    client.submit_extrinsic(first)
    with pytest.raises(SubstrateRequestException, match="1013"):
        client.submit_extrinsic(first)
    with pytest.raises(SubstrateRequestException, match="1014"):
        client.submit_extrinsic(transfer(client, 2000, nonce=0))


def test_a_signature_by_another_key_is_refused(client: SubstrateInterface) -> None:
    call = client.compose_call("Balances", "transfer_keep_alive", {"dest": BOB.ss58_address, "value": 1000})
    payload = client.generate_signature_payload(call, nonce=0)
    forged = client.create_signed_extrinsic(call, ALICE, nonce=0, signature=BOB.sign(payload))
    with pytest.raises(SubstrateRequestException, match="bad signature"):
        client.submit_extrinsic(forged)
    honest = client.create_signed_extrinsic(call, ALICE, nonce=0, signature=ALICE.sign(payload))
    client.submit_extrinsic(honest)


@pytest.mark.parametrize("part", ["amount", "nonce", "tip"])
def test_a_signed_extrinsic_cannot_be_changed(client: SubstrateInterface, part: str) -> None:
    call = client.compose_call("Balances", "transfer_keep_alive", {"dest": BOB.ss58_address, "value": 1000})
    signature = ALICE.sign(client.generate_signature_payload(call, nonce=0, tip=0))
    amount = 1001 if part == "amount" else 1000
    changed = client.compose_call("Balances", "transfer_keep_alive", {"dest": BOB.ss58_address, "value": amount})
    nonce, tip = int(part == "nonce"), int(part == "tip")
    extrinsic = client.create_signed_extrinsic(changed, ALICE, nonce=nonce, tip=tip, signature=signature)
    with pytest.raises(SubstrateRequestException, match="bad signature"):
        client.submit_extrinsic(extrinsic)


def test_an_extrinsic_signed_for_another_chain_is_refused(client: SubstrateInterface, tmp_path: Path) -> None:
    with running_devnode(tmp_path / "other.db", endow={HOT.ss58_address: 10**9}) as other:
        elsewhere = SubstrateInterface(other.url, ss58_format=42)
        assert elsewhere.get_block_hash(0) != client.get_block_hash(0)
        with pytest.raises(SubstrateRequestException, match="bad signature"):
            client.submit_extrinsic(transfer(elsewhere, 1000))


def test_a_long_call_is_signed_over_its_hash(client: SubstrateInterface, node: RunningDevnode) -> None:
    parameters = {"netuid": 1, "dests": list(range(200)), "weights": [1] * 200, "version_key": 0}
    receipt = sealed(client, node, sign(client, "SubtensorModule", "set_weights", ALICE, parameters=parameters))
    assert receipt.error_message is not None
    assert receipt.error_message["name"] == "SubNetworkDoesNotExist"


def test_sudo_runs_a_call_as_root_and_only_for_its_key(client: SubstrateInterface, node: RunningDevnode) -> None:
    inner = client.compose_call("AdminUtils", "sudo_set_stake_threshold", {"min_stake": 5})
    refused = sealed(client, node, sign(client, "Sudo", "sudo", BOB, parameters={"call": inner}))
    assert refused.error_message is not None
    assert refused.error_message["name"] == "RequireSudo"
    assert sealed(client, node, sign(client, "Sudo", "sudo", ALICE, parameters={"call": inner})).is_success
    assert client.query("SubtensorModule", "StakeThreshold").value == 5


def test_a_user_cannot_set_the_time(client: SubstrateInterface, node: RunningDevnode) -> None:
    receipt = sealed(client, node, sign(client, "Timestamp", "set", ALICE, parameters={"now": 1}))
    assert receipt.error_message is not None
    assert receipt.error_message["name"] == "BadOrigin"


def test_new_heads_can_be_followed(client: SubstrateInterface, node: RunningDevnode) -> None:
    seen: list[int] = []

    def follow(header: dict[str, Any], update: int, _subscription: str) -> bool | None:
        seen.append(int(header["header"]["number"]))
        return True if update == 2 else None

    thread = threading.Thread(target=lambda: client.subscribe_block_headers(follow))
    thread.start()
    while not seen:
        time.sleep(0.01)
    node.new_blocks(2)
    thread.join(timeout=5)
    assert seen == [0, 1, 2]
