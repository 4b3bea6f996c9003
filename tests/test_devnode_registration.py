"""Places on a subnet by the new runtime: what they cost, who loses one, and what is left behind."""

from fractions import Fraction

import pytest

from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.burn import decay_factor
from chain.devnode.rules import NEW, OLD
from tests.devnode_chain import NETUID, OWNER, TAO, Chain, found_subnet, hot, key

FULL = 6


@pytest.fixture
def full() -> Chain:
    """Six neurons where there is room for no more, none of them in its first blocks; uid 0 is the owner's."""
    chain = found_subnet(NEW, neurons=FULL)
    chain.write(s.MIN_ALLOWED_UIDS, NETUID, 1)
    chain.write(s.MIN_NON_IMMUNE_UIDS, NETUID, 0)
    chain.set("max_allowed_uids", FULL)
    chain.set("immunity_period", 1)
    chain.write(s.EMISSION, NETUID, [0, 50, 40, 30, 30, 60])
    return chain


def register(chain: Chain, name: str) -> str:
    return chain.call("//Bob", "burned_register", netuid=NETUID, hotkey=key(name))


def place(chain: Chain, name: str) -> int | None:
    uid: int | None = chain.read(s.UIDS, NETUID, key(name))
    return uid


def test_each_registration_raises_the_price_and_time_halves_it() -> None:
    chain = Chain(NEW)
    assert chain.call(OWNER, "register_network", hotkey=key(hot(0))) == "ok"
    assert chain.read(s.BURN, NETUID) == TAO
    chain.blocks(360)
    assert chain.read(s.BURN, NETUID) == pytest.approx(TAO / 2, rel=1e-6)
    before = chain.read(s.BURN, NETUID)
    for number in range(3):
        assert register(chain, f"//Bob//{number}") == "ok"
    assert chain.read(s.BURN, NETUID) == pytest.approx(before * 1.26**3, rel=0.01)
    chain.set("burn_half_life", 10)
    chain.blocks(200)
    assert chain.read(s.BURN, NETUID) == chain.read(s.MIN_BURN, NETUID)


def priced(half_life: int, increase: int, burn: int, bounds: tuple[int, int] = (0, 2**64 - 1)) -> Chain:
    chain = found_subnet(NEW, neurons=2)
    chain.write(s.BURN_HALF_LIFE, NETUID, half_life)
    chain.write(s.BURN_INCREASE, NETUID, {"bits": increase << 64})
    chain.write(s.MIN_BURN, NETUID, bounds[0])
    chain.write(s.MAX_BURN, NETUID, bounds[1])
    chain.write(s.BURN, NETUID, burn)
    return chain


def prices(chain: Chain, count: int) -> list[int]:
    """After each of the next blocks."""
    found = []
    for _ in range(count):
        chain.blocks()
        found.append(int(chain.read(s.BURN, NETUID)))
    return found


def test_the_price_moves_as_subtensors_tests_say() -> None:
    assert prices(priced(1000, 2, 2000), 1) == [1998]
    after = prices(priced(2, 1, 1024), 4)
    assert (after[1], after[3]) == (511, 255)
    bounded = priced(1, 2, 1, (100_000, 150_000))
    assert prices(bounded, 1) == [100_000]
    assert register(bounded, "//Bob//one") == "ok"
    assert bounded.read(s.BURN, NETUID) == 150_000
    assert prices(bounded, 2) == [100_000, 100_000]


@pytest.mark.parametrize("half_life", [1, 2, 7, 360, 36_100])
def test_the_decay_is_the_largest_that_halves_in_time(half_life: int) -> None:
    factor = Fraction(decay_factor(half_life), 1 << 32)
    if half_life <= 360:
        assert factor**half_life == pytest.approx(0.5, abs=half_life * 2**-31)
    assert decay_factor(half_life) < 1 << 32


def test_no_more_registrations_a_block_are_counted_than_there_were() -> None:
    chain = found_subnet(NEW, neurons=2)
    assert register(chain, "//Bob//one") == "ok"
    assert chain.read(s.REGISTRATIONS_THIS_BLOCK, NETUID) == 1
    chain.blocks()
    assert chain.read(s.REGISTRATIONS_THIS_BLOCK, NETUID) == 0


def test_a_price_may_be_limited_by_its_payer() -> None:
    chain = found_subnet(NEW, neurons=2)
    asked = {"netuid": NETUID, "hotkey": key("//Bob//one")}
    assert chain.call("//Bob", "register_limit", **asked, limit_price=1) == "RegistrationPriceLimitExceeded"
    assert chain.call("//Bob", "register_limit", **asked, limit_price=100 * TAO) == "ok"


