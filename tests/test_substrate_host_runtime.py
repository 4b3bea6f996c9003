"""The host on wasm: its allocator and instances on a small module, and a real Subtensor runtime where one is at hand.

The last needs SUBTENSOR_RUNTIME_WASM to name the runtime's file, and all of it the extra `runtime`.
"""

import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from substrateinterface import ExtrinsicReceipt, Keypair, SubstrateInterface
from substrateinterface.exceptions import SubstrateRequestException
from websockets.exceptions import WebSocketException

from hivetune.errors import ConfigError
from tools.substrate_host.running import RunningHost, running_substrate_host
from tools.substrate_host.runtime import RuntimeFailed
from tools.substrate_host.state import History, Overlay

try:
    import wasmtime

    from tools.substrate_host.compiled import CompileCache
    from tools.substrate_host.wasm import WasmRuntime, read_wasm
except ModuleNotFoundError as missing:
    absent = f"the tests of the host on wasm are skipped: the extra `runtime` is not installed ({missing.name})"
    warnings.warn(absent, stacklevel=1)
    pytest.skip(absent, allow_module_level=True)

TAO = 10**9
ALICE, BOB = Keypair.create_from_uri("//Alice"), Keypair.create_from_uri("//Bob")

# Functions of the shape that a runtime exports: (address, size) of the argument to a fat pointer.
SMALL = """
(module
  (import "env" "memory" (memory 17))
  (import "env" "ext_allocator_malloc_version_1" (func $malloc (param i32) (result i32)))
  (import "env" "ext_allocator_free_version_1" (func $free (param i32)))
  (import "env" "ext_storage_set_version_1" (func $set (param i64 i64)))
  (import "env" "ext_storage_get_version_1" (func $get (param i64) (result i64)))
  (import "env" "ext_storage_start_transaction_version_1" (func $begin))
  (import "env" "ext_hashing_blake2_256_version_1" (func $hash (param i64) (result i32)))
  (import "env" "ext_no_such_thing_version_1" (func $absent))
  (global (export "__heap_base") i32 (i32.const 70000))
  (data (i32.const 64) "\\00\\00\\00\\00")
  (func $fat (param i32 i32) (result i64)
    (i64.or (i64.extend_i32_u (local.get 0)) (i64.shl (i64.extend_i32_u (local.get 1)) (i64.const 32))))
  (func (export "echo") (param i32 i32) (result i64) (call $fat (local.get 0) (local.get 1)))
  (func (export "get") (param i32 i32) (result i64) (call $get (call $fat (local.get 0) (local.get 1))))
  (func (export "hash") (param i32 i32) (result i64)
    (call $fat (call $hash (call $fat (local.get 0) (local.get 1))) (i32.const 32)))
  (func (export "count") (param i32 i32) (result i64)
    (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
    (call $fat (i32.const 64) (i32.const 4)))
  (func (export "write_and_trap") (param i32 i32) (result i64)
    (call $begin)
    (call $set (call $fat (local.get 0) (local.get 1)) (call $fat (local.get 0) (local.get 1)))
    (unreachable))
  (func (export "write_and_forget") (param i32 i32) (result i64)
    (call $begin)
    (call $set (call $fat (local.get 0) (local.get 1)) (call $fat (local.get 0) (local.get 1)))
    (i64.const 0))
  (func (export "absent") (param i32 i32) (result i64) (call $absent) (i64.const 0))
  (func (export "nowhere") (param i32 i32) (result i64) (i64.const 0x00ffffff_ffff0000))
  (func (export "reuse") (param i32 i32) (result i64)
    (local $first i32)
    (local.set $first (call $malloc (i32.const 100)))
    (call $free (local.get $first))
    (i32.store (i32.const 64) (i32.sub (call $malloc (i32.const 128)) (local.get $first)))
    (call $fat (i32.const 64) (i32.const 4)))
  (func (export "hog") (param i32 i32) (result i64)
    (local $at i32)
    (local.set $at (call $malloc (i32.load (local.get 0))))
    (i32.store (local.get $at) (i32.const 7))
    (i32.store (i32.sub (i32.add (local.get $at) (i32.load (local.get 0))) (i32.const 4)) (i32.const 7))
    (call $fat (local.get $at) (i32.const 4)))
)
"""


@pytest.fixture(scope="module")
def small() -> WasmRuntime:
    return WasmRuntime(bytes(wasmtime.wat2wasm(SMALL)))


def overlay() -> Overlay:
    return Overlay(History())


