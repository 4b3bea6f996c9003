"""Coldkey calls on a chain of the newer rules, where names, rights and shares differ; and commit-reveal turned off."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from chain.accounts import read_admission, read_balance, read_stakes, read_start
from chain.devnode.rules import NEW
from chain.devnode.server import running_devnode
from chain.hyperparameters import Hyperparameter, Setter, read_all
from chain.keys import keypair_from_uri
from chain.submit import ChainRejected
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError
from neurons.subnet import turn_commit_reveal_off

TAO = 10**9
HOT = keypair_from_uri("//Bob//hot").ss58_address


@dataclass(frozen=True, kw_only=True)
class Place:
    """A chain by the newer rules on which Bob owns a subnet."""

    owner: SubnetAdmin
    sudo: SubnetAdmin
    netuid: int

    def hyperparameters(self) -> dict[str, Hyperparameter]:
        at = self.owner.quorum.head().hash
        found = self.owner.quorum.agree(lambda interface: read_all(interface, self.netuid, at))
        return {one.name: one for one in found}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    done = threading.Event()
    with running_devnode(tmp_path_factory.mktemp("chain") / "chain.sqlite", rules=NEW) as chain:

        def seal() -> None:
            while not done.wait(0.05):
                chain.new_blocks(1)

        thread = threading.Thread(target=seal, daemon=True)
        thread.start()
        owner = SubnetAdmin(chain.url, keypair_from_uri("//Bob"), submit_timeout_s=30)
        sudo = SubnetAdmin(chain.url, keypair_from_uri("//Alice"), submit_timeout_s=30)
        sudo.sudo_set(0, "network_rate_limit", 0)
        sudo.sudo_set(0, "admin_freeze_window", 0)
        sudo.sudo_set(0, "owner_hparam_rate_limit", 0)
        yield Place(owner=owner, sudo=sudo, netuid=owner.register_network(HOT))
        done.set()
        thread.join()
        owner.close()
        sudo.close()


def test_the_owner_shows_the_weights_that_a_new_subnet_hides(place: Place) -> None:
    assert place.hyperparameters()["commit_reveal_weights_enabled"].value is True
    assert turn_commit_reveal_off(place.owner, place.netuid)
    assert place.hyperparameters()["commit_reveal_weights_enabled"].value is False
    assert not turn_commit_reveal_off(place.owner, place.netuid)


def test_rights_are_those_of_the_newer_rules(place: Place) -> None:
    found = place.hyperparameters()
    assert {found[name].setter for name in ("tempo", "max_allowed_uids", "min_burn")} == {Setter.OWNER}
    assert found["kappa"].setter is Setter.ROOT
    change = place.owner.set_hyperparameter(place.netuid, "tempo", "720")
    assert (change.after.name, change.after.value) == ("tempo", 720)
    assert place.sudo.set_hyperparameter(place.netuid, "tempo", "40").after.value == 40
    with pytest.raises(ConfigError, match=r"'kappa' is the chain's to set; the owner may set .*tempo"):
        place.owner.set_hyperparameter(place.netuid, "kappa", "1")


def test_a_registration_is_limited_by_the_chain_itself(place: Place) -> None:
    start = read_start(place.owner.quorum, place.netuid)
    if not start.started:
        place.owner.start(place.netuid)
    price = read_admission(place.owner.quorum, place.netuid).price_rao
    hotkey = keypair_from_uri("//Bob//second").ss58_address
    with pytest.raises(ChainRejected, match="RegistrationPriceLimitExceeded"):
        place.owner.register(place.netuid, hotkey, max_price_rao=price // 2)
    place.owner.register(place.netuid, hotkey, max_price_rao=2 * price)


def test_stakes_are_read_from_the_newer_shares(place: Place) -> None:
    before = read_balance(place.owner.quorum, place.owner.coldkey).free_rao
    place.owner.add_stake(place.netuid, HOT, 5 * TAO + 1)
    assert read_balance(place.owner.quorum, place.owner.coldkey).free_rao <= before - 5 * TAO - 1
    held = {stake.hotkey: stake.stake_rao for stake in read_stakes(place.owner.quorum, place.owner.coldkey)}
    assert held[HOT] > 0
    place.owner.remove_stake(place.netuid, HOT, held[HOT])
    left = {stake.hotkey: stake.stake_rao for stake in read_stakes(place.owner.quorum, place.owner.coldkey)}
    assert left.get(HOT, 0) < TAO
