"""`hivetune subnet` and `hivetune stake` against a chain: what they print, what they refuse before anything is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chain.devnode.server import RunningDevnode, running_devnode
from chain.keys import NewWallet, create_wallet, keypair_from_uri
from chain.subnet_admin import SubnetAdmin
from tests.command_line import fails_clearly, read_json, run, succeeds

TAO = 10**9
SUDO = "//Alice"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A chain on which `owner` has a subnet."""

    chain: RunningDevnode
    going: threading.Event  # while it is set, blocks come
    wallets: Path
    owner: NewWallet
    member: NewWallet
    poor: NewWallet
    netuid: int

    @property
    def subnet(self) -> tuple[str, ...]:
        return f"--network={self.chain.url}", f"--netuid={self.netuid}"

    def wallet(self, name: str) -> tuple[str, ...]:
        return *self.subnet, f"--wallet-path={self.wallets}", f"--wallet={name}"


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    names = ("owner", "member", "poor")
    made = {name: create_wallet(folder / "w", name, password=None, unencrypted=True) for name in names}
    endow = {made["owner"].coldkey: 5000 * TAO, made["member"].coldkey: 500 * TAO, made["poor"].coldkey: TAO // 20}
    with running_devnode(folder / "chain.sqlite", block_time_s=0, endow=endow) as chain, sealing(chain) as going:
        sudo = SubnetAdmin(chain.url, keypair_from_uri(SUDO))
        sudo.sudo_set(0, "network_rate_limit", 0)
        sudo.sudo_set(0, "stake_threshold", 0)
        owner = SubnetAdmin(chain.url, keypair_from_uri(made["owner"].coldkey_phrase))
        netuid = owner.register_network(made["owner"].hotkey)
        going.clear()
        sudo.close()
        owner.close()
        yield Place(chain=chain, going=going, wallets=folder / "w", netuid=netuid, **made)


@contextmanager
def sealing(chain: RunningDevnode) -> Iterator[threading.Event]:
    """A block every few hundredths of a second, while the event is set."""
    going, done = threading.Event(), threading.Event()
    going.set()

    def seal() -> None:
        while not done.wait(0.05):
            if going.is_set():
                chain.new_blocks(1)

    thread = threading.Thread(target=seal, daemon=True)
    thread.start()
    try:
        yield going
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def place(created: Place) -> Place:
    """The subnet, started by the command that this is the test of."""
    early = run("subnet", "start", *created.wallet("owner"))
    fails_clearly(early, f"subnet {created.netuid} can be started from block ")
    created.going.set()
    created.chain.new_blocks(12)
    record = read_json("subnet", "start", *created.wallet("owner"))
    assert record["netuid"] == created.netuid
    return created


@pytest.fixture(scope="module")
def joined(place: Place) -> dict[str, Any]:
    """The member's registration."""
    found = read_json("subnet", "register", *place.wallet("member"), "--max-burn=1", "--stake=0.5")
    assert isinstance(found, dict)
    return found


def test_a_registration_says_what_it_cost(place: Place, joined: dict[str, Any]) -> None:
    assert joined["hotkey"] == place.member.hotkey
    assert joined["uid"] == 1
    assert 0 < joined["paid_rao"] <= TAO
    assert joined["stake_rao"] > 0
    again = read_json("subnet", "register", *place.wallet("member"))
    assert (again["uid"], again["paid_rao"]) == (1, 0)
    assert "registered already" in succeeds("subnet", "register", *place.wallet("member"))


def test_what_is_too_dear_is_never_sent(place: Place) -> None:
    before = read_json("stake", "show", *_chain(place), f"--coldkey={place.poor.coldkey}")
    fails_clearly(run("subnet", "register", *place.wallet("poor")), "registration costs", "has 0.05 TAO free")
    fails_clearly(run("subnet", "register", *place.wallet("poor"), "--max-burn=0.000001"), "above the limit")
    fails_clearly(run("subnet", "register", *place.wallet("poor"), "--max-burn=cheap"), "highest price 'cheap'")
    fails_clearly(run("stake", "add", "0.06", *place.wallet("poor")), "staking takes 0.06 TAO")
    assert read_json("stake", "show", *_chain(place), f"--coldkey={place.poor.coldkey}") == before


def _chain(place: Place) -> tuple[str, str]:
    return f"--network={place.chain.url}", f"--wallet-path={place.wallets}"


def test_stake_is_added_shown_and_removed_to_the_rao(place: Place, joined: dict[str, Any]) -> None:
    added = read_json("stake", "add", "1.234567891", *place.wallet("owner"))
    assert set(added) == {"netuid", "hotkey", "coldkey", "block", "stake_rao", "free_rao"}
    shown = read_json("stake", "show", *_chain(place), "--wallet=owner")
    assert shown["coldkey"] == place.owner.coldkey
    assert shown["stakes"] == [{"netuid": place.netuid, "hotkey": place.owner.hotkey, "stake_rao": added["stake_rao"]}]
    assert place.owner.hotkey in succeeds("stake", "show", *_chain(place), "--wallet=owner")
    fails_clearly(run("stake", "remove", "999", *place.wallet("owner")), "999 cannot be removed")
    less = read_json("stake", "remove", "0.5", *place.wallet("owner"))
    assert less["stake_rao"] >= added["stake_rao"] - TAO // 2
    assert less["free_rao"] > added["free_rao"]
    succeeds("stake", "remove", "all", *place.wallet("member"))


def test_stake_goes_to_a_named_hotkey(place: Place, joined: dict[str, Any]) -> None:
    added = read_json("stake", "add", "2", *place.wallet("owner"), f"--hotkey={place.member.hotkey}")
    assert added["hotkey"] == place.member.hotkey
    assert "staked 1 TAO" in succeeds("stake", "add", "1", *place.wallet("owner"))


@pytest.mark.parametrize("amount", ["0", "-1", "1.0000000001", "1e3", "all"])
def test_a_bad_amount_is_named(place: Place, amount: str) -> None:
    result = run("stake", "add", *place.wallet("owner"), "--", amount)
    fails_clearly(result, "TAO to stake")


def test_whose_stake_must_be_said(place: Place) -> None:
    fails_clearly(run("stake", "show", *_chain(place)), "--wallet or --coldkey")
    fails_clearly(run("stake", "show", *_chain(place), "--coldkey=5X"), "'5X' is no ss58 address")


def test_a_wallets_balance_is_shown_with_a_network(place: Place) -> None:
    folder = f"--wallet-path={place.wallets}"
    shown = read_json("wallet", "show", "poor", folder, f"--network={place.chain.url}")
    assert shown["free_rao"] == TAO // 20
    assert "0.05 TAO free" in succeeds("wallet", "show", "poor", folder, "-n", place.chain.url)


def test_the_metagraph_shows_every_neuron(place: Place, joined: dict[str, Any]) -> None:
    found = read_json("subnet", "metagraph", *place.subnet)
    assert found["netuid"] == place.netuid
    assert found["owner_hotkey"] == place.owner.hotkey
    assert [neuron["hotkey"] for neuron in found["neurons"]][:2] == [place.owner.hotkey, place.member.hotkey]
    assert set(found["neurons"][0]) == {
        "uid", "hotkey", "coldkey", "stake_rao", "permit", "active", "trust", "consensus", "incentive", "dividends",
        "emission_rao", "last_update", "registered_at",
    }  # fmt: skip
    text = succeeds("subnet", "metagraph", *place.subnet)
    assert place.member.hotkey[:8] in text
    assert "updated" in text


def test_the_status_shows_whole_addresses(place: Place, joined: dict[str, Any]) -> None:
    found = read_json("subnet", "status", *place.subnet)
    assert (found["release"], found["round"]) == (None, None)
    assert found["next_payout_block"] > found["block"]
    assert place.member.hotkey in succeeds("subnet", "status", *place.subnet)


def hyperparameters(place: Place) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in read_json("subnet", "hyperparams", *place.subnet)}