@pytest.mark.parametrize("size", [0, 1, 8, 9, 1000, 100_000, 3_000_000])
def test_arguments_and_answers_cross_whole(small: WasmRuntime, size: int) -> None:
    assert small.call("echo", b"x" * size, overlay()) == b"x" * size


def test_a_value_larger_than_the_memory_makes_it_grow(small: WasmRuntime) -> None:
    state = overlay()
    state.put(b"key", b"v" * 5_000_000)
    assert small.call("get", b"key", state)[-5_000_000:] == b"v" * 5_000_000
    assert small.call("get", b"none", state) == b"\x00"


def test_every_call_finds_the_module_as_it_began(small: WasmRuntime) -> None:
    assert [small.call("count", b"", overlay()) for _ in range(3)] == [b"\x01\0\0\0"] * 3


def test_freed_memory_is_used_again_and_large_blocks_are_had(small: WasmRuntime) -> None:
    assert small.call("reuse", b"", overlay()) == bytes(4)
    assert small.call("hog", (30 << 20).to_bytes(4, "little"), overlay()) == b"\x07\0\0\0"
    with pytest.raises(RuntimeFailed):
        small.call("hog", (33 << 20).to_bytes(4, "little"), overlay())  # Substrate gives 32 MiB at most
    assert small.call("echo", b"still here", overlay()) == b"still here"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("write_and_trap", "unreachable"),
        ("write_and_forget", "transactions open"),
        ("absent", "this host has no ext_no_such_thing_version_1"),
        ("nowhere", "bytes at"),
        ("no_such", "no such function"),
    ],
)
def test_a_call_that_fails_says_why_and_changes_nothing(small: WasmRuntime, function: str, words: str) -> None:
    state = overlay()
    state.put(b"before", b"1")
    with pytest.raises(RuntimeFailed, match=words):
        small.call(function, b"key", state)
    assert (state.changes, state.depth) == ({b"before": b"1"}, 0)
    assert len(small.call("hash", b"x", state)) == 32


def test_what_is_no_runtime_is_refused(tmp_path: Path) -> None:
    for wat, words in (
        ('(module (import "env" "memory" (memory 1)))', "no __heap_base"),
        ("(module)", "imports no memory"),
        ('(module (import "env" "other" (global i32)) (import "env" "memory" (memory 1)))', "does not load"),
    ):
        with pytest.raises(ConfigError, match=words):
            WasmRuntime(bytes(wasmtime.wat2wasm(wat)))
    for data, words in ((b"", "not a wasm"), (bytes.fromhex("52bc537646db8e05") + b"junk", "does not unpack")):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(ConfigError, match=words):
            read_wasm(tmp_path / "bad")


def test_a_host_without_a_runtime_says_so_and_ends(tmp_path: Path) -> None:
    for name, data, words in (
        ("junk.wasm", b"junk", "not a wasm module"),
        ("half.wasm", b"\0asm\1\0\0\0junk", "does not load"),
        ("small.wasm", bytes(wasmtime.wat2wasm(SMALL)), "builds no genesis: GenesisBuilder_get_preset"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=words), running_substrate_host(tmp_path / name, cache=tmp_path / "cache"):
            pass


def test_a_compiled_module_is_kept_and_only_ours_is_loaded(tmp_path: Path) -> None:
    engine, wasm = wasmtime.Engine(), bytes(wasmtime.wat2wasm("(module)"))
    folder = tmp_path / "cache"
    cache = CompileCache(folder)
    cache.module(engine, wasm)
    kept = cache.path(wasm)
    assert [path.name for path in folder.iterdir()] == [kept.name]
    assert (folder.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)
    inode = kept.stat().st_ino
    cache.module(engine, wasm)
    assert kept.stat().st_ino == inode
    kept.write_bytes(b"torn")
    cache.module(engine, wasm)
    assert kept.stat().st_ino != inode

    kept.chmod(0o620)
    with pytest.raises(ConfigError, match="only you can write"):
        cache.module(engine, wasm)
    kept.unlink()
    kept.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="compiled module"):
        cache.module(engine, wasm)
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match="mode 700"):
        CompileCache(folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ConfigError, match="mode 700"):
        CompileCache(tmp_path / "link")


@pytest.fixture(scope="module")
def wasm() -> Path:
    named = os.environ.get("SUBTENSOR_RUNTIME_WASM")
    if not named:
        reason = "the tests on a real Subtensor runtime are skipped: SUBTENSOR_RUNTIME_WASM names none"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return Path(named)


