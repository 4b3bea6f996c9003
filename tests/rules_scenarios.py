"""What is asked of the embedded chain and of the real runtime alike.

The answers of the real runtime stand in tests/golden/rules_spec300.json; `python -m tests.rules_scenarios WASM` writes
them anew.
"""

import json
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from chain.devnode.pallet import StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.commit_reveal import commit_hash
from chain.devnode.pallets.drand import PULSES
from tests.devnode_chain import OWNER, TAO, hot, key
from tests.pulse import CIPHERTEXTS, PULSE, ROUND
from tests.rules_script import NETUID, Played, Script, give_stake, open_subnet

GOLDEN = Path(__file__).parent / "golden" / "rules_spec300.json"
NEURON_VECTORS = (
    s.ACTIVE, s.RANK, s.TRUST, s.CONSENSUS, s.INCENTIVE, s.DIVIDENDS, s.EMISSION, s.VALIDATOR_TRUST,
    s.VALIDATOR_PERMIT, s.PRUNING_SCORES, s.STAKE_WEIGHT, s.LAST_UPDATE,
)  # fmt: skip
NEURON_MAPS = (s.KEYS, s.UIDS, s.BLOCK_AT_REGISTRATION, s.WEIGHTS, s.BONDS, s.AXONS, s.PROMETHEUS)


def _with_validator(script: Script) -> None:
    open_subnet(script, 4)
    give_stake(script, 1, "//Bob", 1000 * TAO)
    script.blocks(22)


def commit_reveal(script: Script) -> None:
    _with_validator(script)
    validator, uids, values, salt = hot(1), [2, 3], [10, 20], [1, 2, 3]

    def digest(salt: list[int], version_key: int = 0, uids: list[int] = uids, values: list[int] = values) -> bytes:
        return commit_hash(key(validator), NETUID, uids, values, salt, version_key)

    def commit(sender: str, what: bytes, **other: int) -> str:
        return script.call(sender, "commit_weights", commit_hash=what, **other)

    def reveal(salt: list[int], version_key: int = 0, uids: list[int] = uids, values: list[int] = values) -> str:
        shown = {"uids": uids, "values": values, "salt": salt, "version_key": version_key}
        return script.call(validator, "reveal_weights", **shown)

    def reveal_batch(uids: list[list[int]], salts: list[list[int]], version_keys: list[int]) -> None:
        lists = {"uids_list": uids, "values_list": [values, [1, 2]][: len(uids)], "salts_list": salts}
        script.call(validator, "batch_reveal_weights", **lists, version_keys=version_keys)

    commit(validator, digest(salt))
    reveal(salt)
    script.sudo("commit_reveal_weights_enabled", True, "enabled")
    commit("//Stranger", digest(salt))
    commit(validator, digest(salt), netuid=77)
    script.call(validator, "set_weights", dests=uids, weights=values, version_key=0)
    reveal(salt)
    script.sudo("weights_set_rate_limit", 3)
    commit(validator, digest(salt))
    script.look(s.WEIGHT_COMMITS, s.LAST_UPDATE)
    commit(validator, digest(salt))
    reveal(salt)
    reveal([9])
    script.sudo("weights_set_rate_limit", 0)
    while reveal(salt) != "ok":
        pass
    reveal(salt)
    script.look(s.WEIGHT_COMMITS, s.WEIGHTS, s.LAST_UPDATE)
    for number in range(11):
        commit(validator, digest([number]))
    script.look(s.WEIGHT_COMMITS)
    script.blocks(30)
    reveal([9])
    reveal([99])
    script.to_epoch()
    script.blocks()
    commit(validator, digest([1]))
    script.look(s.WEIGHT_COMMITS)
    commit(validator, digest([2], uids=[2]))
    commit(validator, digest([3], uids=[9], values=[1]))
    commit(validator, digest([4], 5, values=[1, 2]))
    script.to_epoch()
    script.blocks()
    reveal([2], uids=[2])
    reveal([3], uids=[9], values=[1])
    reveal_batch([uids, uids], [[1]], [0, 5])
    reveal_batch([uids, [4]], [[1], [4]], [0, 5])
    reveal_batch([uids, uids], [[1], [4]], [0, 5])
    script.look(s.WEIGHT_COMMITS, s.WEIGHTS)
    reveal_batch([], [], [])
    script.bare(validator, "batch_commit_weights", netuids=[2, 77], commit_hashes=[digest([1])] * 3)
    script.bare(validator, "batch_commit_weights", netuids=[2, 77], commit_hashes=[digest([1])] * 2)
    script.bare(validator, "batch_set_weights", netuids=[2], weights=[[(2, 1)]], version_keys=[0])
    script.admin(OWNER, "commit_reveal_weights_interval", 3, "interval")
    commit(validator, digest([5]))
    script.look(s.WEIGHT_COMMITS, s.LAST_UPDATE)
    script.sudo("stake_threshold", 10**15, "min_stake", None)
    reveal([5])
    commit(validator, digest([5]))
    script.sudo("commit_reveal_weights_enabled", False, "enabled")
    script.bare(validator, "batch_set_weights", netuids=[2], weights=[[(2, 1), (3, 4)]], version_keys=[0])
    reveal([5])


