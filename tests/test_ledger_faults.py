"""Every fault of the only endpoint against every call of the ledger: it ends, with the right error or the truth.

A sample of the pairs runs always, all of them where HIVETUNE_FULL_MATRIX is set.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from substrateinterface import Keypair

from chain.devnode.faults import VARIANTS
from chain.devnode.server import RunningDevnode
from chain.ledger import Head, Ledger
from chain.submit import ERA_BLOCKS
from chain.subnet_admin import SubnetAdmin
from chain.weight_setter import WeightSetter
from hivetune.errors import ConfigError, RetryableError
from tests.every_fault import BELIEVED, FAULTS, FULL, HANG_S, MAY_STOP, MISLEADING, TIMEOUT_S
from tests.small_chain import (
    ALICE,
    HIDDEN,
    HOT,
    landed_by_signer,
    opened,
    patiently,
    sealing,
    setter,
    small_chain,
)

SAMPLE = 1 if FULL else 8  # one of so many pairs
WORKERS = 20
TIMEOUTS = {"timeout_s": TIMEOUT_S, "submit_timeout_s": 2 * TIMEOUT_S}
RIGHT = "as it should"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rig:
    """What a fault is tried with: an endpoint, and a hotkey that no other fault uses."""

    endpoint: RunningDevnode
    uid: int
    ledger: Ledger
    hidden: Ledger
    plain_weights: WeightSetter
    hidden_weights: WeightSetter
    timelocked_weights: WeightSetter
    admin: SubnetAdmin
    sudo: SubnetAdmin
    at: Head  # an old block, whose state is known


def lock(data: bytes, drand_round: int) -> bytes:
    return drand_round.to_bytes(8, "little") + data


READS: dict[str, Callable[[Rig], object]] = {
    "block_hash": lambda rig: rig.ledger.block_hash(rig.at.number),
    "genesis_hash": lambda rig: rig.ledger.genesis_hash(),
    "subnet_exists": lambda rig: rig.ledger.subnet_exists(),
    "owner_hotkey": lambda rig: rig.ledger.owner_hotkey(),
    "hyperparameters": lambda rig: rig.ledger.hyperparameters(rig.at.hash),
    "metagraph": lambda rig: rig.ledger.metagraph(rig.at.hash),
    "commitments": lambda rig: rig.ledger.commitments(rig.at.hash),
    "commitment": lambda rig: rig.ledger.commitment(HOT[0].ss58_address, rig.at.hash),
    "axon": lambda rig: rig.ledger.axon(HOT[0].ss58_address, rig.at.hash),
    "total_balance": lambda rig: rig.ledger.total_balance(FERDIE.ss58_address),
}
CALLS: dict[str, Callable[[Rig], object]] = {
    **READS,
    "head": lambda rig: rig.ledger.head(),
    "wait_for_block": lambda rig: rig.ledger.wait_for_block(rig.at.number + 3, timeout_s=1, poll_s=0.05),
    "commitment_quota": lambda rig: rig.ledger.commitment_quota(),
    "weight_rules": lambda rig: rig.hidden.weight_rules(),
    "next_epoch_block": lambda rig: rig.ledger.next_epoch_block(rig.at.number),
    "block_time_s": lambda rig: rig.ledger.block_time_s(),
    "set_commitment": lambda rig: rig.ledger.set_commitment(b"x"),
    "serve": lambda rig: rig.ledger.serve("8.8.8.8", 9000),
    "set": lambda rig: rig.plain_weights.set({rig.uid: 1.0}, since=rig.at.number),
    "commit": lambda rig: rig.hidden_weights.set({rig.uid: 1.0}, since=rig.at.number),
    "reveal_due": lambda rig: rig.hidden_weights.reveal_due(),
    "timelock": lambda rig: rig.timelocked_weights.set({rig.uid: 1.0}, since=1 << 30),
    "register": lambda rig: rig.admin.register(1, Keypair.create_from_uri(f"//new//{rig.uid}").ss58_address),
    "add_stake": lambda rig: rig.admin.add_stake(1, HOT[0].ss58_address, 10**9),
    "sudo_set": lambda rig: rig.sudo.sudo_set(1, "immunity_period", 77),
}
FERDIE = Keypair.create_from_uri("//Ferdie")  # does nothing
COLD = [Keypair.create_from_uri(f"//{name}") for name in ("Bob", "Charlie", "Dave", "Eve")]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnode]:
    """An endpoint for every fault, and the first one without any."""
    folder = tmp_path_factory.mktemp("chain")
    with small_chain(folder, endpoints=1 + len(FAULTS), block_time_s=0.1) as node:
        yield node


@pytest.fixture(scope="module")
def at(chain: RunningDevnode) -> Head:
    with opened(chain.url, HOT[0]) as ledger:
        return ledger.head()


def rig_for(stack: ExitStack, endpoint: RunningDevnode, uid: int, folder: Path, at: Head) -> Rig:
    ledger, hidden = (
        stack.enter_context(opened(endpoint.url, HOT[uid], netuid=netuid, **TIMEOUTS)) for netuid in (1, HIDDEN)
    )
    timelocked = setter(hidden, folder)
    timelocked._encrypt = lock
    admin, sudo = (SubnetAdmin(endpoint.url, cold, **TIMEOUTS) for cold in (COLD[uid % len(COLD)], ALICE))
    stack.callback(admin.close)
    stack.callback(sudo.close)
    return Rig(
        endpoint=endpoint,
        uid=uid,
        ledger=ledger,
        hidden=hidden,
        plain_weights=setter(ledger, folder),
        hidden_weights=setter(hidden, folder),
        timelocked_weights=timelocked,
        admin=admin,
        sudo=sudo,
        at=at,
    )


def judge(fault: str, call: str, rig: Rig, truth: dict[str, object]) -> str:
    """What was wrong with how a call ended."""
    started = time.monotonic()
    try:
        result = CALLS[call](rig)
    except RetryableError:
        pass
    except ConfigError as error:
        if fault not in MAY_STOP:
            return f"{error!r} stops the node"
    except Exception as error:  # noqa: BLE001 - none may get through
        return f"{error!r} is of no family"
    else:
        if call in truth and fault not in BELIEVED and result != truth[call]:
            return f"{result!r} is not true"
    took_s = time.monotonic() - started
    return f"it took {took_s} s" if took_s > HANG_S else RIGHT


def chosen(row: int) -> list[str]:
    return [call for column, call in enumerate(CALLS) if (row + column) % SAMPLE == 0]


def test_every_call_ends_with_the_truth_or_the_right_error(chain: RunningDevnode, at: Head, tmp_path: Path) -> None:
    with ExitStack() as stack:
        honest = rig_for(stack, chain, 0, tmp_path, at)
        truth = {name: patiently(lambda read=read: read(honest)) for name, read in READS.items()}

    def try_row(row: int, fault: str) -> list[str]:
        with ExitStack() as stack:
            rig = rig_for(stack, chain.endpoints[1 + row], 1 + row, tmp_path, at)
            if row % 2:
                patiently(rig.ledger.owner_hotkey)  # the fault comes while a connection is open
            rig.endpoint.set_faults(*FAULTS[fault])
            told = [f"{fault}: {call}: {judge(fault, call, rig, truth)}" for call in chosen(row)]
            rig.endpoint.set_faults()
            return [one for one in told if not one.endswith(RIGHT)]

    pool = ThreadPoolExecutor(WORKERS)
    rows = [pool.submit(try_row, row, fault) for row, fault in enumerate(FAULTS)]
    assert [told for row in rows for told in row.result(timeout=len(CALLS) * HANG_S)] == []
    pool.shutdown()


def try_under(fault: str, rig: Rig, act: Callable[[], object]) -> None:
    """While the fault is on, then until it works, as the nodes' loop does."""
    rig.endpoint.set_faults(*FAULTS[fault])
    for _ in range(2 if FULL else 1):
        with suppress(RetryableError):
            act()
    rig.endpoint.set_faults()
    patiently(act)


