"""The parts of the host of a Substrate runtime: state, bytes, what a runtime answers, the pool, the genesis."""

import struct
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from substrateinterface import Keypair, KeypairType

from chain.devnode.scale import MalformedBytes, Reader, compact
from tools.substrate_host import crypto
from tools.substrate_host.blocks import inherent_data, new_header, read_block, split_extrinsics
from tools.substrate_host.genesis import patched
from tools.substrate_host.pool import BAN_S, MAX_WAITING, Pool, PoolRefused
from tools.substrate_host.state import History, Overlay, UnbalancedTransactions
from tools.substrate_host.validity import (
    BlockFull,
    InvalidTransaction,
    UnknownValidity,
    ValidTransaction,
    raise_unless_applied,
    read_validity,
)

KEYS = st.binary(min_size=0, max_size=2)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=2), max_size=6)


@given(st.lists(CHANGES, min_size=1, max_size=6), KEYS)
def test_every_past_state_reads_as_a_copy_of_it_would(blocks: list[dict[bytes, bytes | None]], probe: bytes) -> None:
    history, state, copies = History(), {}, []
    for changes in blocks:
        history.append(changes)
        state.update(changes)
        copies.append({key: value for key, value in state.items() if value is not None})
    for number, copy in enumerate(copies):
        view = history.view(number)
        assert {key: view.get(key) for key in state} == {key: copy.get(key) for key in state}
        assert view.next_key(probe) == min((key for key in copy if key > probe), default=None)
        under = sorted(key for key in copy if key.startswith(probe))
        assert history.keys_at(probe, number, after=b"", count=99) == [key for key in under if key > b"" or probe]
        assert history.keys_at(b"", number, after=probe, count=2) == sorted(key for key in copy if key > probe)[:2]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.none() | st.binary(max_size=2)),
        st.tuples(st.just("clear"), KEYS, st.none() | st.integers(0, 3)),
        st.tuples(st.sampled_from(["begin", "commit", "rollback"]), st.none(), st.none()),
    ),
    max_size=25,
)


@given(st.dictionaries(KEYS, st.binary(max_size=2), max_size=6), OPERATIONS, KEYS)
def test_an_overlay_is_a_stack_of_copies(below: dict[bytes, bytes], operations: list[Any], probe: bytes) -> None:
    history = History()
    history.append(below)
    overlay, stack = Overlay(history), [dict(below)]
    for kind, key, value in operations:
        if kind == "put":
            overlay.put(key, value)
            stack[-1].pop(key, None)
            stack[-1].update({} if value is None else {key: value})
        elif kind == "clear":
            under = sorted(each for each in stack[-1] if each.startswith(key))
            assert overlay.clear_prefix(key, value) == (len(under[:value]), len(under[:value]) < len(under))
            for each in under[:value]:
                del stack[-1][each]
        elif kind == "begin":
            overlay.begin()
            stack.append(dict(stack[-1]))
        elif len(stack) > 1:
            getattr(overlay, kind)()
            top = stack.pop()
            if kind == "commit":
                stack[-1] = top
        assert overlay.next_key(probe) == min((each for each in stack[-1] if each > probe), default=None)
    assert {key: value for key, value in (below | overlay.changes).items() if value is not None} == stack[-1]
    assert overlay.depth == len(stack) - 1


def test_a_transaction_that_was_never_begun_does_not_end() -> None:
    with pytest.raises(UnbalancedTransactions):
        Overlay(History()).commit()


def test_appending_counts_the_items_of_a_vector() -> None:
    overlay = Overlay(History())
    for _ in range(64):
        overlay.append(b"events", b"ab")
    assert overlay.get(b"events") == compact(64) + b"ab" * 64
    overlay.put(b"junk", b"\x03")  # says that it goes on, and ends
    overlay.append(b"junk", b"ab")
    assert overlay.get(b"junk") == compact(1) + b"ab"


@given(st.integers(0, 2**64 - 1))
def test_compact_integers_come_back(value: int) -> None:
    assert Reader(compact(value)).compact() == value