def timelock(script: Script) -> None:
    _with_validator(script)
    validator, other = hot(1), hot(2)

    def commit(sender: str, ciphertext: str, number: int = ROUND) -> str:
        return script.call(sender, "commit_crv3_weights", commit=bytes.fromhex(ciphertext), reveal_round=number)

    def open_due() -> None:
        script.to_epoch()
        script.blocks()
        script.look(s.CRV3_COMMITS, s.WEIGHTS, s.LAST_UPDATE)

    commit(validator, "0102")
    script.sudo("commit_reveal_weights_enabled", True, "enabled")
    commit("//Stranger", "0102")
    commit(validator, CIPHERTEXTS["weights"])
    commit(validator, b"junk".hex())
    commit(validator, CIPHERTEXTS["weights"], 2000)
    script.look(s.CRV3_COMMITS)
    open_due()  # no pulse
    script.write(PULSES, ROUND, PULSE)
    for name in ("unequal", "short", "longer", "cut"):
        commit(validator, CIPHERTEXTS[name])
    commit(other, CIPHERTEXTS["weights"])
    open_due()
    script.to_epoch()
    commit(validator, CIPHERTEXTS["weights"])  # in the epoch's block, after the epoch
    open_due()
    open_due()
    script.sudo("tempo", 20)
    script.to_epoch(20)
    script.blocks()
    for _ in range(11):
        commit(validator, "0102")
    script.sudo("tempo", 10)
    commit(other, "00" * 5000)
    open_due()
    script.admin(OWNER, "commit_reveal_weights_interval", 2, "interval")
    commit(validator, CIPHERTEXTS["longer"])
    open_due()
    open_due()
    open_due()


