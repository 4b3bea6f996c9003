"""The ledger on the embedded chain: every method over a real socket, and what it does when the chain misbehaves."""

import math
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from substrateinterface import Keypair

from chain.devnode.server import RunningDevnode, running_devnode
from chain.ledger import ChainRejected, Ledger, quantize
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError, RetryableError

NAMES = ("//Alice", "//Bob", "//Charlie")
COLD = [Keypair.create_from_uri(name) for name in NAMES]
HOT = [Keypair.create_from_uri(f"{name}//hot") for name in NAMES]
TAO = 10**9


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnode]:
    """Subnet 1 of Alice with Bob staked and Charlie mining; a block every 50 ms."""
    with running_devnode(tmp_path_factory.mktemp("chain") / "chain.db", block_time_s=0.05) as running:
        build_subnet(running)
        yield running


def build_subnet(node: RunningDevnode) -> None:
    owner = SubnetAdmin(node.url, COLD[0])
    assert owner.register_network(HOT[0].ss58_address) == 1
    owner.sudo_set(1, "tempo", 10)
    owner.sudo_set(1, "max_registrations_per_block", 8)
    owner.sudo_set(1, "sudo_set_weights_set_rate_limit", 0)
    for cold, hot in zip(COLD[1:], HOT[1:], strict=True):
        SubnetAdmin(node.url, cold).register(1, hot.ss58_address)
    node.new_blocks(10)
    owner.start(1)
    SubnetAdmin(node.url, COLD[1]).add_stake(1, HOT[1].ss58_address, 1000 * TAO)
    node.new_blocks(22)


@pytest.fixture
def ledger(node: RunningDevnode) -> Iterator[Ledger]:
    made = Ledger(node.url, 1, keypair=HOT[1], timeout_s=10, submit_timeout_s=20)
    yield made
    made.close()


def test_the_head_moves_and_old_blocks_keep_their_hash(ledger: Ledger) -> None:
    head = ledger.head()
    later = ledger.wait_for_block(head.number + 2, timeout_s=5, poll_s=0.02)
    assert later.number >= head.number + 2
    assert ledger.block_hash(head.number) == head.hash
    assert ledger.genesis_hash() == ledger.block_hash(0)


def test_a_block_that_is_not_there_yet_is_retryable(ledger: Ledger) -> None:
    with pytest.raises(RetryableError, match="not there yet"):
        ledger.block_hash(ledger.head().number + 1000)
    with pytest.raises(RetryableError, match="no block 0x12"):
        ledger.metagraph("0x" + "12" * 32)


def test_a_metagraph_shows_one_block(ledger: Ledger, node: RunningDevnode) -> None:
    ledger.set_weights({2: 0.25, 0: 0.5, 1: 0.0})
    node.new_blocks(11)
    graph = ledger.metagraph()
    assert [neuron.hotkey for neuron in graph.neurons] == [hot.ss58_address for hot in HOT]
    assert [neuron.coldkey for neuron in graph.neurons] == [cold.ss58_address for cold in COLD]
    assert graph.owner_hotkey == HOT[0].ss58_address
    assert (graph.tempo, graph.kappa) == (10, 32767)
    assert graph.weights[1] == {0: 65535, 2: 32768}
    bob, charlie = graph.neurons[1], graph.by_hotkey(HOT[2].ss58_address)
    assert charlie is not None
    assert bob.permit
    assert bob.stake_rao > 1000 * TAO
    assert bob.dividends > 0.9
    assert charlie.incentive == pytest.approx(1 / 3, abs=1e-3)
    assert charlie.emission_rao > 0
    assert charlie.active
    assert bob.last_update > bob.registered_at > 0
    assert graph.by_hotkey(COLD[0].ss58_address) is None
    node.new_blocks(11)
    assert ledger.metagraph(graph.head.hash) == graph


def test_hyperparameters_are_read_at_a_block(ledger: Ledger, node: RunningDevnode) -> None:
    before = ledger.head()
    SubnetAdmin(node.url, COLD[0]).sudo_set(1, "immunity_period", 77)
    values = ledger.hyperparameters()
    assert (values.tempo, values.immunity_period, values.max_allowed_uids) == (10, 77, 256)
    assert values.burn_rao == TAO // 10
    assert not values.commit_reveal_weights
    assert ledger.hyperparameters(before.hash).immunity_period == 5000


@pytest.mark.parametrize("size", [0, 1, 32, 100, 128])
def test_commitments_of_any_size_come_back_byte_by_byte(ledger: Ledger, node: RunningDevnode, size: int) -> None:
    while ledger.next_epoch_block(ledger.head().number) - ledger.head().number > 8:
        node.new_blocks(1)  # within the quota of the epoch
    data = bytes(255 - index for index in range(size))
    result = ledger.set_commitment(data)
    found = ledger.commitment(ledger.hotkey)
    assert found is not None
    assert (found.hotkey, found.block, found.data) == (ledger.hotkey, result.block, data)
    assert ledger.block_hash(result.block) == result.block_hash
    assert ledger.commitments()[ledger.hotkey] == found
    assert ledger.commitments(ledger.genesis_hash()) == {}
    assert ledger.commitment(HOT[0].ss58_address) is None


