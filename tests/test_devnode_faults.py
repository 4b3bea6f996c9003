"""Every fault an endpoint can be told to have does what it says, where it says, as often as it says."""

import json
import time
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pytest
from substrateinterface import ExtrinsicReceipt, Keypair, SubstrateInterface
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from chain.devnode.blocks import Block, header_bytes
from chain.devnode.faults import GARBAGE, LIES, VARIANTS, Fault, parse_faults
from chain.devnode.lies import LIARS
from chain.devnode.pallets.admin import SUDO_KEY
from chain.devnode.pallets.subtensor import NETWORKS_ADDED
from chain.devnode.pallets.system import ACCOUNTS, NUMBER
from chain.devnode.server import RunningDevnode, running_devnode

ALICE, BOB = Keypair.create_from_uri("//Alice"), Keypair.create_from_uri("//Bob")
SUBMIT = ("author_submitExtrinsic",)
BOB_KEY = "0x" + ACCOUNTS.key(BOB.public_key).hex()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnode]:
    with running_devnode(tmp_path_factory.mktemp("chain") / "chain.db", endpoints=2) as running:
        running.new_blocks(3)
        yield running


@pytest.fixture
def honest(chain: RunningDevnode) -> RunningDevnode:
    ask(chain, "dev_dropPool")
    return chain.endpoints[0]


@pytest.fixture
def faulty(chain: RunningDevnode, honest: RunningDevnode) -> Iterator[RunningDevnode]:
    yield chain.endpoints[1]
    chain.endpoints[1].set_faults()


@pytest.fixture(scope="module")
def client(chain: RunningDevnode) -> Iterator[SubstrateInterface]:
    with SubstrateInterface(chain.url, ss58_format=42) as substrate:
        yield substrate


def ask(node: RunningDevnode, method: str, *parameters: Any) -> Any:
    return node.request(method, list(parameters))


def signed(client: SubstrateInterface, amount: int = 1000) -> str:
    parameters = {"dest": BOB.ss58_address, "value": amount}
    call = client.compose_call("Balances", "transfer_keep_alive", parameters)
    return str(client.create_signed_extrinsic(call, ALICE).data)


def send(socket: ClientConnection, request_id: int, method: str, *parameters: Any) -> None:
    socket.send(json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(parameters)}))


def answers(node: RunningDevnode, method: str, *parameters: Any) -> list[str]:
    """All that comes before the answer to the request after it."""
    with connect(node.url, max_size=None) as socket:
        send(socket, 1, method, *parameters)
        send(socket, 99, "dev_setFaults", [])
        found: list[str] = []
        while True:
            text = socket.recv(timeout=20)
            assert isinstance(text, str)
            if text == json.dumps({"jsonrpc": "2.0", "id": 99, "result": 0}):
                return found
            found.append(text)


def pool(node: RunningDevnode) -> list[str]:
    return list(ask(node, "author_pendingExtrinsics"))


def test_a_dropped_request_gets_no_answer_and_nothing_happens(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    faulty.set_faults(Fault(kind="drop", methods=SUBMIT))
    assert answers(faulty, "author_submitExtrinsic", signed(client)) == []
    assert pool(honest) == []


def test_only_the_answer_is_lost_when_it_is_dropped_after(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    faulty.set_faults(Fault(kind="drop", methods=SUBMIT, after=True))
    raw = signed(client)
    assert answers(faulty, "author_submitExtrinsic", raw) == []
    assert pool(honest) == [raw]


def test_a_forgotten_extrinsic_has_a_hash_and_is_nowhere(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    raw = signed(client)
    faulty.set_faults(Fault(kind="drop", variant="forget"))
    answer = ask(faulty, "author_submitExtrinsic", raw)
    assert pool(honest) == []
    assert ask(honest, "author_submitExtrinsic", raw) == answer


@pytest.mark.parametrize(("after", "late"), [(False, True), (True, False)])
def test_a_delayed_extrinsic_is_executed_late_or_answered_late(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface, after: bool, late: bool
) -> None:
    faulty.set_faults(Fault(kind="delay", methods=SUBMIT, seconds=60, after=after))
    raw = signed(client)
    with connect(faulty.url) as socket:
        send(socket, 1, "author_submitExtrinsic", raw)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.2)
        assert pool(honest) == ([] if late else [raw])
    # The client has given up: what it asked for happens all the same.
    deadline = time.monotonic() + 10
    while pool(honest) != [raw]:
        assert time.monotonic() < deadline


def test_a_delayed_answer_comes(faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="delay", seconds=0.05))
    assert ask(faulty, "system_chain") == "Development"


def test_a_dribbled_answer_is_whole_and_comes_in_pieces(faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="dribble", seconds=0.3))
    with connect(faulty.url) as socket:
        send(socket, 1, "system_chain")
        pieces = list(socket.recv_streaming())
    assert len(pieces) >= 6
    assert json.loads("".join(map(str, pieces)))["result"] == "Development"