SETTERS: tuple[tuple[str, Any, str, StorageItem], ...] = (
    ("serving_rate_limit", 7, "", s.SERVING_RATE_LIMIT),
    ("weights_version_key", 4, "", s.WEIGHTS_VERSION_KEY),
    ("weights_set_rate_limit", 9, "", s.WEIGHTS_SET_RATE_LIMIT),
    ("adjustment_interval", 11, "", s.ADJUSTMENT_INTERVAL),
    ("adjustment_alpha", 11, "", s.ADJUSTMENT_ALPHA),
    ("max_weight_limit", 60_000, "", s.MAX_WEIGHTS_LIMIT),
    ("immunity_period", 12, "", s.IMMUNITY_PERIOD),
    ("min_allowed_weights", 2, "", s.MIN_ALLOWED_WEIGHTS),
    ("max_allowed_uids", 99, "", s.MAX_ALLOWED_UIDS),
    ("kappa", 30_000, "", s.KAPPA),
    ("rho", 12, "", s.RHO),
    ("activity_cutoff", 400, "", s.ACTIVITY_CUTOFF),
    ("network_registration_allowed", False, "registration_allowed", s.REGISTRATION_ALLOWED),
    ("network_pow_registration_allowed", False, "registration_allowed", s.POW_REGISTRATION_ALLOWED),
    ("target_registrations_per_interval", 5, "", s.TARGET_REGISTRATIONS),
    ("min_burn", 123_456, "", s.MIN_BURN),
    ("max_burn", 12_345_678, "", s.MAX_BURN),
    ("max_allowed_validators", 9, "", s.MAX_ALLOWED_VALIDATORS),
    ("bonds_moving_average", 950_000, "", s.BONDS_MOVING_AVERAGE),
    ("bonds_penalty", 4, "", s.BONDS_PENALTY),
    ("max_registrations_per_block", 3, "", s.MAX_REGISTRATIONS_PER_BLOCK),
    ("tempo", 20, "", s.TEMPO),
    ("commit_reveal_weights_enabled", True, "enabled", s.COMMIT_REVEAL_ON),
    ("liquid_alpha_enabled", True, "enabled", s.LIQUID_ALPHA_ON),
    ("commit_reveal_weights_interval", 0, "interval", s.REVEAL_PERIOD),
    ("toggle_transfer", False, "toggle", s.TRANSFER_TOGGLE),
    ("subtoken_enabled", False, "", s.SUBTOKEN_ENABLED),
    ("alpha_sigmoid_steepness", 500, "steepness", s.ALPHA_STEEPNESS),
    ("yuma3_enabled", True, "enabled", s.YUMA3_ON),
    ("bonds_reset_enabled", True, "enabled", s.BONDS_RESET_ON),
)


def hyperparameters(script: Script) -> None:
    open_subnet(script, 3)
    for name, value, argument, item in SETTERS:
        script.admin(OWNER, name, value, argument)
        script.admin("//Bob", name, value, argument)
        script.sudo(name, value, argument)
        script.sudo(name, value, argument, netuid=50)
        script.look(item)

    def alpha_values(low: int, high: int) -> None:
        values = {"alpha_low": low, "alpha_high": high}
        script.call(OWNER, "sudo_set_alpha_values", module="AdminUtils", **values)

    for low, high in ((1, 2), (1637, 20_000), (30_000, 20_000), (1638, 20_000)):
        alpha_values(low, high)
    script.look(s.ALPHA_VALUES)
    script.admin(OWNER, "liquid_alpha_enabled", False, "enabled")
    alpha_values(1638, 20_000)
    script.admin(OWNER, "activity_cutoff", 359)
    script.admin(OWNER, "bonds_moving_average", 975_001)
    script.sudo("bonds_moving_average", 5_000_000)
    script.admin(OWNER, "alpha_sigmoid_steepness", -1, "steepness")
    script.sudo("alpha_sigmoid_steepness", -1, "steepness")
    for most in (3, 2):
        script.sudo("max_allowed_uids", most)
    script.sudo("max_allowed_validators", 5000)
    for version_key in (5, 6):
        script.admin(OWNER, "weights_version_key", version_key)


def serving(script: Script) -> None:
    open_subnet(script, 3)
    script.sudo("serving_rate_limit", 3)
    neuron = hot(1)
    endpoint = {"version": 1, "ip": 0x08080808, "port": 8091, "ip_type": 4}
    axon = {**endpoint, "protocol": 4, "placeholder1": 0, "placeholder2": 0}
    for sender in (neuron, neuron, "//Stranger"):
        script.call(sender, "serve_axon", **axon)
    script.blocks(3)
    broken: tuple[dict[str, int], ...] = (
        {"ip_type": 5}, {"ip": 0x7F000001}, {"ip": 0xFFFFFFFF}, {"ip": 1, "ip_type": 6},
        {"ip": 2**128 - 1, "ip_type": 6}, {"port": 0}, {"netuid": 60}, {"ip": 0},
    )  # fmt: skip
    for change in broken:
        script.call(neuron, "serve_axon", **(axon | change))
    script.blocks(3)
    for change in ({}, {}, *broken):
        script.call(neuron, "serve_prometheus", **(endpoint | change))
    script.call("//Stranger", "serve_prometheus", **endpoint)
    for size in (64, 65):
        script.blocks(3)
        script.call(neuron, "serve_axon_tls", **axon, certificate=b"\x01" + b"k" * size)
    script.look(s.AXONS, s.PROMETHEUS, s.NEURON_CERTIFICATES)