def test_who_earns_least_has_to_go_the_older_first(full: Chain) -> None:
    assert register(full, "//Bob//new") == "ok"
    assert place(full, "//Bob//new") == 3
    assert place(full, hot(3)) is None
    assert full.read(s.SUBNETWORK_N, NETUID) == FULL
    full.blocks(2)
    full.write(s.EMISSION, NETUID, [0, 50, 40, 70, 30, 60])
    assert register(full, "//Bob//newer") == "ok"
    assert place(full, "//Bob//newer") == 4


def spare(chain: Chain, *uids: int) -> None:
    """Makes these the only ones in their first blocks."""
    chain.set("immunity_period", 20)
    chain.blocks(40)
    for uid in uids:
        chain.write(s.BLOCK_AT_REGISTRATION, NETUID, uid, chain.block)
    chain.write(s.EMISSION, NETUID, [0, 50, 40, 30, 30, 60])


def test_neurons_in_their_first_blocks_are_spared_while_there_are_others(full: Chain) -> None:
    spare(full, 3, 4)
    assert register(full, "//Bob//new") == "ok"
    assert place(full, "//Bob//new") == 2


def test_some_always_stay_that_are_not_in_their_first_blocks(full: Chain) -> None:
    assert full.sudo("sudo_set_min_non_immune_uids", netuid=NETUID, min=2) == "ok"
    spare(full, 3, 4, 5)
    assert register(full, "//Bob//new") == "ok"
    assert place(full, "//Bob//new") == 3, "the least paid of those in their first blocks"


def test_the_owners_neuron_never_goes(full: Chain) -> None:
    full.write(s.EMISSION, NETUID, [0] + [9] * (FULL - 1))
    for number in range(4):
        assert register(full, f"//Bob//{number}") == "ok"
        full.blocks(2)
    assert place(full, hot(0)) == 0


def test_without_anyone_to_send_away_there_is_no_place(full: Chain) -> None:
    full.write(s.IMMUNE_OWNER_UIDS_LIMIT, NETUID, FULL)
    full.write(s.OWNED_HOTKEYS, key(OWNER), [key(hot(uid)) for uid in range(FULL)])
    before = full.read(s.RAO_BURNED, NETUID)
    assert register(full, "//Bob//new") == "NoNeuronIdAvailable"
    assert full.read(s.RAO_BURNED, NETUID) == before


def test_a_new_neuron_finds_nothing_of_the_one_before_it(full: Chain) -> None:
    asked = {"netuid": NETUID, "version": 1, "ip": 0x08080808, "port": 80, "ip_type": 4}
    assert full.call(hot(3), "serve_prometheus", **asked) == "ok"
    full.write(s.WEIGHTS, NETUID, 3, [(1, 5)])
    full.write(s.WEIGHTS, NETUID, 1, [(2, 9), (3, 8)])
    full.write(s.BONDS, NETUID, 3, [(1, 5)])
    for item in (s.INCENTIVE, s.DIVIDENDS, s.CONSENSUS, s.VALIDATOR_TRUST, s.STAKE_WEIGHT):
        full.write(item, NETUID, [7] * FULL)
    full.write(s.VALIDATOR_PERMIT, NETUID, [True] * FULL)
    full.write(s.EMISSION, NETUID, [0, 50, 40, 30, 31, 60])
    assert register(full, "//Bob//new") == "ok"
    assert full.read(s.WEIGHTS, NETUID, 1) == [(2, 9), (3, 0)]
    assert full.read(s.WEIGHTS, NETUID, 3) == full.read(s.BONDS, NETUID, 3) == []
    for item in (s.INCENTIVE, s.DIVIDENDS, s.CONSENSUS, s.VALIDATOR_TRUST, s.STAKE_WEIGHT, s.EMISSION):
        assert full.read(item, NETUID)[3] == 0, item.name
    assert full.read(s.VALIDATOR_PERMIT, NETUID) == [True, True, True, False, True, True]
    assert full.read(s.LAST_UPDATE, NETUID)[3] == full.block
    assert full.read(s.PROMETHEUS, NETUID, key(hot(3))) is None
    assert full.read(s.IS_NETWORK_MEMBER, key(hot(3)), NETUID) is False


def test_the_old_runtime_leaves_weights_and_permits_to_the_next_epoch() -> None:
    chain = found_subnet(OLD)
    chain.set("max_allowed_uids", 5)
    assert register(chain, "//Bob//last") == "ok"
    chain.set("immunity_period", 1)
    chain.write(s.PRUNING_SCORES, NETUID, [9, 9, 9, 3, 9])
    chain.write(s.WEIGHTS, NETUID, 3, [(1, 5)])
    chain.write(s.VALIDATOR_PERMIT, NETUID, [True] * 5)
    assert register(chain, "//Bob//new") == "ok"
    assert place(chain, "//Bob//new") == 3
    assert chain.read(s.WEIGHTS, NETUID, 3) == [(1, 5)]
    assert chain.read(s.VALIDATOR_PERMIT, NETUID)[3] is True
    assert chain.read(s.PRUNING_SCORES, NETUID)[3] == 65_535