@pytest.fixture(scope="module")
def host(wasm: Path) -> Iterator[RunningHost]:
    with running_substrate_host(wasm) as running:
        yield running


@pytest.fixture(scope="module")
def substrate(host: RunningHost) -> Iterator[SubstrateInterface]:
    with SubstrateInterface(host.url, ss58_format=42) as client:
        yield client


def submit(host: RunningHost, substrate: SubstrateInterface, signer: Keypair, call: object) -> ExtrinsicReceipt:
    signed = substrate.create_signed_extrinsic(call, signer, era={"period": 64})
    sent = str(host.request("author_submitExtrinsic", [str(signed.data)]))
    return ExtrinsicReceipt(substrate, sent, block_hash=host.new_blocks())


def free(substrate: SubstrateInterface, who: Keypair, block_hash: str | None = None) -> int:
    return int(substrate.query("System", "Account", [who.ss58_address], block_hash=block_hash)["data"]["free"].value)


def transfer(substrate: SubstrateInterface, value: int, to: str = BOB.ss58_address) -> object:
    return substrate.compose_call("Balances", "transfer_keep_alive", {"dest": to, "value": value})


def test_the_genesis_endows_developers_and_gives_alice_the_root(substrate: SubstrateInterface) -> None:
    genesis = substrate.get_block_hash(0)
    assert free(substrate, BOB, genesis) == 10**6 * TAO
    assert substrate.query("Sudo", "Key", block_hash=genesis) == ALICE.ss58_address
    assert substrate.runtime_version >= 300
    code = substrate.rpc_request("state_getStorage", ["0x" + b":code".hex(), genesis])["result"]
    assert len(code) > 1 << 20


def test_blocks_come_with_their_time_and_their_parents(host: RunningHost, substrate: SubstrateInterface) -> None:
    last = host.new_blocks(3)
    block = substrate.get_block(last)
    before = block["header"]["parentHash"]
    assert substrate.get_block_number(before) == block["header"]["number"] - 1
    times = [substrate.query("Timestamp", "Now", block_hash=each).value for each in (before, last)]
    assert times[1] - times[0] == 12_000
    assert substrate.query("System", "ParentHash", block_hash=last) == before


def test_a_transfer_moves_balances_and_old_blocks_keep_theirs(host: RunningHost, substrate: SubstrateInterface) -> None:
    before, head = free(substrate, BOB), substrate.get_chain_head()
    signed = substrate.create_signed_extrinsic(transfer(substrate, 3 * TAO), ALICE, era={"period": 64})
    told = host.request("payment_queryInfo", [str(signed.data)])
    receipt = submit(host, substrate, ALICE, transfer(substrate, 3 * TAO))
    assert receipt.is_success
    assert isinstance(told, dict)
    assert int(told["partialFee"]) == receipt.total_fee_amount > 0
    assert free(substrate, BOB) == before + 3 * TAO
    assert free(substrate, BOB, head) == before
    assert substrate.query_map("System", "Account", block_hash=head, page_size=5).records
    nonce = "AccountNonceApi_account_nonce"
    who = "0x" + ALICE.public_key.hex()
    assert host.request("state_call", [nonce, who]) != host.request("state_call", [nonce, who, head])


def test_a_call_that_fails_is_in_the_block_and_names_its_error(
    host: RunningHost, substrate: SubstrateInterface
) -> None:
    before = free(substrate, BOB)
    call = substrate.compose_call("SubtensorModule", "burned_register", {"netuid": 99, "hotkey": BOB.ss58_address})
    receipt = submit(host, substrate, BOB, call)
    assert not receipt.is_success
    assert receipt.error_message["name"] == "SubNetworkDoesNotExist"
    assert before - receipt.total_fee_amount == free(substrate, BOB)


def test_the_root_sets_hyperparameters_in_a_nested_call(host: RunningHost, substrate: SubstrateInterface) -> None:
    inner = substrate.compose_call("AdminUtils", "sudo_set_tempo", {"netuid": 1, "tempo": 77})
    batch = substrate.compose_call("Utility", "batch_all", {"calls": [inner]})
    receipt = submit(host, substrate, ALICE, substrate.compose_call("Sudo", "sudo", {"call": batch}))
    assert receipt.is_success
    assert substrate.query("SubtensorModule", "Tempo", [1]) == 77