UNSTAKED = (
    ("//Bob", 1_234_567_891),
    ("//Charlie", 5_000_000),
    ("//Bob", 3_333_333_333),
    ("//Charlie", 2_846_925_900),
    ("//Bob", 11_729_816_386),  # all but one rao, which is dust
    ("//Charlie", 1_380_772_685),  # all
)


def staking(script: Script) -> None:
    open_subnet(script, 3, start=False)
    hotkey, ghost = key(hot(1)), key("//Ghost")

    def add(amount: int, hotkey: bytes = hotkey, sender: str = "//Bob", netuid: int = NETUID) -> None:
        script.call(sender, "add_stake", netuid=netuid, hotkey=hotkey, amount_staked=amount)

    def remove(amount: int, sender: str = "//Bob", netuid: int = NETUID) -> None:
        script.call(sender, "remove_stake", netuid=netuid, hotkey=hotkey, amount_unstaked=amount)

    add(TAO)
    remove(TAO)
    script.blocks(10)
    script.call(OWNER, "start_call")
    add(1)
    add(TAO, netuid=7)
    add(TAO, hotkey=ghost)
    add(10**17)
    add(TAO, sender="//Stranger")
    remove(0)
    remove(TAO)
    remove(TAO, netuid=7)
    give_stake(script, 1, "//Bob", 10 * TAO)
    remove(1)
    remove(10**13)
    remove(TAO, sender="//Charlie")
    script.write(s.TOTAL_HOTKEY_ALPHA, hotkey, NETUID, 12_345_678_901)  # a share is no longer one alpha
    script.write(s.ALPHA, hotkey, key("//Charlie"), NETUID, {"bits": 3 * TAO << 64})
    script.write(s.TOTAL_HOTKEY_SHARES, hotkey, NETUID, {"bits": 13 * TAO << 64})
    for sender, amount in UNSTAKED:
        remove(amount, sender)
        script.look(s.TOTAL_HOTKEY_ALPHA, s.TOTAL_HOTKEY_SHARES, s.ALPHA)


