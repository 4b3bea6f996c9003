"""Timelocked weights: what the chain opens by itself, what waits for a pulse, and junk that must not hurt it."""

import random

import pytest

from chain.devnode.beacon import decrypt, find_decryption
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.drand import LAST_STORED_ROUND, PULSES
from chain.devnode.pallets.timelock import committed_epochs
from chain.devnode.rules import BOTH, NEW, OLD
from chain.timelock import find_encryption, payload
from tests.devnode_chain import NETUID, Chain, found_subnet, hot, key
from tests.pulse import CIPHERTEXTS, PULSE, ROUND, SIGNATURE

OPENED = [(2, 32768), (3, 65535)]
can_open = pytest.mark.skipif(find_decryption() is None, reason="timelocked weights need the extra `timelock`")


def hidden(rules: int) -> Chain:
    chain = found_subnet(rules)
    chain.set("commit_reveal_weights_enabled", True, "enabled")
    chain.epoch()
    return chain


def commit(chain: Chain, uid: int, ciphertext: str, *, number: int = ROUND, version: int = 4) -> str:
    arguments = {"netuid": NETUID, "commit": bytes.fromhex(ciphertext), "reveal_round": number}
    if chain.rules.spec_version == OLD:
        return chain.call(hot(uid), "commit_crv3_weights", **arguments)
    return chain.call(hot(uid), "commit_timelocked_weights", **arguments, commit_reveal_version=version)


def weights(chain: Chain, uid: int = 1) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = chain.read(s.WEIGHTS, NETUID, uid)
    return found


@can_open
@pytest.mark.parametrize(("rules", "name"), [(OLD, "weights"), (NEW, "weights"), (NEW, "named")])
def test_weights_open_by_themselves_when_their_epoch_comes(rules: int, name: str) -> None:
    chain = hidden(rules)
    chain.write(PULSES, ROUND, PULSE)
    assert commit(chain, 1, CIPHERTEXTS[name]) == "ok"
    updated = chain.read(s.LAST_UPDATE, NETUID)
    assert weights(chain) == []
    chain.epoch()
    assert weights(chain) == OPENED
    assert chain.told()[:2] == ["WeightsSet", "CRV3WeightsRevealed" if rules == OLD else "TimelockedWeightsRevealed"]
    assert committed_epochs(chain.state, NETUID) == []
    assert chain.read(s.LAST_UPDATE, NETUID) == updated, "opening is no update"


@can_open
def test_the_old_runtime_loses_what_has_no_pulse_yet(caplog: pytest.LogCaptureFixture) -> None:
    chain = hidden(OLD)
    assert commit(chain, 1, CIPHERTEXTS["weights"]) == "ok"
    chain.epoch()
    assert "no pulse 1000" in caplog.text
    chain.write(PULSES, ROUND, PULSE)
    chain.epoch()
    assert weights(chain) == []


@can_open
def test_the_new_runtime_waits_an_epoch_for_the_pulse() -> None:
    chain = hidden(NEW)
    assert commit(chain, 1, CIPHERTEXTS["weights"]) == "ok"
    chain.epoch()
    chain.blocks(3)
    assert weights(chain) == []
    chain.write(PULSES, ROUND, PULSE)
    chain.blocks()
    assert weights(chain) == OPENED
    assert commit(chain, 1, CIPHERTEXTS["longer"], number=2000) == "ok"
    chain.epoch()
    chain.epoch()
    assert committed_epochs(chain.state, NETUID) == [], "then it is forgotten"


@can_open
def test_a_copy_of_anothers_commit_opens_for_nobody_else() -> None:
    """The payload names its hotkey; what the old clients send names none."""
    chain = hidden(NEW)
    chain.write(s.VALIDATOR_PERMIT, NETUID, [True] * 4)
    chain.write(PULSES, ROUND, PULSE)
    assert commit(chain, 2, CIPHERTEXTS["named"]) == "ok"
    assert commit(chain, 1, CIPHERTEXTS["named"]) == "ok"
    chain.epoch()
    assert weights(chain, 1) == OPENED
    assert weights(chain, 2) == []