def test_a_duplicated_answer_comes_twice(faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="duplicate", times=1))
    first, second = answers(faulty, "system_chain")
    assert first == second
    assert len(answers(faulty, "system_chain")) == 1


def test_an_extrinsic_is_taken_though_it_is_said_to_be_there_already(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    faulty.set_faults(Fault(kind="duplicate", variant="imported"))
    raw = signed(client)
    with pytest.raises(ValueError, match="1013"):
        ask(faulty, "author_submitExtrinsic", raw)
    assert pool(honest) == [raw]
    assert ask(faulty, "system_chain") == "Development"


@pytest.mark.parametrize("after", [False, True])
def test_a_socket_breaks_before_or_after_the_deed(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface, after: bool
) -> None:
    faulty.set_faults(Fault(kind="disconnect", methods=SUBMIT, after=after))
    raw = signed(client)
    with connect(faulty.url) as socket:
        send(socket, 1, "author_submitExtrinsic", raw)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    assert pool(honest) == ([raw] if after else [])


def test_an_error_is_the_one_that_was_asked_for(faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="error", code=4003, message="State already discarded", methods=("state_getStorage",)))
    with pytest.raises(ValueError, match=r"4003.*State already discarded"):
        ask(faulty, "state_getStorage", BOB_KEY)
    assert ask(faulty, "system_chain") == "Development"


@pytest.mark.parametrize("variant", GARBAGE)
def test_garbage_is_no_answer(faulty: RunningDevnode, variant: str) -> None:
    (true,) = answers(faulty, "system_chain")
    faulty.set_faults(Fault(kind="garbage", variant=variant, amount=2))
    (text,) = answers(faulty, "system_chain")
    if variant in ("empty", "not_json", "deep"):
        with pytest.raises((ValueError, RecursionError)):
            json.loads(text)
    elif variant == "huge":
        assert len(text) > 2_000_000
    else:
        assert json.loads(text) != json.loads(true)


def test_a_fault_strikes_as_often_as_it_was_told(faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="error", times=2, methods=("system_chain",)))
    for _ in range(2):
        assert ask(faulty, "system_name")
        with pytest.raises(ValueError, match="refused"):
            ask(faulty, "system_chain")
    assert ask(faulty, "system_chain") == "Development"


def test_several_faults_strike_together_and_are_cleared_together(faulty: RunningDevnode) -> None:
    faulty.set_faults(
        Fault(kind="lie", variant="nonce_high", amount=7), Fault(kind="duplicate"), Fault(kind="delay", seconds=0.01)
    )
    texts = answers(faulty, "system_accountNextIndex", BOB.ss58_address)
    assert [json.loads(text)["result"] for text in texts] == [7, 7]
    assert [json.loads(text)["result"] for text in answers(faulty, "system_accountNextIndex", BOB.ss58_address)] == [0]


def test_the_switches_themselves_never_fail(faulty: RunningDevnode) -> None:
    for fault in (Fault(kind="drop"), Fault(kind="disconnect"), Fault(kind="garbage", variant="empty")):
        faulty.set_faults(fault)
    assert ask(faulty, "dev_newBlock", {"count": 0})