def price(script: Script) -> None:
    """The price after intervals of more and of fewer registrations than wanted, within its bounds."""
    draw = random.Random(3)
    script.sudo("network_rate_limit", 0, "rate_limit", None)
    script.bare(OWNER, "register_network", hotkey=key(hot(0)))
    script.sudo("tempo", 0)
    for number in range(4):
        script.call("//Bob", "burned_register", hotkey=key(f"//Bob//{number}"))
    script.sudo("adjustment_interval", 13)
    for turn in range(6):
        script.sudo("adjustment_alpha", draw.choice([0, 2**63, 17_893_341_751_498_265_066, draw.randrange(2**64)]))
        script.sudo("target_registrations_per_interval", draw.choice([1, 2, 3, 5]))
        for number in range(draw.randrange(6)):
            script.call("//Bob", "burned_register", hotkey=key(f"//Bob//{turn}//{number}"))
        if turn == 3:
            script.sudo("max_burn", 10**8 // 2)
        if turn == 4:
            script.sudo("min_burn", 10**8)
        for _ in range(14):
            script.blocks()
            script.look(
                s.BURN, s.DIFFICULTY, s.REGISTRATIONS_THIS_INTERVAL, s.BURN_REGISTRATIONS_THIS_INTERVAL,
                s.LAST_ADJUSTMENT_BLOCK, s.RAO_BURNED,
            )  # fmt: skip


def pruning(script: Script) -> None:
    """A full subnet: who has to go, and what is left of it."""
    draw, count = random.Random(5), 8
    open_subnet(script, 2)
    script.sudo("tempo", 0)
    for number in range(2, count):
        script.call("//Bob", "burned_register", hotkey=key(f"//Bob//{number}"))
    script.sudo("max_allowed_uids", count + 1)
    script.call("//Bob", "burned_register", hotkey=key("//Bob//last"))
    count += 1
    script.sudo("immunity_period", 14)
    for vector in NEURON_VECTORS:
        if vector in (s.ACTIVE, s.VALIDATOR_PERMIT):
            script.write(vector, NETUID, [vector is s.VALIDATOR_PERMIT] * count)
        elif vector is not s.LAST_UPDATE:
            values = [draw.randrange(1, 65_536) if draw.random() < 0.7 else 5 for _ in range(count)]
            script.write(vector, NETUID, values)
    for uid in range(count):
        script.write(s.BONDS, NETUID, uid, [(0, 5)])
        script.write(s.WEIGHTS, NETUID, uid, [(1, 7), (2, 9)])
    endpoint = {"version": 1, "ip": 0x08080808, "port": 8091, "ip_type": 4}
    script.look(*NEURON_VECTORS, *NEURON_MAPS)
    for number in range(8):
        hotkey = f"//Bob//new//{number}"
        script.call("//Bob", "burned_register", hotkey=key(hotkey))
        script.call(hotkey, "serve_prometheus", **endpoint)
        script.look(*NEURON_VECTORS, *NEURON_MAPS)
        if number == 4:
            script.sudo("immunity_period", 1)


def epochs(script: Script) -> None:
    """Weights, bonds and what is paid, through all variants of Yuma Consensus."""
    draw, n = random.Random(1), 6
    open_subnet(script, n)
    for uid, coldkey, tao in ((1, "//Bob", 1000), (2, "//Charlie", 333), (0, OWNER, 50), (3, "//Dave", 7)):
        give_stake(script, uid, coldkey, tao * TAO + draw.randrange(TAO))
    seen = (
        *NEURON_VECTORS, s.WEIGHTS, s.BONDS, s.PENDING_EMISSION, s.PENDING_OWNER_CUT, s.LAST_STEP_BLOCK,
        s.BLOCKS_SINCE_LAST_STEP, s.ALPHA_DIVIDENDS, s.TOTAL_HOTKEY_ALPHA, s.ALPHA,
    )  # fmt: skip
    script.blocks(11)
    for turn in range(6):
        for uid in range(3):
            if draw.random() < 0.8:
                dests = draw.sample(range(n), draw.randrange(1, n))
                weights = [draw.randrange(1000) for _ in dests]
                script.call(hot(uid), "set_weights", dests=dests, weights=weights, version_key=0)
        if turn == 1:
            script.sudo("yuma3_enabled", True, "enabled")
        if turn == 2:
            script.sudo("liquid_alpha_enabled", True, "enabled")
        if turn == 3:
            script.sudo("bonds_penalty", 30_000)
            script.sudo("subnet_owner_cut", 7000, netuid=None)
        if turn == 4:
            script.sudo("alpha_sigmoid_steepness", -300, "steepness")
        script.blocks(11)
        script.look(*seen)


SCENARIOS: dict[str, Callable[[Script], None]] = {
    scenario.__name__: scenario
    for scenario in (commit_reveal, timelock, hyperparameters, serving, staking, price, pruning, epochs)
}


def played(chain: Played, scenario: str) -> list[str]:
    script = Script(chain)
    SCENARIOS[scenario](script)
    return script.lines


def main(arguments: Iterable[str]) -> None:
    from tests.runtime_chain import runtime_chain

    (wasm,) = arguments
    answers = {}
    for scenario in SCENARIOS:
        with runtime_chain(Path(wasm)) as chain:
            answers[scenario] = played(chain, scenario)
    GOLDEN.write_text(json.dumps(answers, indent=0) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