def test_hashes_are_substrates() -> None:
    assert crypto.twox_128(b"System").hex() == "26aa394eea5630e07c48ae0c9558cef7"
    assert crypto.twox_64(b"System") == crypto.twox_128(b"System")[:8]
    assert crypto.blake2_128(b"x") == blake2b(b"x", digest_size=16).digest()
    assert crypto.keccak_256(b"").hex().startswith("c5d2460186f7233c")
    assert crypto.sha2_256(b"").hex().startswith("e3b0c44298fc1c14")


@pytest.mark.parametrize(
    ("scheme", "verify"), [(KeypairType.SR25519, crypto.sr25519_verify), (KeypairType.ED25519, crypto.ed25519_verify)]
)
def test_signature_checks_answer_for_any_bytes(scheme: int, verify: Callable[[bytes, bytes, bytes], bool]) -> None:
    signer = Keypair.create_from_seed("0x" + "07" * 32, crypto_type=scheme)
    signature = signer.sign(b"message")
    assert verify(signature, b"message", signer.public_key)
    assert not verify(signature, b"another", signer.public_key)
    for bad in (bytes(64), b"\xff" * 64, signature[::-1]):
        assert not verify(bad, b"message", signer.public_key)
        assert not verify(signature, b"message", bad[:32])


def test_secp256k1_keys_are_recovered_or_refused_with_substrates_code() -> None:
    from eth_keys import KeyAPI

    secret = KeyAPI.PrivateKey(b"\x07" * 32)
    signature = secret.sign_msg_hash(b"\x01" * 32).to_bytes()
    public = secret.public_key.to_bytes()
    assert crypto.ecdsa_recover(signature, b"\x01" * 32) == public
    assert crypto.ecdsa_recover(signature[:64] + bytes([signature[64] + 27]), b"\x01" * 32) == public
    assert crypto.compressed(public) == secret.public_key.to_compressed_bytes()
    with pytest.raises(crypto.EcdsaRefused) as refused:
        crypto.ecdsa_recover(signature[:64] + b"\x09", b"\x01" * 32)
    assert refused.value.code == crypto.BAD_V
    with pytest.raises(crypto.EcdsaRefused):
        crypto.ecdsa_recover(b"\xff" * 64 + b"\x00", b"\x01" * 32)


def test_blocks_are_read_from_headers() -> None:
    logs = (b"\x06BABE" + compact(3) + b"abc", b"\x00" + compact(1) + b"x", b"\x08")
    header = b"\x01" * 32 + compact(70) + b"\x02" * 32 + b"\x03" * 32 + compact(3) + b"".join(logs)
    block = read_block(header, [b"xt"])
    assert (block.number, block.parent, block.state_root, block.logs) == (70, b"\x01" * 32, b"\x02" * 32, logs)
    assert block.hash == blake2b(header, digest_size=32).digest()
    with pytest.raises(MalformedBytes):
        read_block(new_header(bytes(32), 1)[:-1] + compact(1) + b"\x07", [])


def test_extrinsics_keep_their_length_prefix() -> None:
    parts = [compact(len(body)) + body for body in (b"a", b"b" * 100)]
    assert split_extrinsics(compact(2) + b"".join(parts)) == parts
    assert inherent_data(7) == b"\x04timstap0\x20" + (7).to_bytes(8, "little")


def encoded_validity(validity: ValidTransaction) -> bytes:
    def tags(values: tuple[bytes, ...]) -> bytes:
        return compact(len(values)) + b"".join(compact(len(each)) + each for each in values)

    return (
        b"\x00"
        + struct.pack("<Q", validity.priority)
        + tags(validity.requires)
        + tags(validity.provides)
        + struct.pack("<QB", validity.longevity, 1)
    )


def valid(
    provides: bytes, *, requires: tuple[bytes, ...] = (), priority: int = 0, longevity: int = 64
) -> ValidTransaction:
    return ValidTransaction(priority=priority, requires=requires, provides=(provides,), longevity=longevity)


