"""Wallets written by Bittensor's own package, kept in tests/golden/wallets, are read here."""

import json
from pathlib import Path
from typing import Any

import pytest

from chain.keys import (
    ColdkeyState,
    hotkey_address,
    keypair_from_phrase,
    list_wallets,
    load_coldkey,
    load_coldkeypub,
    load_hotkey,
    read_wallet,
)
from hivetune.errors import ConfigError

WALLETS = Path(__file__).parent / "golden" / "wallets"
EXPECTED: dict[str, dict[str, Any]] = json.loads((WALLETS / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_keys_are_read_and_sign(name: str) -> None:
    wallet = EXPECTED[name]
    coldkey = load_coldkey(WALLETS, name, password=wallet["coldkey_password"])
    hotkey = load_hotkey(WALLETS, name, wallet["hotkey"])
    assert coldkey.ss58_address == load_coldkeypub(WALLETS, name) == wallet["coldkey"]
    assert hotkey.ss58_address == hotkey_address(WALLETS, name, wallet["hotkey"]) == wallet["hotkey_address"]
    for key in (coldkey, hotkey):
        assert key.verify(b"message", key.sign(b"message"))


def test_an_encrypted_coldkey_wants_its_password() -> None:
    with pytest.raises(ConfigError, match="no password was given"):
        load_coldkey(WALLETS, "sealed", password=None)


@pytest.mark.parametrize("name", [name for name, wallet in EXPECTED.items() if "hotkey_phrase" in wallet])
def test_phrases_give_the_same_keys(name: str) -> None:
    wallet = EXPECTED[name]
    assert keypair_from_phrase(wallet["coldkey_phrase"], wallet["key_type"]).ss58_address == wallet["coldkey"]
    assert keypair_from_phrase(wallet["hotkey_phrase"], wallet["key_type"]).ss58_address == wallet["hotkey_address"]


def test_the_list_shows_hotkeys_and_not_their_public_files() -> None:
    found = {entry.name: (entry.coldkey, entry.hotkeys) for entry in list_wallets(WALLETS)}
    assert found == {
        name: (wallet["coldkey"], ((wallet["hotkey"], wallet["hotkey_address"]),)) for name, wallet in EXPECTED.items()
    }


def test_only_the_encrypted_coldkey_counts_as_locked() -> None:
    locked = {name for name in EXPECTED if read_wallet(WALLETS, name).coldkey_state is ColdkeyState.ENCRYPTED}
    assert locked == {"sealed"}
