"""A chain that is made once and started as often as tests want: two subnets full of neurons, and what lands there.

Subnet 1 takes weights in the clear, subnet 2 demands commit-reveal. A hotkey has the same uid on both; all are Alice's.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from scalecodec.base import ScaleBytes
from substrateinterface import Keypair

from chain.connection import Connection
from chain.devnode.server import RunningDevnode, running_devnode
from chain.ledger import Ledger
from chain.pending import PendingReveals
from chain.weight_setter import WeightSetter
from hivetune.errors import RetryableError

PLAIN, HIDDEN = 1, 2  # netuids
TEMPO = 20
START_DELAY = 10  # blocks
ALICE = Keypair.create_from_uri("//Alice")
HOT = [Keypair.create_from_uri(f"//hot//{uid}") for uid in range(56)]
SUBMIT = ("author_submitExtrinsic",)
PATIENCE_S = 60.0

Result = TypeVar("Result")
Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LandedCall:
    """A signed call in a block."""

    block: int
    name: str
    arguments: dict[str, Any]
    failed: bool


@contextmanager
def small_chain(folder: Path, **options: Any) -> Iterator[RunningDevnode]:
    """A fresh copy; options as of running_devnode."""
    (folder / "chain.db").write_bytes(_database())
    with running_devnode(folder / "chain.db", **options) as node:
        yield node


@cache
def _database() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chain.db"
        with running_devnode(path) as node, connected(node) as connection:
            for calls in _history():
                for nonce, call in enumerate(calls, start=connection.use(_nonce)):
                    raw = connection.use(lambda one, call=call, nonce=nonce: _signed(one, call, nonce))
                    node.request("author_submitExtrinsic", [raw])
                node.new_blocks(1)
            failed = [call for call in landed(node, ALICE) if call.failed]
            assert failed == []
        return path.read_bytes()


def _history() -> Iterator[list[Call]]:
    """What Alice did, block by block."""
    yield [_sudo("network_rate_limit", rate_limit=0)]
    for _ in (PLAIN, HIDDEN):
        yield [("SubtensorModule.register_network", {"hotkey": HOT[0].ss58_address})]
    for netuid in (PLAIN, HIDDEN):
        yield [
            _sudo("max_registrations_per_block", netuid=netuid, max_registrations_per_block=len(HOT)),
            _sudo("target_registrations_per_interval", netuid=netuid, target_registrations_per_interval=len(HOT)),
            _sudo("weights_set_rate_limit", netuid=netuid, weights_set_rate_limit=0),
            _sudo("commit_reveal_weights_enabled", netuid=netuid, enabled=netuid == HIDDEN),
            _sudo("tempo", netuid=netuid, tempo=TEMPO),
        ]
        yield [("SubtensorModule.burned_register", {"netuid": netuid, "hotkey": hot.ss58_address}) for hot in HOT[1:]]
    yield from [[]] * START_DELAY
    yield [("SubtensorModule.start_call", {"netuid": netuid}) for netuid in (PLAIN, HIDDEN)]


def _sudo(setting: str, **arguments: int | bool) -> Call:
    inner = {"call_module": "AdminUtils", "call_function": f"sudo_set_{setting}", "call_args": arguments}
    return ("Sudo.sudo", {"call": inner})


def _nonce(interface: Any) -> int:
    return int(interface.get_account_nonce(ALICE.ss58_address))


def _signed(interface: Any, call: Call, nonce: int) -> str:
    name, arguments = call
    interface.init_runtime(block_hash=interface.get_chain_head())
    composed = interface.compose_call(*name.split("."), arguments)
    return str(interface.create_signed_extrinsic(composed, ALICE, nonce=nonce).data)


@contextmanager
def connected(node: RunningDevnode) -> Iterator[Connection]:
    connection = Connection(node.url, timeout_s=PATIENCE_S)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def opened(url: str, keypair: Keypair, *, netuid: int = PLAIN, **options: Any) -> Iterator[Ledger]:
    ledger = Ledger(url, netuid, keypair=keypair, **options)
    try:
        yield ledger
    finally:
        ledger.close()


def setter(ledger: Ledger, folder: Path) -> WeightSetter:
    """Without timelocks, whether the extra is installed or not."""
    made = WeightSetter(ledger, PendingReveals(folder / f"{ledger.hotkey}.json"))
    made._encrypt = None
    return made


def landed(node: RunningDevnode, signer: Keypair) -> list[LandedCall]:
    """All signed calls of an account that are in blocks of the chain, in their order."""
    return landed_by_signer(node).get(str(signer.ss58_address), [])


def landed_by_signer(node: RunningDevnode) -> dict[str, list[LandedCall]]:
    with connected(node) as connection:
        found: dict[str, list[LandedCall]] = {}
        for signer, call in connection.use(lambda interface: list(_calls(interface))):
            found.setdefault(signer, []).append(call)
        return found


def _calls(interface: Any) -> Iterator[tuple[str, LandedCall]]:
    interface.init_runtime(block_hash=interface.get_chain_head())
    for number in range(1, interface.get_block_number(interface.get_chain_head()) + 1):
        block_hash = interface.get_block_hash(number)
        body = interface.rpc_request("chain_getBlock", [block_hash])["result"]["block"]["extrinsics"]
        if len(body) == 1:  # the time alone
            continue
        events = interface.get_events(block_hash)
        failed = {event.extrinsic_idx for event in events if event.value["event_id"] == "ExtrinsicFailed"}
        for index, raw in enumerate(body[1:], start=1):
            extrinsic = interface.runtime_config.create_scale_object(
                "Extrinsic", data=ScaleBytes(raw), metadata=interface.metadata
            ).decode()
            call = extrinsic["call"]
            yield (
                extrinsic["address"],
                LandedCall(
                    block=number,
                    name=f"{call['call_module']}.{call['call_function']}",
                    arguments={argument["name"]: argument["value"] for argument in call["call_args"]},
                    failed=index in failed,
                ),
            )


@contextmanager
def sealing(node: RunningDevnode, every_s: float = 0.02) -> Iterator[None]:
    """Blocks come by themselves while this runs."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            node.new_blocks(1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def patiently(action: Callable[[], Result]) -> Result:
    """Tries again, as the nodes' loop does, until it works."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except RetryableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