def test_endpoints_share_one_chain_and_no_faults(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="drop"))
    head = honest.new_blocks(1)
    assert ask(honest, "chain_getHead") == head
    faulty.set_faults()
    assert ask(faulty, "chain_getHead") == head


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        [1],
        [{}],
        [{"kind": "no such"}],
        [{"kind": "lie"}],
        [{"kind": "drop", "variant": "storage"}],
        [{"kind": "drop", "times": "1"}],
        [{"kind": "drop", "times": True}],
        [{"kind": "drop", "times": -1}],
        [{"kind": "delay", "seconds": 10**9}],
        [{"kind": "drop", "methods": "author_submitExtrinsic"}],
        [{"kind": "drop", "methods": [1]}],
        [{"kind": "drop", "surprise": 1}],
    ],
)
def test_what_is_no_fault_is_refused_and_changes_nothing(faulty: RunningDevnode, values: Any) -> None:
    with pytest.raises(ValueError, match="-32602"):
        ask(faulty, "dev_setFaults", values)
    assert ask(faulty, "system_chain") == "Development"


def test_faults_read_back_from_json_as_they_were() -> None:
    fault = Fault(kind="delay", seconds=2.0, methods=SUBMIT, times=3, after=True)
    text = json.dumps([{"kind": "delay", "seconds": 2, "methods": list(SUBMIT), "times": 3, "after": True}])
    assert parse_faults(json.loads(text)) == [fault]


def test_every_lie_has_its_liar() -> None:
    assert set(LIES) == set(LIARS) == set(VARIANTS["lie"])