def test_validity_is_read_as_it_was_encoded() -> None:
    validity = valid(b"tag", requires=(b"a", b"bb"), priority=2**63, longevity=2**64 - 1)
    assert read_validity(encoded_validity(validity)) == validity


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("010003", InvalidTransaction, "Transaction is outdated"),
        ("010004", InvalidTransaction, "Transaction has a bad signature"),
        ("010002", InvalidTransaction, "Transaction will be valid in the future"),
        ("010005", InvalidTransaction, "Transaction has an ancient birth block"),
        ("010001", InvalidTransaction, "Inability to pay some fees (e.g. account balance too low)"),
        ("01000707", InvalidTransaction, "Custom error: 7"),
        ("010006", BlockFull, "Transaction would exhaust the block limits"),
        ("010100", UnknownValidity, "Could not lookup information required to validate the transaction"),
        ("01010209", UnknownValidity, "Custom error: 9"),
    ],
)
def test_refusals_have_substrates_words(answer: str, kind: type[Exception], words: str) -> None:
    for read in (read_validity, raise_unless_applied):
        with pytest.raises(kind) as refused:
            read(bytes.fromhex(answer))
        assert str(refused.value) == words


def test_an_answer_of_no_known_kind_is_malformed() -> None:
    for raw in (b"\x01\x02\x00", b"\x01\x00\x63", b""):
        with pytest.raises(MalformedBytes):
            read_validity(raw)


def names(pool: Pool) -> list[bytes]:
    return [entry.raw for entry in pool.ready()]


def test_the_pool_orders_by_tags_and_then_by_priority() -> None:
    pool = Pool()
    pool.add(b"second", b"2", valid(b"b", requires=(b"a",), priority=9), 0)
    assert names(pool) == []
    pool.add(b"first", b"1", valid(b"a"), 0)
    pool.add(b"rich", b"3", valid(b"c", priority=5), 0)
    pool.add(b"short", b"4", valid(b"d", priority=5, longevity=2), 0)
    assert names(pool) == [b"short", b"rich", b"first", b"second"]


def test_the_pool_refuses_with_substrates_codes() -> None:
    now = [0.0]
    pool = Pool(clock=lambda: now[0])
    pool.add(b"first", b"1", valid(b"a", priority=5), 0)
    with pytest.raises(PoolRefused) as refused:
        pool.refuse_known(b"1")
    assert refused.value.code == 1013
    with pytest.raises(PoolRefused) as refused:
        pool.add(b"equal", b"2", valid(b"a", priority=5), 0)
    assert refused.value.code == 1014
    assert pool.add(b"better", b"3", valid(b"a", priority=6), 0) == [b"1"]
    assert names(pool) == [b"better"]
    pool.ban(b"1")
    with pytest.raises(PoolRefused) as refused:
        pool.refuse_known(b"1")
    assert refused.value.code == 1012
    now[0] = BAN_S
    pool.refuse_known(b"1")


def test_a_full_pool_takes_no_more() -> None:
    pool = Pool()
    for index in range(MAX_WAITING):
        pool.add(b"", str(index).encode(), valid(str(index).encode()), 0)
    with pytest.raises(PoolRefused) as refused:
        pool.add(b"", b"more", valid(b"more"), 0)
    assert refused.value.code == 1016
    assert len(pool.clear()) == MAX_WAITING
    assert len(pool) == 0


def test_a_preset_becomes_a_development_chain() -> None:
    preset = {"balances": {"balances": []}, "sudo": {"key": None}, "staking": {"stakers": [], "kept": 1}, "other": {}}
    made = patched(preset, {"5F": 7})
    alice = Keypair.create_from_uri("//Alice").ss58_address
    assert made["balances"]["balances"][0] == [alice, 10**15]
    assert made["balances"]["balances"][-1] == ["5F", 7]
    assert made["sudo"] == {"key": alice}
    assert made["staking"]["kept"] == made["staking"]["validatorCount"] == 1
    assert made.keys() == preset.keys()