def test_the_runtime_refuses_in_substrates_words(host: RunningHost, substrate: SubstrateInterface) -> None:
    submit(host, substrate, ALICE, transfer(substrate, TAO))
    call = transfer(substrate, TAO)
    stake = {"hotkey": ALICE.ss58_address, "netuid": 1, "amount_staked": TAO}
    stranger = Keypair.create_from_uri("//Nobody")
    good = str(substrate.create_signed_extrinsic(call, ALICE).data)
    late = str(substrate.create_signed_extrinsic(call, ALICE, era={"period": 4}).data)
    host.new_blocks(4)
    for raw, words in (
        (good[:90] + ("0" if good[90] != "0" else "1") + good[91:], "1010.*Transaction has a bad signature"),
        (late, "1010.*Transaction has a bad signature"),  # its era is counted anew, from another block
        (str(substrate.create_signed_extrinsic(call, ALICE, nonce=0).data), "1010.*Transaction is outdated"),
        (str(substrate.create_signed_extrinsic(call, stranger).data), "1010.*Inability to pay some fees"),
        (
            str(
                substrate.create_signed_extrinsic(
                    substrate.compose_call("SubtensorModule", "add_stake", stake), BOB
                ).data
            ),
            "1010.*Custom error: ",
        ),
        ("0x0c840000", "1002.*does not decode"),
    ):
        with pytest.raises(ValueError, match=words):
            host.request("author_submitExtrinsic", [raw])


def test_nonces_count_the_pool_and_wait_for_those_before(host: RunningHost, substrate: SubstrateInterface) -> None:
    first = substrate.get_account_nonce(BOB.ss58_address)

    def send(nonce: int) -> None:
        call = transfer(substrate, TAO, ALICE.ss58_address)
        host.request("author_submitExtrinsic", [str(substrate.create_signed_extrinsic(call, BOB, nonce=nonce).data)])

    def following() -> object:
        return host.request("system_accountNextIndex", [BOB.ss58_address])

    send(first + 1)
    assert following() == first
    send(first)
    assert following() == first + 2
    with pytest.raises(ValueError, match="1014"):
        send(first)
    host.new_blocks()
    assert following() == first + 2 == substrate.get_account_nonce(BOB.ss58_address)
    send(first + 3)
    assert host.drop_pool() == 1


def test_storage_can_be_overwritten(host: RunningHost, substrate: SubstrateInterface) -> None:
    key = substrate.create_storage_key("SubtensorModule", "Tempo", [1])
    before = substrate.get_chain_head()
    host.set_storage({bytes(key.data): (123).to_bytes(2, "little")})
    assert substrate.query("SubtensorModule", "Tempo", [1]) == 123
    assert substrate.query("SubtensorModule", "Tempo", [1], block_hash=before) != 123
    host.set_storage({bytes(key.data): None})
    assert substrate.query("SubtensorModule", "Tempo", [1]) != 123


def test_unmodified_clients_wait_for_finalization_on_an_instant_chain(wasm: Path) -> None:
    with (
        running_substrate_host(
            wasm, instant=True, endow={Keypair.create_from_uri("//Zoe").ss58_address: TAO + 1}
        ) as host,
        SubstrateInterface(host.url, ss58_format=42) as substrate,
    ):
        signed = substrate.create_signed_extrinsic(transfer(substrate, TAO), ALICE)
        receipt = substrate.submit_extrinsic(signed, wait_for_finalization=True)
        assert receipt.is_success
        assert receipt.finalized
        assert free(substrate, Keypair.create_from_uri("//Zoe")) == TAO + 1
        with pytest.raises(SubstrateRequestException, match="1012"):
            substrate.submit_extrinsic(signed)


def test_the_clock_makes_blocks_and_a_killed_host_is_gone(wasm: Path) -> None:
    with running_substrate_host(wasm, block_time_s=0.05, finality_lag=2) as host:
        with SubstrateInterface(host.url, ss58_format=42) as substrate:
            seen: list[int] = []

            def head(told: dict[str, dict[str, int]], _number: int, _subscription: str) -> bool | None:
                seen.append(told["header"]["number"])
                return True if len(seen) == 3 else None

            substrate.subscribe_block_headers(head)
            assert seen[2] - seen[0] == 2
            finalized = substrate.get_block_number(substrate.get_chain_finalised_head())
            assert finalized < substrate.get_block_number(None)
        os.kill(host.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                host.request("chain_getHead", [])
            except (OSError, WebSocketException):
                return
        pytest.fail("the host still answers")