def commit_once(rig: Rig) -> None:
    """As a miner does."""
    found = rig.ledger.commitment(rig.ledger.hotkey)
    if found is None or found.data != b"x":
        rig.ledger.set_commitment(b"x")


def test_whatever_the_fault_was_a_call_lands_once(tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if fault not in MISLEADING][:: 1 if FULL else 3]
    with small_chain(tmp_path, endpoints=len(faults), block_time_s=0.05, finality_lag=2) as node:
        with opened(node.url, HOT[0]) as ledger:
            at = ledger.head()

        def try_row(row: int, fault: str) -> None:
            with ExitStack() as stack:
                rig = rig_for(stack, node.endpoints[row], row, tmp_path, at)
                try_under(fault, rig, lambda: commit_once(rig))
                try_under(fault, rig, lambda: rig.plain_weights.set({row: 1.0}, since=at.number))
                try_under(fault, rig, lambda: rig.hidden_weights.set({row: 1.0}, since=at.number))

        pool = ThreadPoolExecutor(WORKERS)
        for row in [pool.submit(try_row, row, fault) for row, fault in enumerate(faults)]:
            row.result(timeout=10 * HANG_S)
        pool.shutdown()
        node.new_blocks(ERA_BLOCKS + 2)
        found = names_by_fault(node, faults)
        once = ["set_commitment", "set_weights", "commit_weights"]
        assert {fault: names for fault, names in found.items() if names != once} == {}


