"""The ledger's reads, on every chain alike."""

import pytest
from substrateinterface import Keypair

from chain.ledger import Ledger
from hivetune.errors import ConfigError, RetryableError
from tests.contract.subnet import NAMES, TEMPO, Subnet
from tests.contract.targets import Target


def test_the_head_moves_and_old_blocks_keep_their_hash(subnet: Subnet) -> None:
    ledger = subnet.ledger("owner")
    head = ledger.head()
    subnet.pass_blocks(2)
    assert ledger.head().number >= head.number + 2
    assert ledger.block_hash(head.number) == head.hash
    assert ledger.genesis_hash() == ledger.block_hash(0)


def test_another_genesis_than_the_pinned_one_is_refused(target: Target, subnet: Subnet) -> None:
    genesis = subnet.ledger("owner").genesis_hash()
    assert Ledger(target.url, subnet.netuid, genesis_hash=genesis).subnet_exists()
    other = Ledger(target.url, subnet.netuid, genesis_hash="0x" + "12" * 32)
    with pytest.raises(ConfigError, match="genesis 0x"):
        other.head()


def test_a_block_that_is_not_there_yet_is_retryable(subnet: Subnet) -> None:
    ledger = subnet.ledger("owner")
    with pytest.raises(RetryableError, match="not there yet"):
        ledger.block_hash(ledger.head().number + 100_000)
    with pytest.raises(RetryableError, match="0x1212"):
        ledger.metagraph("0x" + "12" * 32)


def test_a_new_subnet_holds_its_neurons_in_the_order_of_their_registration(subnet: Subnet) -> None:
    ledger = subnet.ledger("owner")
    assert ledger.subnet_exists()
    assert ledger.owner_hotkey() == subnet.hot["owner"].ss58_address
    graph = ledger.metagraph()
    assert [neuron.hotkey for neuron in graph.neurons] == [subnet.hot[name].ss58_address for name in NAMES]
    assert [neuron.coldkey for neuron in graph.neurons] == [subnet.cold[name].ss58_address for name in NAMES]
    assert [neuron.uid for neuron in graph.neurons] == list(range(len(NAMES)))
    assert graph.tempo == TEMPO
    assert graph.neurons[1].stake_rao > graph.neurons[2].stake_rao > 0
    assert graph.neurons[1].permit
    assert graph.neurons[2].permit
    assert all(0 < neuron.registered_at <= graph.head.number for neuron in graph.neurons)
    assert graph.by_hotkey(subnet.cold["owner"].ss58_address) is None
    subnet.pass_blocks(3)
    assert ledger.metagraph(graph.head.hash) == graph


def test_an_unknown_subnet_names_those_that_exist(target: Target, subnet: Subnet) -> None:
    ledger = Ledger(target.url, 4095)
    assert not ledger.subnet_exists()
    for read in (ledger.metagraph, ledger.hyperparameters, lambda: ledger.next_epoch_block(0)):
        with pytest.raises(ConfigError, match=rf"no subnet 4095 on this chain, there are \[0, .*{subnet.netuid}"):
            read()


def test_the_next_epoch_is_where_the_chain_runs_one(subnet: Subnet) -> None:
    ledger = subnet.ledger("owner")
    due = subnet.pass_epoch()
    subnet.pass_blocks(1)

    def last_step(block: int) -> int:
        at = ledger.block_hash(block)
        return int(
            ledger._quorum.agree(  # the storage item is no part of the ledger
                lambda one: one.query("SubtensorModule", "LastMechansimStepBlock", [subnet.netuid], block_hash=at).value
            )
        )

    assert last_step(due) == due
    assert last_step(due - 1) < due


def test_balances_are_in_rao_and_pay_for_registrations(subnet: Subnet) -> None:
    ledger = subnet.ledger("owner")
    unknown = Keypair.create_from_uri("//Nobody//at//all")
    assert ledger.total_balance(unknown.ss58_address) == 0
    spare = Keypair.create_from_uri(f"//Alice//{subnet.netuid}//spare//{ledger.head().hash}")
    subnet.pass_blocks(1)
    before, price = ledger.total_balance(subnet.cold["fourth"].ss58_address), ledger.hyperparameters().burn_rao
    subnet.admin(subnet.cold["fourth"]).register(subnet.netuid, spare.ss58_address)
    paid = before - ledger.total_balance(subnet.cold["fourth"].ss58_address)
    assert 0.9 * price <= paid <= 1.01 * price, "newer runtimes lower the price with every block"
    assert ledger.metagraph().by_hotkey(spare.ss58_address) is not None
