"""Where settings come from: flags over the TOML file over the environment over the defaults, and errors that say so."""

from pathlib import Path

import pytest

from chain.networks import resolve
from hivetune.errors import ConfigError
from hivetune.settings import DEFAULT_WALLETS, ChainSettings, NodeSettings, WalletSettings

PLAIN = {"BT_NETWORK": "test", "BT_WALLET": "env", "BT_WALLET_HOTKEY": "hot", "BT_WALLET_PATH": "/env"}


def toml(folder: Path, text: str) -> Path:
    file = folder / "node.toml"
    file.write_text(text)
    return file


def test_the_environment_fills_what_nothing_else_says() -> None:
    found = NodeSettings.load(None, {"netuid": 1, "hub": "http://h"}, PLAIN)
    assert (found.network, found.wallet, found.wallet_hotkey) == ("test", "env", "hot")
    assert found.wallet_path == Path("/env")


def test_flags_win_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    file = toml(tmp_path, 'wallet = "file"\nwallet_hotkey = "file"\n')
    found = WalletSettings.load(file, {"wallet": "flag", "wallet_hotkey": None}, PLAIN)
    assert (found.wallet, found.wallet_hotkey, found.wallet_path) == ("flag", "file", Path("/env"))
    assert WalletSettings.load(file, {}).wallet_path == DEFAULT_WALLETS


def test_an_empty_variable_counts_as_none() -> None:
    found = WalletSettings.load(None, {"wallet": "w"}, {"BT_WALLET_HOTKEY": "", "BT_WALLET_PATH": ""})
    assert (found.wallet_hotkey, found.wallet_path) == ("default", DEFAULT_WALLETS)


@pytest.mark.parametrize(
    ("flag", "environment", "network"),
    [
        (None, {"BT_CHAIN_ENDPOINT": "ws://a:1"}, "ws://a:1"),
        (None, {"BT_NETWORK": "finney", "BT_CHAIN_ENDPOINT": "ws://a:1"}, "finney"),
        (None, {"BT_NETWORK": "local", "BT_CHAIN_ENDPOINT": "ws://a:1"}, "ws://a:1"),
        ("local", {"BT_NETWORK": "finney", "BT_CHAIN_ENDPOINT": "ws://a:1"}, "ws://a:1"),
        ("local", {}, "local"),
        ("test", {"BT_CHAIN_ENDPOINT": "ws://a:1"}, "test"),
    ],
)
def test_the_endpoint_variable_is_what_local_means(flag: str | None, environment: dict[str, str], network: str) -> None:
    assert ChainSettings.load(None, {"network": flag}, environment).network == network


def test_a_missing_setting_names_its_flag_and_variables() -> None:
    with pytest.raises(ConfigError, match="setting network is missing: give --network or BT_NETWORK or BT_CHAIN_END"):
        ChainSettings.load(None, {})
    with pytest.raises(ConfigError, match=r"setting netuid is missing: give --netuid$"):
        NodeSettings.load(None, {"hub": "http://h"}, PLAIN)


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        ({"BT_NETWORK": "main"}, "BT_NETWORK"),
        ({"BT_CHAIN_ENDPOINT": "main"}, "BT_CHAIN_ENDPOINT"),
        ({"BT_NETWORK": "local", "BT_CHAIN_ENDPOINT": "main"}, "BT_CHAIN_ENDPOINT"),
    ],
)
def test_a_bad_value_is_blamed_on_its_variable(environment: dict[str, str], source: str) -> None:
    with pytest.raises(ConfigError, match=rf"setting network \(from {source}\): .*'main' is none of finney, test"):
        ChainSettings.load(None, {}, environment, {"network": resolve})


def test_a_bad_value_is_blamed_on_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"setting wallet \(from .*node\.toml\): .* \(got '5'\)"):
        WalletSettings.load(toml(tmp_path, "wallet = 5"), {}, PLAIN)
    with pytest.raises(ConfigError, match=r"setting network \(from .*node\.toml\): network 'main'"):
        ChainSettings.load(toml(tmp_path, 'network = "main"'), {}, PLAIN, {"network": resolve})


def test_what_loses_is_not_judged(tmp_path: Path) -> None:
    found = ChainSettings.load(None, {"network": "test"}, {"BT_NETWORK": "main"}, {"network": resolve})
    assert found.network == "test"