def test_a_commitment_that_is_too_long_is_refused_here(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="129 bytes, at most 128"):
        ledger.set_commitment(bytes(129))


def test_errors_of_pallets_carry_their_name(ledger: Ledger, node: RunningDevnode) -> None:
    stranger = Ledger(node.url, 1, keypair=Keypair.create_from_uri("//Stranger"), submit_timeout_s=10)
    with pytest.raises(ChainRejected) as committing:
        stranger.set_commitment(b"x")
    assert committing.value.error_name == "AccountNotAllowedCommit"
    with pytest.raises(ChainRejected) as setting:
        ledger.set_weights({99: 1.0})
    assert setting.value.error_name == "UidVecContainInvalidOne"
    with pytest.raises(ChainRejected) as sudo:
        SubnetAdmin(node.url, COLD[0]).sudo_set(9, "tempo", 10)
    assert sudo.value.error_name == "SubnetDoesNotExist"
    with pytest.raises(ChainRejected) as owner:
        SubnetAdmin(node.url, COLD[1]).sudo_set(1, "tempo", 10)
    assert owner.value.error_name == "BadOrigin"


def test_unknown_hyperparameters_are_listed(node: RunningDevnode) -> None:
    with pytest.raises(ConfigError, match="sudo_set_tempo"):
        SubnetAdmin(node.url, COLD[0]).sudo_set(1, "colour", 1)


def test_an_unknown_subnet_names_those_that_exist(node: RunningDevnode) -> None:
    ledger = Ledger(node.url, 7)
    assert not ledger.subnet_exists()
    for read in (ledger.metagraph, ledger.hyperparameters, lambda: ledger.next_epoch_block(0)):
        with pytest.raises(ConfigError, match=r"no subnet 7 on this chain, there are \[0, 1\]"):
            read()


def test_without_a_wallet_one_can_only_read(node: RunningDevnode) -> None:
    ledger = Ledger(node.url, 1)
    assert ledger.subnet_exists()
    with pytest.raises(ConfigError, match="hotkey"):
        _ = ledger.hotkey
    with pytest.raises(ConfigError, match="hotkey"):
        ledger.set_commitment(b"x")


def test_the_next_epoch_is_where_the_chain_runs_one(ledger: Ledger, node: RunningDevnode) -> None:
    due = ledger.next_epoch_block(ledger.head().number)
    ledger.wait_for_block(due + 1, timeout_s=5, poll_s=0.02)
    query = ledger._connection.use  # the storage item is no part of the ledger
    last = query(
        lambda one: one.query("SubtensorModule", "LastMechansimStepBlock", [1], block_hash=ledger.block_hash(due))
    )
    assert last.value == due


def test_balances_are_in_rao(ledger: Ledger) -> None:
    assert ledger.total_balance(COLD[2].ss58_address) == 10**15 - TAO // 10
    assert ledger.total_balance(HOT[2].ss58_address) == 0


@pytest.mark.parametrize("bad", [{}, {1: 0.0}, {1: -1.0, 2: 1.0}, {1: math.nan}, {1: math.inf}, {70000: 1.0}])
def test_impossible_weights_are_refused_here(ledger: Ledger, bad: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"weight|uid"):
        ledger.set_weights(bad)


@given(st.dictionaries(st.integers(0, 255), st.floats(1e-3, 1e3), min_size=1, max_size=50))
def test_quantized_weights_keep_their_ratios(weights: dict[int, float]) -> None:
    found = quantize(weights)
    largest = max(weights.values())
    assert max(found.values()) == 65535
    for uid, weight in weights.items():
        assert abs(found.get(uid, 0) - weight / largest * 65535) <= 0.5 + 1e-6


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    heads: list[int] = []
    threads = [threading.Thread(target=lambda: heads.append(ledger.metagraph().head.number)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heads) == 8


def test_two_clients_with_one_key_both_land_once(node: RunningDevnode) -> None:
    """Nonces are taken by both at once; each call costs its stake exactly once."""
    results: list[int] = []
    failures: list[Exception] = []

    def stake(rounds: int) -> None:
        admin = SubnetAdmin(node.url, COLD[2], submit_timeout_s=20)
        try:
            for _ in range(rounds):
                results.append(admin.add_stake(1, HOT[2].ss58_address, TAO).block)
        except RetryableError as error:
            failures.append(error)
        finally:
            admin.close()

    reader = Ledger(node.url, 1)
    before = reader.total_balance(COLD[2].ss58_address)
    threads = [threading.Thread(target=stake, args=(3,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(results) == 6
    assert before - reader.total_balance(COLD[2].ss58_address) == 6 * TAO
