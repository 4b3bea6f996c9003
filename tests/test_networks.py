"""Names and URLs of chains: what they stand for, and one clear line for whatever is neither."""

import pytest

from chain.networks import NETWORKS, Endpoints, resolve
from hivetune.errors import ConfigError

PIN = "0x" + "ab" * 32


def test_the_public_networks_are_pinned_to_their_genesis() -> None:
    assert resolve("finney").genesis_hash.startswith("0x2f0555cc")
    assert resolve("test").genesis_hash.startswith("0x8f9cf856")
    for name in ("finney", "test"):
        assert all(url.startswith("wss://") and url.endswith(".opentensor.ai:443") for url in resolve(name).urls)


def test_a_local_chain_may_be_any_unless_pinned() -> None:
    assert resolve("local") == Endpoints(urls=("ws://127.0.0.1:9944",), genesis_hash="")
    assert resolve("local", PIN).genesis_hash == PIN


def test_urls_are_taken_as_they_are_in_their_order() -> None:
    assert resolve("ws://b:1, wss://a/path").urls == ("ws://b:1", "wss://a/path")
    assert resolve("ws://[::1]:9944", PIN.upper().replace("X", "x")) == Endpoints(
        urls=("ws://[::1]:9944",), genesis_hash=PIN
    )


@pytest.mark.parametrize(
    "network",
    ["", "main", "Finney", "http://a", "ws://", "ws://:9944", "ws://a:0", "ws://a:70000", "ws://a:b", "ws://a b",
     "ws://a,", "ws://a,local", ",", "ws://[::1"],
)  # fmt: skip
def test_anything_else_is_answered_with_what_is_allowed(network: str) -> None:
    with pytest.raises(ConfigError, match="none of finney, test, local, or ws:// and wss:// URLs"):
        resolve(network)


def test_an_endpoint_stands_once() -> None:
    with pytest.raises(ConfigError, match="names an endpoint twice"):
        resolve("ws://a:1,ws://A:1/")


@pytest.mark.parametrize("pin", ["0x", "ab" * 32, PIN + "0", "0x" + "g" * 64])
def test_a_bad_genesis_hash_is_named(pin: str) -> None:
    with pytest.raises(ConfigError, match="want 0x and 64 hex digits"):
        resolve("local", pin)


def test_a_pin_against_the_known_genesis_is_refused() -> None:
    assert resolve("test", NETWORKS["test"].genesis_hash) == NETWORKS["test"]
    with pytest.raises(ConfigError, match="is not that of test"):
        resolve("test", PIN)