def test_a_stale_head_stands_still_and_knows_nothing_newer(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    before = ask(honest, "chain_getHead")
    faulty.set_faults(Fault(kind="stale_head"))
    with connect(faulty.url) as socket:
        send(socket, 1, "chain_subscribeNewHeads")
        send(socket, 2, "chain_subscribeFinalizedHeads")
        newer = honest.new_blocks(2)
        send(socket, 3, "system_chain")
        texts = [json.loads(socket.recv(timeout=10)) for _ in range(5)]
        assert [text.get("id", text.get("method")) for text in texts[:2]] == [1, "chain_newHead"]
        assert texts[-1]["id"] == 3
    assert ask(faulty, "chain_getHead") == ask(faulty, "chain_getFinalizedHead") == before
    header = ask(faulty, "chain_getHeader")
    assert ask(faulty, "chain_getHeader", newer) is None
    assert ask(faulty, "chain_getBlockHash", int(header["number"], 16) + 1) is None
    with pytest.raises(ValueError, match="unknown block"):
        ask(faulty, "state_getStorage", BOB_KEY, newer)
    number = "0x" + NUMBER.key().hex()
    assert ask(faulty, "state_getStorage", number) == ask(honest, "state_getStorage", number, before)
    faulty.set_faults()
    assert ask(faulty, "chain_getHead") == newer


def test_a_head_can_be_some_blocks_behind_for_ever(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    faulty.set_faults(Fault(kind="stale_head", variant="behind", amount=2))
    for _ in range(3):
        honest.new_blocks(1)
        true, told = (int(ask(node, "chain_getHeader")["number"], 16) for node in (honest, faulty))
        assert told == true - 2


def lying(faulty: RunningDevnode, variant: str, **options: Any) -> None:
    faulty.set_faults(Fault(kind="lie", variant=variant, **options))


def test_storage_can_be_another_of_the_same_type(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "storage", items=("System.Account",))
    true, told = (ask(node, "state_getStorage", BOB_KEY) for node in (honest, faulty))
    assert told != true
    assert len(told) == len(true)
    read, false = (ACCOUNTS.value.decode(bytes.fromhex(raw[2:])) for raw in (true, told))
    assert false["data"]["free"] == read["data"]["free"] ^ 1
    assert ask(faulty, "state_queryStorageAt", [BOB_KEY])[0]["changes"] == [[BOB_KEY, told]]
    number = "0x" + NUMBER.key().hex()
    assert ask(faulty, "state_getStorage", number) == ask(honest, "state_getStorage", number)


def test_accounts_become_mallorys_and_flags_turn(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "storage")
    sudo, added = "0x" + SUDO_KEY.key().hex(), "0x" + NETWORKS_ADDED.key(0).hex()
    mallory = Keypair.create_from_uri("//Mallory")
    assert [ask(honest, "state_getStorage", key) for key in (sudo, added)] == ["0x" + ALICE.public_key.hex(), "0x01"]
    assert [ask(faulty, "state_getStorage", key) for key in (sudo, added)] == ["0x" + mallory.public_key.hex(), "0x00"]


def test_storage_can_be_absent(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "absent", items=("System.Account",))
    assert ask(faulty, "state_getStorage", BOB_KEY) is None
    assert ask(faulty, "state_getKeysPaged", BOB_KEY[:66], 10) == []
    assert ask(honest, "state_getKeysPaged", BOB_KEY[:66], 10) != []


def test_nonces_can_be_off(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    true = ask(honest, "system_accountNextIndex", ALICE.ss58_address)
    lying(faulty, "nonce_high", amount=3)
    assert ask(faulty, "system_accountNextIndex", ALICE.ss58_address) == true + 3
    lying(faulty, "nonce_low", amount=10**6)
    assert ask(faulty, "system_accountNextIndex", ALICE.ss58_address) == 0


def test_block_hashes_and_heads_can_be_of_no_block(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "block_hash")
    told = ask(faulty, "chain_getBlockHash", 2)
    assert ask(honest, "chain_getHeader", told) is None
    assert ask(faulty, "chain_getBlockHash", 0) == ask(honest, "chain_getBlockHash", 0)
    lying(faulty, "genesis")
    assert ask(faulty, "chain_getBlockHash", 2) == ask(honest, "chain_getBlockHash", 2)
    assert ask(faulty, "chain_getBlockHash", 0) != ask(honest, "chain_getBlockHash", 0)
    lying(faulty, "finalized_head")
    assert ask(faulty, "chain_getHeader", ask(faulty, "chain_getFinalizedHead")) is None


def test_block_numbers_can_be_too_high(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "header_number", amount=5)
    true, told = (int(ask(node, "chain_getHeader")["number"], 16) for node in (honest, faulty))
    assert told == true + 5


def test_a_false_chain_fits_together(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "false_chain", amount=2)
    honest.new_blocks(1)
    head = ask(faulty, "chain_getFinalizedHead")
    assert ask(honest, "chain_getHeader", head) is None
    header = ask(faulty, "chain_getHeader", head)
    number = int(header["number"], 16)
    assert number == int(ask(honest, "chain_getHeader")["number"], 16) + 2
    assert ask(faulty, "chain_getBlockHash", number) == head
    assert ask(faulty, "chain_getBlockHash", number + 1) is None
    for below in range(number - 1, -1, -1):
        parts = {name: bytes.fromhex(header[name][2:]) for name in ("parentHash", "stateRoot", "extrinsicsRoot")}
        block = Block(
            number=below + 1,
            hash=b"",
            parent=parts["parentHash"],
            state_root=parts["stateRoot"],
            extrinsics_root=parts["extrinsicsRoot"],
            extrinsics=(),
        )
        assert head == "0x" + blake2b(header_bytes(block), digest_size=32).hexdigest()
        assert ask(faulty, "chain_getBlock", head)["block"]["header"] == header
        assert ask(faulty, "state_getStorage", BOB_KEY, head) is not None
        head = ask(faulty, "chain_getBlockHash", below)
        assert header["parentHash"] == head
        header = ask(faulty, "chain_getHeader", head)
    assert head == ask(honest, "chain_getBlockHash", 0)


def outcome(node: RunningDevnode, raw: str, block_hash: str) -> ExtrinsicReceipt:
    digest = "0x" + blake2b(bytes.fromhex(raw[2:]), digest_size=32).hexdigest()
    return ExtrinsicReceipt(SubstrateInterface(node.url, ss58_format=42), digest, block_hash=block_hash)


def test_an_extrinsic_can_be_said_to_be_where_it_is_not(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    raw = signed(client, 4321)
    faulty.set_faults(Fault(kind="drop", variant="forget"), Fault(kind="lie", variant="included"))
    ask(faulty, "author_submitExtrinsic", raw)
    block_hash = honest.new_blocks(1)
    later = honest.new_blocks(1)
    assert raw not in ask(honest, "chain_getBlock", block_hash)["block"]["extrinsics"]
    assert raw in ask(faulty, "chain_getBlock", block_hash)["block"]["extrinsics"]
    assert raw not in ask(faulty, "chain_getBlock", later)["block"]["extrinsics"]
    assert outcome(faulty, raw, block_hash).is_success


def test_extrinsics_can_be_left_out(honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface) -> None:
    raw = signed(client)
    lying(faulty, "left_out")
    ask(faulty, "author_submitExtrinsic", raw)
    block_hash = honest.new_blocks(1)
    assert raw in ask(honest, "chain_getBlock", block_hash)["block"]["extrinsics"]
    assert len(ask(faulty, "chain_getBlock", block_hash)["block"]["extrinsics"]) == 1


@pytest.mark.parametrize(("variant", "amount", "is_success"), [("success", 10**18, False), ("failure", 1, True)])
def test_outcomes_can_be_turned(
    honest: RunningDevnode,
    faulty: RunningDevnode,
    client: SubstrateInterface,
    variant: str,
    amount: int,
    is_success: bool,
) -> None:
    raw = signed(client, amount)
    ask(honest, "author_submitExtrinsic", raw)
    block_hash = honest.new_blocks(1)
    lying(faulty, variant)
    assert outcome(honest, raw, block_hash).is_success is is_success
    assert outcome(faulty, raw, block_hash).is_success is not is_success


def test_a_failed_call_inside_sudo_can_be_said_to_have_worked(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    inner = client.compose_call("Balances", "transfer_keep_alive", {"dest": BOB.ss58_address, "value": 1})
    call = client.compose_call("Sudo", "sudo", {"call": inner})
    raw = str(client.create_signed_extrinsic(call, ALICE).data)
    ask(honest, "author_submitExtrinsic", raw)
    block_hash = honest.new_blocks(1)
    lying(faulty, "success")
    told = [
        str(next(e for e in outcome(node, raw, block_hash).triggered_events if e.value["event_id"] == "Sudid").value)
        for node in (honest, faulty)
    ]
    assert ["Err" in text for text in told] == [True, False]


def test_the_metadata_can_have_two_calls_swapped(
    honest: RunningDevnode, faulty: RunningDevnode, client: SubstrateInterface
) -> None:
    names = ("SubtensorModule.set_weights", "SubtensorModule.burned_register")
    lying(faulty, "metadata", items=names)
    other = SubstrateInterface(faulty.url, ss58_format=42)

    def indices(interface: SubstrateInterface) -> list[int]:
        interface.init_runtime()
        pallet = interface.metadata.get_metadata_pallet("SubtensorModule")
        calls = {call.name: call.value["index"] for call in pallet.calls}
        return [calls[name.split(".")[1]] for name in names]

    assert indices(other) == list(reversed(indices(client)))
    other.close()
    lying(faulty, "metadata")
    assert ask(faulty, "state_getMetadata") != ask(honest, "state_getMetadata")


def test_the_runtime_version_can_be_another(honest: RunningDevnode, faulty: RunningDevnode) -> None:
    lying(faulty, "runtime_version", amount=1)
    true, told = (ask(node, "state_getRuntimeVersion") for node in (honest, faulty))
    assert told == {**true, "specVersion": true["specVersion"] + 1}