def test_whatever_the_fault_was_weights_are_revealed_once(tmp_path: Path) -> None:
    """By a process that did not commit them."""
    faults = [fault for fault in FAULTS if fault not in MISLEADING][:: 1 if FULL else 5]
    with small_chain(tmp_path, endpoints=len(faults)) as node, ExitStack() as stack:
        with opened(node.url, HOT[0], netuid=HIDDEN) as ledger, sealing(node):
            at = ledger.head()
            sudo = SubnetAdmin(node.url, ALICE)
            sudo.sudo_set(HIDDEN, "tempo", 360)
            sudo.close()
        rigs = [rig_for(stack, node.endpoints[row], row, tmp_path, at) for row in range(len(faults))]

        def commit(rig: Rig) -> int:
            patiently(lambda: rig.hidden_weights.set({rig.uid: 1.0}, since=at.number))
            due = patiently(rig.hidden_weights.reveal_due)
            assert due is not None
            return due

        def reveal(row: int, fault: str) -> None:
            with opened(rigs[row].endpoint.url, HOT[row], netuid=HIDDEN, **TIMEOUTS) as ledger:
                weights = setter(ledger, tmp_path)
                try_under(fault, rigs[row], weights.reveal_due)
                while patiently(weights.reveal_due) is not None:
                    time.sleep(0.05)

        pool = ThreadPoolExecutor(WORKERS)
        with sealing(node, every_s=0.05):
            due = max(pool.map(commit, rigs, timeout=10 * HANG_S))
        node.new_blocks(due - at.number)
        with sealing(node, every_s=0.05):
            list(pool.map(reveal, range(len(faults)), faults, timeout=10 * HANG_S))
        pool.shutdown()
        node.new_blocks(ERA_BLOCKS + 2)
        found = names_by_fault(node, faults)
        assert {fault: names for fault, names in found.items() if names != ["commit_weights", "reveal_weights"]} == {}


def names_by_fault(node: RunningDevnode, faults: Sequence[str]) -> dict[str, list[str]]:
    """What each fault's hotkey has on the chain."""
    calls = landed_by_signer(node)
    return {
        fault: [call.name.split(".")[1] for call in calls.get(str(HOT[row].ss58_address), [])]
        for row, fault in enumerate(faults)
    }


def test_no_fault_is_left_out() -> None:
    tried = {(fault.kind, fault.variant) for faults in FAULTS.values() for fault in faults}
    assert tried == {(kind, variant) for kind, variants in VARIANTS.items() for variant in variants}
    assert {call for row in range(len(FAULTS)) for call in chosen(row)} == set(CALLS)