@can_open
@pytest.mark.parametrize("rules", BOTH)
def test_junk_opens_as_nothing_and_hurts_nobody(rules: int) -> None:
    chain = hidden(rules)
    chain.write(PULSES, ROUND, PULSE)
    for ciphertext in ("", "00" * 5000, *(CIPHERTEXTS[name] for name in ("unequal", "short", "cut"))):
        assert commit(chain, 1, ciphertext) == "ok"
    assert commit(chain, 2, CIPHERTEXTS["weights"]) == "ok"
    chain.epoch()
    assert weights(chain, 1) == weights(chain, 2) == [], "the second has no permit"
    assert committed_epochs(chain.state, NETUID) == []


@can_open
def test_no_bytes_break_the_opening() -> None:
    draw = random.Random(7)
    whole = bytes.fromhex(CIPHERTEXTS["weights"])
    for _ in range(500):
        broken = bytearray(whole)
        for _ in range(draw.choice((1, 3, 9))):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        decrypt(bytes(broken[: draw.randrange(len(broken) + 1)]), SIGNATURE)
        decrypt(bytes(broken), draw.randbytes(draw.choice((0, 47, 48, 96))))


@can_open
def test_what_the_client_encrypts_the_chain_opens() -> None:
    encrypt = find_encryption()
    assert encrypt is not None
    for rules, name in ((OLD, None), (NEW, key(hot(1)))):
        chain = hidden(rules)
        chain.write(PULSES, ROUND, PULSE)
        assert commit(chain, 1, encrypt(payload({2: 10, 3: 20}, 0, name), ROUND).hex()) == "ok"
        chain.epoch()
        assert weights(chain) == OPENED


@pytest.mark.skipif(find_decryption() is not None, reason="for where the extra `timelock` is not installed")
@pytest.mark.parametrize("rules", BOTH)
def test_without_the_package_commits_are_dropped_when_due(rules: int) -> None:
    chain = hidden(rules)
    chain.write(PULSES, ROUND, PULSE)
    assert commit(chain, 1, CIPHERTEXTS["weights"]) == "ok"
    chain.epoch()
    assert weights(chain) == []
    assert committed_epochs(chain.state, NETUID) == []


@pytest.mark.parametrize("rules", BOTH)
def test_ten_commits_an_epoch_are_all_there_may_be(rules: int) -> None:
    chain = hidden(rules)
    chain.set("tempo", 20)
    chain.epoch()
    assert [commit(chain, 1, "01") for _ in range(11)] == ["ok"] * 10 + ["TooManyUnrevealedCommits"]
    assert commit(chain, 2, "01") == "ok"


def test_the_new_runtime_wants_its_version_and_a_round_to_come() -> None:
    chain = hidden(NEW)
    assert commit(chain, 1, "01", version=3) == "IncorrectCommitRevealVersion"
    chain.write(LAST_STORED_ROUND, ROUND)
    assert commit(chain, 1, "01", number=ROUND - 1) == "Custom error: 15"
    assert commit(chain, 1, "01", number=ROUND) == "ok"
    assert chain.sudo("sudo_set_commit_reveal_version", version=5) == "ok"
    assert commit(chain, 1, "01") == "IncorrectCommitRevealVersion"


@pytest.mark.parametrize("rules", BOTH)
def test_a_commit_needs_hidden_weights_and_a_neuron(rules: int) -> None:
    chain = hidden(rules)
    arguments = {"netuid": NETUID, "commit": b"\x01", "reveal_round": ROUND}
    function = "commit_crv3_weights" if rules == OLD else "commit_timelocked_weights"
    arguments |= {} if rules == OLD else {"commit_reveal_version": 4}
    assert chain.call("//Stranger", function, **arguments) == "HotKeyNotRegisteredInSubNet"
    chain.set("commit_reveal_weights_enabled", False, "enabled")
    assert commit(chain, 1, "01") == "CommitRevealDisabled"
