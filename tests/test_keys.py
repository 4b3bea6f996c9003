"""Wallet files: the format other tools read, nothing overwritten, one clear line for whatever is wrong."""

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from substrateinterface import Keypair

from chain.keyfiles import Cost, decrypt, encrypt
from chain.keys import (
    ColdkeyState,
    create_hotkey,
    create_wallet,
    hotkey_address,
    keypair_from_phrase,
    keypair_from_uri,
    list_wallets,
    load_coldkey,
    load_coldkeypub,
    load_hotkey,
    read_wallet,
    restore_coldkey,
    restore_hotkey,
)
from hivetune.errors import ConfigError

CHEAP = Cost(operations=3, memory_bytes=64 * 1024)
PHRASE = (
    "bottom drive obey lake curtain smoke basket hold race lonely fit walk"  # Substrate's public development phrase
)
PHRASE_ADDRESS = "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV"


def make_wallet(root: Path, name: str = "alice") -> None:
    create_wallet(root, name, password=None, unencrypted=True)


def write_hotkey_file(root: Path, **fields: object) -> None:
    (root / "alice" / "hotkeys" / "given").write_text(json.dumps(fields))


def test_a_wallet_is_read_back_with_the_same_keys(tmp_path: Path) -> None:
    addresses = create_wallet(tmp_path, "alice", "miner", password="secret", cost=CHEAP)
    assert load_coldkeypub(tmp_path, "alice") == addresses.coldkey
    assert load_coldkey(tmp_path, "alice", password="secret", cost=CHEAP).ss58_address == addresses.coldkey
    hotkey = load_hotkey(tmp_path, "alice", "miner")
    assert hotkey.ss58_address == addresses.hotkey
    assert hotkey.verify(b"message", hotkey.sign(b"message"))


