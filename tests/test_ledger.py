"""The ledger on the embedded chain beyond the contract that every chain has to keep: see tests/contract."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from substrateinterface import Keypair

from chain.devnode.server import RunningDevnode, running_devnode
from chain.ledger import ChainRejected, Ledger
from chain.pending import PendingReveals
from chain.subnet_admin import SubnetAdmin
from chain.weight_setter import WeightSetter
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


@pytest.fixture
def weights(ledger: Ledger, tmp_path: Path) -> WeightSetter:
    return WeightSetter(ledger, PendingReveals(tmp_path / "pending.json"))


def test_a_metagraph_shows_one_block(ledger: Ledger, weights: WeightSetter, node: RunningDevnode) -> None:
    assert weights.set({2: 0.25, 0: 0.5, 1: 0.0}, since=ledger.head().number) == "plain"
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


def test_errors_of_pallets_carry_their_name(ledger: Ledger, weights: WeightSetter, node: RunningDevnode) -> None:
    stranger = Ledger(node.url, 1, keypair=Keypair.create_from_uri("//Stranger"), submit_timeout_s=10)
    with pytest.raises(ChainRejected) as committing:
        stranger.set_commitment(b"x")
    assert committing.value.error_name == "AccountNotAllowedCommit"
    with pytest.raises(ChainRejected) as setting:
        weights.set({99: 1.0}, since=ledger.head().number)
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


def test_without_a_wallet_one_can_only_read(node: RunningDevnode) -> None:
    ledger = Ledger(node.url, 1)
    assert ledger.subnet_exists()
    with pytest.raises(ConfigError, match="hotkey"):
        _ = ledger.hotkey
    with pytest.raises(ConfigError, match="hotkey"):
        ledger.set_commitment(b"x")


@pytest.mark.parametrize("bad", [{}, {1: 0.0}, {1: -1.0, 2: 1.0}, {1: math.nan}, {1: math.inf}, {70000: 1.0}])
def test_impossible_weights_are_refused_here(ledger: Ledger, weights: WeightSetter, bad: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"weight|uid"):
        weights.set(bad, since=ledger.head().number)


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
