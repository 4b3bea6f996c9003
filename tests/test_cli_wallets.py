"""`hivetune wallet`: keys made, shown and made again; secrets only where they were asked for."""

import stat
from pathlib import Path

from chain.keys import ColdkeyState, load_hotkey, read_wallet
from tests.command_line import fails_clearly, read_json, run, succeeds

PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"
PHRASE_ADDRESS = "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV"
LONG = "a-name-of-sixty-four-characters-which-is-as-long-as-a-name-gets-"[:63] + "x"


def test_a_wallet_is_created_listed_shown_and_never_overwritten(tmp_path: Path) -> None:
    folder = f"--wallet-path={tmp_path}"
    made = read_json("wallet", "create", "w", folder, "--no-password")
    assert set(made) == {"name", "coldkey", "hotkey"}
    second = read_json("wallet", "new-hotkey", "w", folder, "--wallet-hotkey=second")
    wallet = {
        "name": "w",
        "coldkey": made["coldkey"],
        "coldkey_state": "unlocked",
        "hotkeys": [
            {"name": "default", "address": made["hotkey"]},
            {"name": "second", "address": second["hotkey"]},
        ],
        "free_rao": None,
        "reserved_rao": None,
    }
    assert read_json("wallet", "list", folder) == [wallet]
    assert read_json("wallet", "show", "w", folder) == wallet
    for text in (succeeds("wallet", "list", folder), succeeds("wallet", "show", "w", folder)):
        assert all(address in text for address in (made["coldkey"], made["hotkey"], second["hotkey"]))
    fails_clearly(run("wallet", "create", "w", folder, "--no-password"), "exists already", "new-hotkey")
    fails_clearly(run("wallet", "new-hotkey", "w", folder), "hotkeys/default exists already")
    fails_clearly(run("wallet", "show", "absent", folder), "no wallet 'absent'", "there are: w")


def test_long_names_fit_the_table(tmp_path: Path) -> None:
    succeeds("wallet", "create", LONG, f"--wallet-path={tmp_path}", "--no-password", "-H", LONG)
    succeeds("wallet", "list", f"--wallet-path={tmp_path}")
    assert "no wallets" in succeeds("wallet", "list", f"--wallet-path={tmp_path / 'empty'}").replace("\n", " ")


def test_phrases_are_shown_on_request_and_bring_the_keys_back(tmp_path: Path) -> None:
    made = read_json("wallet", "create", "w", f"--wallet-path={tmp_path}", "--no-password", "--show-phrases")
    again = f"--wallet-path={tmp_path / 'again'}"
    hotkey = read_json("wallet", "regen-hotkey", "w", again, stdin=made["hotkey_phrase"] + "\n")
    assert hotkey == {"name": "w", "hotkey": made["hotkey"]}
    assert read_wallet(tmp_path / "again", "w").coldkey_state is ColdkeyState.ABSENT
    coldkey = read_json("wallet", "regen-coldkey", "w", again, "--no-password", stdin=made["coldkey_phrase"])
    assert coldkey == {"name": "w", "coldkey": made["coldkey"]}
    fails_clearly(run("wallet", "regen-coldkey", "w", again, "--no-password", stdin=PHRASE), "has a coldkey already")
    fails_clearly(run("wallet", "regen-hotkey", "w", again, stdin=PHRASE), "exists already")


def test_a_phrase_is_read_from_the_standard_input_alone(tmp_path: Path) -> None:
    folder = f"--wallet-path={tmp_path}"
    fails_clearly(run("wallet", "regen-hotkey", "w", PHRASE, folder), "unexpected extra argument")
    bad = run("wallet", "regen-hotkey", "w", folder, stdin=PHRASE.replace("walk", "wolk"))
    fails_clearly(bad, "no recovery phrase")
    assert "wolk" not in bad.output
    assert PHRASE_ADDRESS in succeeds("wallet", "regen-hotkey", "w", folder, stdin=PHRASE)
    edwards = read_json("wallet", "regen-hotkey", "w", folder, "-H", "e", "--key-type=ed25519", stdin=PHRASE)
    assert load_hotkey(tmp_path, "w", "e").ss58_address == edwards["hotkey"] != PHRASE_ADDRESS


def test_the_variables_of_bittensor_name_folder_and_hotkey(tmp_path: Path) -> None:
    environment = {"BT_WALLET_PATH": str(tmp_path), "BT_WALLET_HOTKEY": "hot"}
    succeeds("wallet", "create", "w", "--no-password", env=environment)
    assert [name for name, _ in read_wallet(tmp_path, "w").hotkeys] == ["hot"]


def test_a_new_wallet_takes_its_password_from_the_environment(tmp_path: Path) -> None:
    folder = f"--wallet-path={tmp_path}"
    fails_clearly(run("wallet", "create", "w", folder), "needs a password", "BT_WALLET_PASSWORD")
    assert list(tmp_path.iterdir()) == []
    succeeds("wallet", "create", "w", folder, env={"BT_WALLET_PASSWORD": "secret"})
    assert read_wallet(tmp_path, "w").coldkey_state is ColdkeyState.ENCRYPTED
    assert stat.S_IMODE((tmp_path / "w" / "coldkey").stat().st_mode) == 0o600


def test_a_bad_name_or_type_is_refused(tmp_path: Path) -> None:
    folder = f"--wallet-path={tmp_path}"
    fails_clearly(run("wallet", "create", "../w", folder, "--no-password"), "wallet name '../w'")
    fails_clearly(run("wallet", "regen-hotkey", "w", folder, "--key-type=rsa"), "--key-type")