def test_files_have_bittensors_names_fields_and_modes(tmp_path: Path) -> None:
    create_wallet(tmp_path, "alice", password="secret", cost=CHEAP)
    files = sorted(path.relative_to(tmp_path / "alice").as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["coldkey", "coldkeypub.txt", "hotkeys/default", "hotkeys/defaultpub.txt"]
    assert {stat.S_IMODE((tmp_path / "alice" / file).stat().st_mode) for file in files} == {0o600}
    assert (tmp_path / "alice" / "coldkey").read_bytes().startswith(b"$NACL")
    fields = json.loads((tmp_path / "alice" / "hotkeys" / "default").read_text())
    assert sorted(fields) == sorted([
        "accountId", "publicKey", "privateKey", "secretPhrase", "secretSeed", "ss58Address", "cryptoType"
    ])  # fmt: skip
    assert len(bytes.fromhex(fields["privateKey"][2:])) == 64
    assert Keypair.create_from_mnemonic(fields["secretPhrase"]).ss58_address == fields["ss58Address"]
    assert "secretPhrase" not in (tmp_path / "alice" / "coldkeypub.txt").read_text()


def test_the_mnemonic_of_a_loaded_key_can_be_shown(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    assert len(load_coldkey(tmp_path, "alice", password=None).mnemonic.split()) == 12


@pytest.mark.parametrize("secret", ["secretPhrase", "secretSeed", "privateKey"])
def test_any_one_secret_in_the_file_is_enough(tmp_path: Path, secret: str) -> None:
    make_wallet(tmp_path)
    keypair = Keypair.create_from_mnemonic(PHRASE)
    secrets = {
        "secretPhrase": PHRASE,
        "secretSeed": f"0x{keypair.seed_hex.hex()}",
        "privateKey": f"0x{keypair.private_key.hex()}",
    }
    write_hotkey_file(tmp_path, ss58Address=PHRASE_ADDRESS, cryptoType=1, **{secret: secrets[secret]})
    assert load_hotkey(tmp_path, "alice", "given").ss58_address == PHRASE_ADDRESS


def test_an_ed25519_key_is_read(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    address = Keypair.create_from_mnemonic(PHRASE, crypto_type=0).ss58_address
    write_hotkey_file(tmp_path, ss58Address=address, cryptoType=0, secretPhrase=PHRASE)
    keypair = load_hotkey(tmp_path, "alice", "given")
    assert keypair.verify(b"message", keypair.sign(b"message"))


def test_a_file_whose_secret_gives_another_address_is_refused(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    write_hotkey_file(tmp_path, ss58Address=load_coldkeypub(tmp_path, "alice"), cryptoType=1, secretPhrase=PHRASE)
    with pytest.raises(ConfigError, match="no secret in it gives the address"):
        load_hotkey(tmp_path, "alice", "given")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "no JSON"),
        (b'"text"', "want a JSON object"),
        (b"\xff\xfe", "no JSON"),
        (b"{}", "no valid ss58Address"),
        (b'{"ss58Address": 5}', "no valid ss58Address"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n3132", "old Ansible vault format"),
        (b"gAAAAABk", "old Fernet format"),
        (b"$NACL" + bytes(80), "needs a plain hotkey"),
        (b" " * 100_000, "100000 bytes, a key file at most 65536"),
    ],
)
def test_a_bad_hotkey_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    make_wallet(tmp_path)
    path = tmp_path / "alice" / "hotkeys" / "given"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load_hotkey(tmp_path, "alice", "given")
    assert str(path) in str(raised.value)


def test_a_wrong_password_is_said_to_be_wrong(tmp_path: Path) -> None:
    create_wallet(tmp_path, "alice", password="secret", cost=CHEAP)
    with pytest.raises(ConfigError, match="wrong password"):
        load_coldkey(tmp_path, "alice", password="Secret", cost=CHEAP)
    with pytest.raises(ConfigError, match="no password was given"):
        load_coldkey(tmp_path, "alice", password=None)


def test_a_plain_coldkey_must_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unencrypted=True"):
        create_wallet(tmp_path, "alice", password=None)
    with pytest.raises(ConfigError, match="not empty"):
        create_wallet(tmp_path, "alice", password="")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="alice/coldkey exists already"):
        make_wallet(tmp_path)
    with pytest.raises(ConfigError, match="hotkeys/default exists already"):
        create_hotkey(tmp_path, "alice", "default")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_missing_wallet_or_hotkey_is_answered_with_those_there(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    make_wallet(tmp_path, "bob")
    with pytest.raises(ConfigError, match=r"no wallet 'carol' .* there are: alice, bob"):
        load_hotkey(tmp_path, "carol", "default")
    with pytest.raises(ConfigError, match=r"no hotkey 'other' .* there are: default"):
        load_hotkey(tmp_path, "bob", "other")
    with pytest.raises(ConfigError, match="there are: none"):
        load_coldkeypub(tmp_path / "nowhere", "alice")


def test_wallets_are_listed_with_their_addresses(tmp_path: Path) -> None:
    addresses = create_wallet(tmp_path, "alice", password=None, unencrypted=True)
    second = create_hotkey(tmp_path, "alice", "second").ss58_address
    (tmp_path / "alice" / "hotkeys" / "default.lock").write_text("")
    (tmp_path / "broken" / "hotkeys").mkdir(parents=True)
    (tmp_path / "broken" / "coldkeypub.txt").write_text("?")
    alice, broken = list_wallets(tmp_path)
    assert (alice.name, alice.coldkey) == ("alice", addresses.coldkey)
    assert alice.hotkeys == (("default", addresses.hotkey), ("second", second))
    assert (alice.coldkey_state, broken.coldkey_state) == (ColdkeyState.UNLOCKED, ColdkeyState.ABSENT)
    assert (broken.name, broken.coldkey, broken.hotkeys) == ("broken", None, ())
    assert read_wallet(tmp_path, "alice") == alice


@pytest.mark.parametrize("start", [b"$NACL", b"$ANSIBLE_VAULT;1.1", b"gAAAAABk"])
def test_an_encrypted_coldkey_of_any_format_counts_as_locked(tmp_path: Path, start: bytes) -> None:
    make_wallet(tmp_path)
    (tmp_path / "alice" / "coldkey").write_bytes(start + bytes(100))
    assert read_wallet(tmp_path, "alice").coldkey_state is ColdkeyState.ENCRYPTED


def test_keys_come_back_from_their_phrases(tmp_path: Path) -> None:
    made = create_wallet(tmp_path / "first", "alice", "miner", password="secret", cost=CHEAP)
    assert made.coldkey_phrase not in repr(made)
    again = tmp_path / "second"
    restore_hotkey(again, "alice", "miner", keypair_from_phrase(f" {made.hotkey_phrase}\n"))
    assert read_wallet(again, "alice").coldkey_state is ColdkeyState.ABSENT
    restore_coldkey(again, "alice", keypair_from_phrase(made.coldkey_phrase), password="other", cost=CHEAP)
    assert load_hotkey(again, "alice", "miner").ss58_address == made.hotkey
    assert load_coldkey(again, "alice", password="other", cost=CHEAP).ss58_address == made.coldkey
    names = sorted(path.relative_to(again / "alice").as_posix() for path in again.rglob("*") if path.is_file())
    assert names == ["coldkey", "coldkeypub.txt", "hotkeys/miner", "hotkeys/minerpub.txt"]


def test_a_restored_key_replaces_nothing_and_fits_the_public_half(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    keypair = keypair_from_phrase(PHRASE, "ed25519")
    with pytest.raises(ConfigError, match="alice/coldkey exists already"):
        restore_coldkey(tmp_path, "alice", keypair, password=None, unencrypted=True)
    with pytest.raises(ConfigError, match="hotkeys/default exists already"):
        restore_hotkey(tmp_path, "alice", "default", keypair)
    (tmp_path / "alice" / "coldkey").unlink()
    with pytest.raises(ConfigError, match=rf"coldkeypub.txt is of .* and this key is {keypair.ss58_address}"):
        restore_coldkey(tmp_path, "alice", keypair, password=None, unencrypted=True)


@pytest.mark.parametrize("phrase", ["", "abandon", PHRASE + " walk", PHRASE.replace("walk", "wolk"), PHRASE[::-1]])
def test_a_bad_phrase_is_refused_without_repeating_it(phrase: str) -> None:
    with pytest.raises(ConfigError, match="phrase") as raised:
        keypair_from_phrase(phrase)
    assert not phrase or phrase not in str(raised.value)


def test_the_address_is_known_where_only_the_public_half_is(tmp_path: Path) -> None:
    addresses = create_wallet(tmp_path, "alice", password=None, unencrypted=True)
    assert hotkey_address(tmp_path, "alice", "default") == addresses.hotkey
    (tmp_path / "alice" / "hotkeys" / "default").unlink()
    assert hotkey_address(tmp_path, "alice", "default") == addresses.hotkey
    with pytest.raises(ConfigError, match="no hotkey 'other'"):
        hotkey_address(tmp_path, "alice", "other")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "a\\b", "-flag", ".hidden", "a\0", "a\n", "x" * 65, "end."]
)
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="wallet name"):
        make_wallet(tmp_path, name)
    make_wallet(tmp_path)
    with pytest.raises(ConfigError, match="hotkey name"):
        create_hotkey(tmp_path, "alice", name)
    with pytest.raises(ConfigError, match="hotkey name"):
        load_hotkey(tmp_path, "alice", name)


def test_a_hotkey_cannot_take_the_name_of_a_public_file(tmp_path: Path) -> None:
    make_wallet(tmp_path)
    for name in ("defaultpub.txt", "default.lock"):
        with pytest.raises(ConfigError, match="hotkey name"):
            create_hotkey(tmp_path, "alice", name)


@given(data=st.binary(max_size=500), password=st.text(min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_what_was_encrypted_is_decrypted_by_the_same_password_only(data: bytes, password: str) -> None:
    sealed = encrypt(data, password, CHEAP)
    assert decrypt(Path("coldkey"), sealed, password, CHEAP) == data
    with pytest.raises(ConfigError):
        decrypt(Path("coldkey"), sealed, password + "x", CHEAP)


def test_the_default_cost_is_the_one_bittensor_reads() -> None:
    assert Cost() == Cost(operations=8, memory_bytes=512 * 1024 * 1024)


@pytest.mark.parametrize("uri", ["", "no phrase", "//Alice///password"])
def test_a_key_by_path_is_made_or_refused(uri: str) -> None:
    assert keypair_from_uri("//Alice").ss58_address == "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
    with pytest.raises(ConfigError, match="want a path such as //Alice"):
        keypair_from_uri(uri)
