"""Epochs: what the chain stores and pays is what `chain.yuma` computes from what the chain held before."""

from dataclasses import replace

import pytest

from chain.yuma import run_epoch
from tests.contract.epochs import differences, read_input, read_output
from tests.contract.subnet import Subnet


def epoch_now(subnet: Subnet) -> tuple[int, dict[str, tuple[object, object]], int]:
    """(block, differences, what was paid) of the next epoch."""
    ledger = subnet.ledger("owner")
    block = subnet.pass_epoch()
    before, at = ledger.block_hash(block - 1), ledger.block_hash(block)
    inputs = ledger._quorum.agree(lambda one: read_input(one, subnet.netuid, before, block))
    stored = ledger._quorum.agree(lambda one: read_output(one, subnet.netuid, at))
    paid = sum(stored["emission"])
    return block, differences(run_epoch(replace(inputs, emission_rao=paid)), stored), paid


@pytest.mark.parametrize(
    "settings",
    [
        {"yuma3_enabled": False, "bonds_penalty": 65_535},
        {"yuma3_enabled": True, "bonds_penalty": 0},
        {"yuma3_enabled": True, "liquid_alpha_enabled": True, "bonds_penalty": 30_000},
    ],
)
def test_the_chain_pays_what_yuma_consensus_says(subnet: Subnet, settings: dict[str, int | bool]) -> None:
    for name, value in settings.items():
        subnet.set(name, value)
    since = subnet.ledger("owner").head().number
    subnet.weights("first").set({3: 0.7, 4: 0.3, 0: 0.1}, since=since)
    subnet.weights("second").set({3: 0.2, 4: 0.9, 1: 0.05}, since=since)
    for _ in range(2):
        _, found, paid = epoch_now(subnet)
        assert found == {}
        assert paid > 0
    graph = subnet.ledger("owner").metagraph()
    assert graph.neurons[3].incentive > 0
    assert graph.neurons[4].incentive > 0
    assert sum(neuron.dividends for neuron in graph.neurons) == pytest.approx(1.0, abs=1e-3)
    subnet.set("liquid_alpha_enabled", False)


def test_the_paid_have_more_stake_afterwards(subnet: Subnet) -> None:
    """Miners get all of their emission; of validators' the stakers get theirs, here the validators themselves."""
    ledger = subnet.ledger("owner")
    before = ledger.metagraph()
    block, _, _ = epoch_now(subnet)
    after = ledger.metagraph(ledger.block_hash(block))
    assert after.neurons[3].incentive > 0
    for uid in (1, 2, 3, 4):
        grown = after.neurons[uid].stake_rao - before.neurons[uid].stake_rao
        assert grown == pytest.approx(after.neurons[uid].emission_rao, rel=1e-3)
