"""A subnet's life: created, started, staked on, tuned, paid."""

import pytest
from substrateinterface import Keypair

from chain.accounts import read_stakes, read_start
from chain.ledger import ChainRejected, Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError
from tests.contract.subnet import TAO, Subnet, closing
from tests.contract.targets import Target


def test_staking_and_starting_wait_for_their_time(target: Target, subnet: Subnet) -> None:
    """A second subnet, looked at before and after its start."""
    cold, hot = subnet.cold["first"], Keypair.create_from_uri(f"//Alice//second//{subnet.netuid}//hot")
    with closing(subnet.admin(cold)) as owner:
        netuid = owner.register_network(hot.ss58_address)
        ledger = Ledger(target.url, netuid, keypair=hot, submit_timeout_s=60)
        startable = read_start(owner.quorum, netuid)
        assert not startable.started
        if ledger.head().number < startable.block - 2:
            with pytest.raises(ChainRejected) as early:
                owner.start(netuid)
            assert early.value.error_name == "NeedWaitingMoreBlocksToStarCall"
        with pytest.raises(ChainRejected) as unstarted:
            owner.add_stake(netuid, hot.ss58_address, TAO)
        assert unstarted.value.error_name in ("SubtokenDisabled", "BadRequest")
        target.reach(ledger, startable.block)
        owner.start(netuid)
        with pytest.raises(ChainRejected) as again:
            owner.start(netuid)
        assert again.value.error_name == "FirstEmissionBlockNumberAlreadySet"
        owner.add_stake(netuid, hot.ss58_address, TAO)
        held = {stake.netuid: stake.stake_rao for stake in read_stakes(owner.quorum, owner.coldkey)}
        assert held[netuid] > 0
    with closing(subnet.admin(subnet.cold["second"])) as other, pytest.raises(ChainRejected) as stranger:
        other.start(netuid)
    assert stranger.value.error_name == "BadOrigin"


def test_stake_goes_in_and_comes_out(subnet: Subnet) -> None:
    ledger, hotkey = subnet.ledger("second"), subnet.hot["second"].ss58_address
    with closing(subnet.admin(subnet.cold["second"])) as admin:
        before = ledger.total_balance(admin.coldkey)
        first = ledger.metagraph().neurons[2].stake_rao
        admin.add_stake(subnet.netuid, hotkey, 100 * TAO)
        assert before - ledger.total_balance(admin.coldkey) >= 100 * TAO
        assert ledger.metagraph().neurons[2].stake_rao > first
        lent = ledger.total_balance(admin.coldkey)
        admin.remove_stake(subnet.netuid, hotkey, 10 * TAO)
        assert ledger.total_balance(admin.coldkey) > lent
        with pytest.raises(ChainRejected) as too_little:
            admin.add_stake(subnet.netuid, hotkey, 1)
        assert too_little.value.error_name == "AmountTooLow"


def test_hyperparameters_are_set_by_whom_they_belong_to_and_read_at_a_block(subnet: Subnet) -> None:
    ledger = subnet.ledger("owner")
    before = ledger.head()
    usual = ledger.hyperparameters().activity_cutoff
    subnet.set("immunity_period", 77)
    assert ledger.hyperparameters().immunity_period == 77
    assert ledger.hyperparameters(before.hash).immunity_period != 77
    assert ledger.hyperparameters().activity_cutoff == usual
    with closing(subnet.admin(subnet.cold["third"])) as stranger, pytest.raises(ChainRejected) as refused:
        stranger.sudo_set(subnet.netuid, "immunity_period", 78)
    assert refused.value.error_name == "BadOrigin"
    with pytest.raises(ConfigError, match="sudo_set_tempo"):
        subnet.set("colour", 1)
    with pytest.raises(ChainRejected) as nowhere:
        subnet.sudo.sudo_set(4000, "tempo", 10)
    assert nowhere.value.error_name == "SubnetDoesNotExist"


def test_registrations_are_refused_by_name(target: Target, subnet: Subnet) -> None:
    with closing(subnet.admin(subnet.cold["first"])) as admin:
        with pytest.raises(ChainRejected) as twice:
            admin.register(subnet.netuid, subnet.hot["first"].ss58_address)
        assert twice.value.error_name == "HotKeyAlreadyRegisteredInSubNet"
        with pytest.raises(ChainRejected) as foreign:
            admin.register(subnet.netuid, subnet.hot["second"].ss58_address)
        assert foreign.value.error_name in ("HotKeyAlreadyRegisteredInSubNet", "NonAssociatedColdKey")
    poor = Keypair.create_from_uri(f"//Alice//poor//{subnet.netuid}//{subnet.ledger('owner').head().hash}")
    with closing(SubnetAdmin(target.url, poor, submit_timeout_s=60)) as admin, pytest.raises(ChainRejected):
        admin.register(subnet.netuid, poor.ss58_address)


def test_a_service_is_published_and_not_too_often(subnet: Subnet) -> None:
    ledger = subnet.ledger("fourth")
    assert ledger.axon(subnet.hot["second"].ss58_address) is None
    result = ledger.serve("192.0.2.17", 8091)
    found = ledger.axon(ledger.hotkey)
    assert found is not None
    assert (found.ip, found.port, found.block) == ("192.0.2.17", 8091, result.block)
    with pytest.raises(ChainRejected) as refused:
        ledger.serve("192.0.2.18", 8091)
    assert refused.value.error_name == "ServingRateLimitExceeded"
    with pytest.raises(ChainRejected) as private:
        subnet.ledger("third").serve("127.0.0.1", 8091)
    assert private.value.error_name == "InvalidIpAddress"
