"""Passwords of coldkeys: which variable counts, and what is said where nobody can be asked."""

import base64
from itertools import cycle
from pathlib import Path

import pytest

from chain.keyfiles import Cost, encrypt, private_json
from chain.keys import create_wallet, load_coldkey, new_keypair
from hivetune.errors import ConfigError
from neurons.passwords import find_password, new_password, own_variable, unlock_coldkey, unmask


def masked(variable: str, password: str) -> str:
    """As Bittensor's save_password_to_env writes it."""
    data = bytes(one ^ other for one, other in zip(password.encode(), cycle(variable.encode()), strict=False))
    return base64.b64encode(data).decode()


def test_the_first_of_three_variables_counts(tmp_path: Path) -> None:
    own = own_variable(tmp_path, "alice")
    file = tmp_path / "password"
    file.write_text(" from file\n")
    everything = {"BT_WALLET_PASSWORD": "first", own: masked(own, "sécond"), "BT_WALLET_PASSWORD_FILE": str(file)}
    assert find_password(tmp_path, "alice", everything) == "first"
    assert find_password(tmp_path, "alice", everything | {"BT_WALLET_PASSWORD": ""}) == "sécond"
    assert find_password(tmp_path, "alice", {"BT_WALLET_PASSWORD_FILE": str(file)}) == "from file"
    assert find_password(tmp_path, "bob", {own: masked(own, "second")}) is None


def test_a_key_files_own_variable_is_named_after_its_path() -> None:
    assert own_variable(Path("/a/b.c"), "alice") == "BT_PW__A_B_C_ALICE_COLDKEY"


def test_bad_variables_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BT_PW_X is not what Bittensor"):
        unmask("BT_PW_X", "plain text")
    with pytest.raises(ConfigError, match="BT_WALLET_PASSWORD_FILE: cannot read"):
        find_password(tmp_path, "alice", {"BT_WALLET_PASSWORD_FILE": str(tmp_path / "missing")})


def test_a_plain_coldkey_needs_no_password(tmp_path: Path) -> None:
    made = create_wallet(tmp_path, "alice", password=None, unencrypted=True)
    assert unlock_coldkey(tmp_path, "alice", {}).ss58_address == made.coldkey


def test_without_a_terminal_the_variables_are_named(tmp_path: Path) -> None:
    create_wallet(tmp_path, "alice", password=None, unencrypted=True)
    (tmp_path / "alice" / "coldkey").write_bytes(
        encrypt(private_json(new_keypair()), "secret", Cost(operations=3, memory_bytes=64 * 1024))
    )
    with pytest.raises(ConfigError, match="needs a password: set BT_WALLET_PASSWORD, BT_WALLET_PASSWORD_FILE or BT_PW"):
        unlock_coldkey(tmp_path, "alice", {})
    with pytest.raises(ConfigError, match="needs a password"):
        new_password(tmp_path, "bob", {})
    assert new_password(tmp_path, "bob", {"BT_WALLET_PASSWORD": "secret"}) == "secret"
    with pytest.raises(ConfigError, match="no password was given"):
        load_coldkey(tmp_path, "alice", password=None)
