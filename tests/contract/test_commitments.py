"""Commitments: bytes in, the same bytes out, and the epoch's quota."""

from contextlib import suppress

import pytest
from substrateinterface import Keypair

from chain.ledger import ChainRejected, Ledger, NotYet
from tests.contract.subnet import Subnet


@pytest.mark.parametrize("size", [0, 1, 32, 100, 128])
def test_commitments_of_any_size_come_back_byte_by_byte(subnet: Subnet, size: int) -> None:
    ledger = subnet.ledger("third")
    data = bytes(255 - index for index in range(size))
    result = ledger.set_commitment(data)
    found = ledger.commitment(ledger.hotkey)
    assert found is not None
    assert (found.hotkey, found.block, found.data) == (ledger.hotkey, result.block, data)
    assert ledger.block_hash(result.block) == result.block_hash
    assert ledger.commitments()[ledger.hotkey] == found
    assert ledger.commitments(ledger.genesis_hash()) == {}
    assert ledger.commitment(subnet.hot["first"].ss58_address) is None


def test_a_commitment_that_is_too_long_is_refused_here(subnet: Subnet) -> None:
    with pytest.raises(ValueError, match="129 bytes, at most 128"):
        subnet.ledger("third").set_commitment(bytes(129))


def test_only_registered_hotkeys_commit(subnet: Subnet) -> None:
    stranger = Ledger(subnet.target.url, subnet.netuid, keypair=Keypair.create_from_uri("//Stranger"))
    with pytest.raises(ChainRejected) as refused:
        stranger.set_commitment(b"x")
    assert refused.value.error_name == "AccountNotAllowedCommit"
    stranger.close()


@pytest.mark.usefixtures("long_epoch")
def test_the_quota_is_known_before_the_chain_refuses(subnet: Subnet) -> None:
    """What the ledger refuses the chain refuses too, and both take the commitment in the next epoch."""
    ledger = subnet.ledger("fourth")
    ledger.set_commitment(b"a")
    assert ledger.commitment_quota().left_bytes == 3000
    big = {"fields": [[{"BigRaw": "0x" + "11" * 512}, {"BigRaw": "0x" + "22" * 512}]]}
    for _ in range(2):
        ledger.submit("Commitments", "set_commitment", {"netuid": subnet.netuid, "info": big})
    quota = ledger.commitment_quota()
    assert quota.left_bytes == 3000 - 2048
    with suppress(ChainRejected):
        ledger.submit("Commitments", "set_commitment", {"netuid": subnet.netuid, "info": big})
        pytest.fail("the chain took more than its quota")
    for _ in range(9):
        ledger.set_commitment(b"b" * 100)
    with pytest.raises(NotYet) as refused:
        ledger.set_commitment(b"c")
    assert refused.value.error_name == "SpaceLimitExceeded"
    with pytest.raises(ChainRejected) as by_chain:
        ledger.submit(
            "Commitments", "set_commitment", {"netuid": subnet.netuid, "info": {"fields": [[{"Raw1": "0x63"}]]}}
        )
    assert by_chain.value.error_name == "SpaceLimitExceeded"
    subnet.target.reach(ledger, refused.value.until_block)
    ledger.set_commitment(b"c")
