"""Wallets go both ways between this project and the `bittensor` package; runs where that package is installed."""

import base64
import json
import stat
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

from chain.keys import (
    create_hotkey,
    create_wallet,
    keypair_from_phrase,
    list_wallets,
    load_coldkey,
    load_coldkeypub,
    load_hotkey,
    restore_coldkey,
    restore_hotkey,
)
from neurons.passwords import find_password, own_variable, unmask

pytest.importorskip("bittensor", reason="the bittensor package is not installed: its wallets are not tried")

from bittensor import wallets as their_wallets
from bittensor.keyfiles import Keyfile, Keypair
from bittensor.wallet import Wallet

PASSWORD = "correct horse battery staple"
KEY_TYPES = {"sr25519": 1, "ed25519": 0}


def theirs(root: Path, name: str, hotkey: str = "default") -> Wallet:
    return Wallet(name=name, hotkey=hotkey, path=str(root))


def test_ours_are_read_there(tmp_path: Path) -> None:
    made = create_wallet(tmp_path, "alice", "miner", password=PASSWORD)
    second = create_hotkey(tmp_path, "alice", "second")
    wallet = theirs(tmp_path, "alice", "miner")
    assert wallet.coldkey_file.is_encrypted()
    assert wallet.get_coldkey(PASSWORD).ss58_address == wallet.coldkeypub.ss58_address == made.coldkey
    assert wallet.hotkey.ss58_address == wallet.hotkeypub.ss58_address == made.hotkey
    assert theirs(tmp_path, "alice", "second").hotkey.ss58_address == second.ss58_address
    assert their_wallets.list_wallets(str(tmp_path)) == {"alice": ["miner", "second"]}
    assert second.verify(b"message", bytes(theirs(tmp_path, "alice", "second").hotkey.sign(b"message")))
    assert theirs(tmp_path, "alice", "second").hotkey.verify(b"message", second.sign(b"message"))


def test_an_unencrypted_coldkey_of_ours_is_read_there(tmp_path: Path) -> None:
    made = create_wallet(tmp_path, "alice", password=None, unencrypted=True)
    assert theirs(tmp_path, "alice").coldkey.ss58_address == made.coldkey


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_theirs_are_read_here(tmp_path: Path, key_type: str) -> None:
    made = theirs(tmp_path, "bob", "validator")
    made.create_new_coldkey(suppress=True, coldkey_password=PASSWORD, crypto_type=KEY_TYPES[key_type])
    made.create_new_hotkey(suppress=True, crypto_type=KEY_TYPES[key_type])
    assert load_coldkey(tmp_path, "bob", password=PASSWORD).ss58_address == made.coldkeypub.ss58_address
    assert load_coldkeypub(tmp_path, "bob") == made.coldkeypub.ss58_address
    hotkey = load_hotkey(tmp_path, "bob", "validator")
    assert hotkey.ss58_address == made.hotkey.ss58_address
    assert made.hotkey.verify(b"message", hotkey.sign(b"message"))
    assert hotkey.verify(b"message", bytes(made.hotkey.sign(b"message")))
    (entry,) = list_wallets(tmp_path)
    assert entry.hotkeys == (("validator", hotkey.ss58_address),)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_phrases_give_the_same_keys_on_both_sides(tmp_path: Path, key_type: str) -> None:
    phrase = Keypair.generate_mnemonic(24)
    keypair = keypair_from_phrase(phrase, key_type)
    restore_coldkey(tmp_path / "ours", "carol", keypair, password=None, unencrypted=True)
    restore_hotkey(tmp_path / "ours", "carol", "default", keypair)
    made = theirs(tmp_path / "theirs", "carol")
    made.regenerate_coldkey(
        mnemonic=phrase, use_password=False, suppress=True, crypto_type=KEY_TYPES[key_type]
    ).regenerate_hotkey(mnemonic=phrase, suppress=True, crypto_type=KEY_TYPES[key_type])
    for file in ("coldkey", "coldkeypub.txt", "hotkeys/default", "hotkeys/defaultpub.txt"):
        ours, other = tmp_path / "ours" / "carol" / file, tmp_path / "theirs" / "carol" / file
        assert json.loads(ours.read_text()) == json.loads(other.read_text()), file
        assert stat.S_IMODE(ours.stat().st_mode) == stat.S_IMODE(other.stat().st_mode) == 0o600


def test_a_password_in_a_key_files_own_variable_is_understood(tmp_path: Path) -> None:
    create_wallet(tmp_path, "alice", password=None, unencrypted=True)
    variable = own_variable(tmp_path, "alice")
    assert variable == Keyfile(tmp_path / "alice" / "coldkey").env_var_name()
    masked = bytes(one ^ other for one, other in zip(PASSWORD.encode(), cycle(variable.encode()), strict=False))
    stored = base64.b64encode(masked).decode()
    read = "import sys; from bittensor.sp_core import get_password_from_environment as get; print(get(sys.argv[1]))"
    there = subprocess.run(
        [sys.executable, "-c", read, variable], env={variable: stored}, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == unmask(variable, stored) == PASSWORD
    assert find_password(tmp_path, "alice", {variable: stored}) == PASSWORD