def test_hyperparameters_are_listed_with_who_may_set_them(place: Place) -> None:
    found = hyperparameters(place)
    assert found["immunity_period"]["setter"] == "owner"
    assert found["tempo"] | {"value": 0} == {
        "name": "tempo", "value": 0, "type": "u16", "unit": "blocks", "setter": "root"
    }  # fmt: skip
    assert found["burn"]["setter"] == ""
    assert found["yuma3_enabled"]["type"] == "bool"
    text = succeeds("subnet", "hyperparams", *place.subnet)
    assert all(name in text for name in found)


def test_the_owner_sets_what_is_the_owners(place: Place) -> None:
    record = read_json("subnet", "set", "immunity_period", "4321", *place.wallet("owner"))
    assert (record["name"], record["after"]) == ("immunity_period", 4321)
    assert hyperparameters(place)["immunity_period"]["value"] == 4321
    text = succeeds("subnet", "set", "liquid_alpha_enabled", "true", *place.wallet("owner"))
    assert text.startswith("liquid_alpha_enabled: False -> True in block ")


def test_the_sudo_key_sets_what_is_the_chains(place: Place) -> None:
    record = read_json("subnet", "set", "max_allowed_validators", "32", *place.subnet, f"--sudo={SUDO}")
    assert record["after"] == 32


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("colour", "1", ("'colour' is no hyperparameter", "immunity_period")),
        ("max_allowed_validators", "1", ("is the chain's to set", "immunity_period")),
        ("immunity_period", "65536", ("want a whole number from 0 to 65535",)),
        ("immunity_period", "soon", ("'soon'",)),
        ("yuma3_enabled", "1", ("want true or false",)),
    ],
)
def test_what_cannot_be_set_is_answered_with_what_can(
    place: Place, name: str, value: str, words: tuple[str, ...]
) -> None:
    fails_clearly(run("subnet", "set", name, value, *place.wallet("owner")), *words)


def test_somebody_else_is_refused_by_the_chain(place: Place) -> None:
    fails_clearly(run("subnet", "set", "immunity_period", "1", *place.wallet("member")), "BadOrigin")
    fails_clearly(run("subnet", "set", "immunity_period", "1", *place.subnet), "--wallet", "--sudo")


def test_the_networks_variables_are_read_below_the_flags(place: Place) -> None:
    netuid = f"--netuid={place.netuid}"
    environment = {"BT_CHAIN_ENDPOINT": place.chain.url}
    assert read_json("subnet", "metagraph", netuid, env=environment)["netuid"] == place.netuid
    assert read_json("subnet", "metagraph", netuid, "-n", "local", env=environment)["netuid"] == place.netuid
    bad = run("subnet", "metagraph", netuid, env={"BT_NETWORK": "main"})
    fails_clearly(bad, "setting network (from BT_NETWORK)", "finney, test, local")


def test_another_chain_than_the_pinned_one_is_refused(place: Place) -> None:
    fails_clearly(run("subnet", "metagraph", *place.subnet, f"--genesis-hash=0x{'ab' * 32}"), "genesis")
    fails_clearly(run("subnet", "metagraph", *place.subnet, "--genesis-hash=0xab"), "genesis_hash", "64 hex digits")
