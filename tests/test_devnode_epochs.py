"""Epochs of the embedded chain: they fall where the schedule says, pay what Yuma Consensus says, and lose nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from substrateinterface import Keypair

from chain.devnode.epoch import EMISSION_PER_BLOCK_RAO, hotkeys_of, read_inputs
from chain.devnode.node import Node
from chain.devnode.overlay import Overlay
from chain.devnode.pallet import Context
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.neurons import append_neuron
from chain.devnode.pallets.registration import adopt_hotkey
from chain.devnode.pallets.shares import credit, owned
from chain.devnode.runtime import start_block
from chain.devnode.scale import Reader, compact
from chain.schedule import epoch_index, next_epoch_block, runs_epoch
from chain.yuma import run_epoch

TAO = 10**9
COLD = Keypair.create_from_uri("//Alice").public_key


def hot(uid: int) -> bytes:
    return Keypair.create_from_uri(f"//hot{uid}").public_key


@pytest.fixture
def state(tmp_path: Path) -> Overlay:
    """Subnet 1 with tempo 10, started: uid 0 owns it, 1 and 2 validate, 3 and 4 mine."""
    node = Node(tmp_path / "chain.db")
    overlay = Overlay(node.store)
    context = Context(state=overlay, block=1, events=[])
    s.NETWORKS_ADDED.put(overlay, 1, True)
    s.SUBNET_OWNER.put(overlay, 1, COLD)
    s.SUBNET_OWNER_HOTKEY.put(overlay, 1, hot(0))
    s.TEMPO.put(overlay, 1, 10)
    s.FIRST_EMISSION_BLOCK.put(overlay, 1, 2)
    for uid in range(5):
        adopt_hotkey(context, COLD, hot(uid))
        append_neuron(context, 1, hot(uid))
    credit(overlay, hot(1), COLD, 1, 300 * TAO)
    credit(overlay, hot(2), COLD, 1, 100 * TAO)
    s.LAST_UPDATE.put(overlay, 1, [1, 2, 2, 1, 1])  # weights set no later than a miner's registration do not count
    s.WEIGHTS.put(overlay, 1, 1, [(3, 65535), (4, 30000)])
    s.WEIGHTS.put(overlay, 1, 2, [(3, 65535), (4, 20000)])
    return overlay


def run_blocks(state: Overlay, first: int, last: int) -> None:
    for block in range(first, last + 1):
        start_block(Context(state=state, block=block, events=[]), bytes(32))


def total_alpha(state: Overlay) -> int:
    return sum(s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, 1) for hotkey in hotkeys_of(state, 1))


def test_what_the_epoch_stores_is_what_run_epoch_returns(state: Overlay) -> None:
    run_blocks(state, 2, 29)  # the epoch in block 8 gives permits, the one in 19 bonds
    this_block = EMISSION_PER_BLOCK_RAO - EMISSION_PER_BLOCK_RAO * s.OWNER_CUT // 65_535 - 1  # of each part a floor
    inputs = read_inputs(state, 1, 30, s.PENDING_EMISSION.get(state, 1) + this_block)
    assert inputs.permit == (True, True, True, False, False)
    outputs = run_epoch(inputs)
    run_blocks(state, 30, 30)
    for item, expected in (
        (s.INCENTIVE, outputs.incentive),
        (s.DIVIDENDS, outputs.dividends),
        (s.CONSENSUS, outputs.consensus),
        (s.VALIDATOR_TRUST, outputs.validator_trust),
        (s.VALIDATOR_PERMIT, outputs.permit),
        (s.STAKE_WEIGHT, outputs.stake_weight),
        (s.RANK, outputs.rank),
        (s.TRUST, outputs.trust),
        (s.ACTIVE, outputs.active),
        (s.EMISSION, outputs.emission),
    ):
        assert list(item.get(state, 1)) == list(expected), item.name
    assert [tuple(s.BONDS.get(state, 1, uid)) for uid in (1, 2)] == [outputs.bonds[1], outputs.bonds[2]]
    assert sum(outputs.incentive[3:]) >= 65_534
    assert s.LAST_STEP_BLOCK.get(state, 1) == 30
    assert s.BLOCKS_SINCE_LAST_STEP.get(state, 1) == 0


def test_an_epoch_pays_out_all_that_was_pending(state: Overlay) -> None:
    run_blocks(state, 2, 18)
    before, pending = total_alpha(state), s.PENDING_EMISSION.get(state, 1) + s.PENDING_OWNER_CUT.get(state, 1)
    run_blocks(state, 19, 19)
    paid = total_alpha(state) - before
    assert 0 <= pending + EMISSION_PER_BLOCK_RAO - paid <= 10  # u64 truncation of each share
    assert s.PENDING_EMISSION.get(state, 1) == s.PENDING_OWNER_CUT.get(state, 1) == 0


def test_miners_and_validators_share_half_and_half_after_the_owners_cut(state: Overlay) -> None:
    run_blocks(state, 2, 18)
    before = [s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, 1) for hotkey in hotkeys_of(state, 1)]
    run_blocks(state, 19, 19)
    after = [s.TOTAL_HOTKEY_ALPHA.get(state, hotkey, 1) for hotkey in hotkeys_of(state, 1)]
    gains = [new - old for new, old in zip(after, before, strict=True)]
    emission = 11 * EMISSION_PER_BLOCK_RAO  # since the epoch in block 8
    assert gains[0] == pytest.approx(0.18 * emission, rel=1e-3)
    assert gains[1] + gains[2] == pytest.approx(0.41 * emission, rel=1e-3)
    assert gains[3] + gains[4] == pytest.approx(0.41 * emission, rel=1e-3)
    assert gains[3] > gains[4] > 0


def test_without_incentive_validators_get_both_halves(state: Overlay) -> None:
    s.WEIGHTS.put(state, 1, 1, [])
    s.WEIGHTS.put(state, 1, 2, [])
    run_blocks(state, 2, 18)
    before = s.TOTAL_HOTKEY_ALPHA.get(state, hot(1), 1) + s.TOTAL_HOTKEY_ALPHA.get(state, hot(2), 1)
    owner_before = s.TOTAL_HOTKEY_ALPHA.get(state, hot(0), 1)
    run_blocks(state, 19, 19)
    gained = s.TOTAL_HOTKEY_ALPHA.get(state, hot(1), 1) + s.TOTAL_HOTKEY_ALPHA.get(state, hot(2), 1) - before
    owner_gained = s.TOTAL_HOTKEY_ALPHA.get(state, hot(0), 1) - owner_before
    assert gained + owner_gained == pytest.approx(11 * EMISSION_PER_BLOCK_RAO, rel=1e-6)
    assert s.TOTAL_HOTKEY_ALPHA.get(state, hot(3), 1) == 0


def test_what_the_owners_hotkey_mines_is_burned(state: Overlay) -> None:
    s.WEIGHTS.put(state, 1, 1, [(0, 65535)])
    s.WEIGHTS.put(state, 1, 2, [(0, 65535)])
    run_blocks(state, 2, 18)
    before = total_alpha(state)
    run_blocks(state, 19, 19)
    burned = 11 * EMISSION_PER_BLOCK_RAO - (total_alpha(state) - before)
    assert burned == pytest.approx(0.41 * 11 * EMISSION_PER_BLOCK_RAO, rel=1e-3)


def test_before_the_start_call_epochs_run_and_pay_nothing(state: Overlay) -> None:
    s.FIRST_EMISSION_BLOCK.remove(state, 1)
    before = total_alpha(state)
    run_blocks(state, 2, 20)
    assert s.LAST_STEP_BLOCK.get(state, 1) == 19
    assert s.VALIDATOR_PERMIT.get(state, 1)[1] is True
    assert total_alpha(state) == before
    assert s.EMISSION.get(state, 1) == [0] * 5


def test_dividends_reach_nominators_by_share(state: Overlay) -> None:
    nominator = Keypair.create_from_uri("//Bob").public_key
    credit(state, hot(1), nominator, 1, 300 * TAO)
    run_blocks(state, 2, 18)
    before = owned(state, hot(1), nominator, 1)
    total_before = s.TOTAL_HOTKEY_ALPHA.get(state, hot(1), 1)
    run_blocks(state, 19, 19)
    gained = owned(state, hot(1), nominator, 1) - before
    dividends = s.TOTAL_HOTKEY_ALPHA.get(state, hot(1), 1) - total_before
    share = before / total_before
    assert gained == pytest.approx(dividends * 0.82 * share, rel=2e-3)  # the take comes first and dilutes a little


@given(st.integers(0, 10**7), st.integers(0, 200), st.integers(1, 5000))
def test_the_next_epoch_is_the_first_block_that_runs_one(after: int, netuid: int, tempo: int) -> None:
    found = next_epoch_block(after, netuid, tempo)
    assert after < found <= after + tempo + 1
    assert runs_epoch(found, netuid, tempo)
    assert next_epoch_block(found, netuid, tempo) == found + tempo + 1
    assert epoch_index(found + 1, netuid, tempo) == epoch_index(found, netuid, tempo) + 1


def test_a_tempo_of_zero_never_runs_an_epoch() -> None:
    assert not any(runs_epoch(block, 1, 0) for block in range(10))
    with pytest.raises(ValueError, match="tempo 0"):
        next_epoch_block(5, 1, 0)


@given(st.integers(0, 2**64 - 1))
def test_compact_integers_come_back(value: int) -> None:
    reader = Reader(compact(value))
    assert reader.compact() == value
    reader.finish()
