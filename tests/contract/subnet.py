"""A subnet for the contract suite, made on any target with nothing but the product's own calls."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from substrateinterface import Keypair

from chain.ledger import Ledger
from chain.pending import PendingReveals
from chain.subnet_admin import SubnetAdmin
from chain.weight_setter import WeightSetter
from neurons.subnet import open_private_chain
from tests.contract.targets import Target

TAO = 10**9
ALICE = Keypair.create_from_uri("//Alice")
NAMES = ("owner", "first", "second", "third", "fourth")  # in the order of their uids
TEMPO = 20
LONG_TEMPO = 150
FUNDS = 20_000 * TAO
STAKE = {"first": 2_000 * TAO, "second": 1_000 * TAO}
SETTINGS = {
    "weights_set_rate_limit": 0,
    "max_registrations_per_block": 64,
    "target_registrations_per_interval": 64,
    "min_allowed_weights": 1,
    "tempo": TEMPO,
    "commit_reveal_weights_enabled": False,
}


@dataclass(kw_only=True, slots=True)
class Subnet:
    target: Target
    netuid: int
    cold: dict[str, Keypair]
    hot: dict[str, Keypair]
    sudo: SubnetAdmin
    ledgers: dict[str, Ledger]  # by name; each with its hotkey
    folder: Path

    def ledger(self, name: str) -> Ledger:
        if name not in self.ledgers:
            self.ledgers[name] = Ledger(self.target.url, self.netuid, keypair=self.hot[name], submit_timeout_s=60)
        return self.ledgers[name]

    def weights(self, name: str, **options: Any) -> WeightSetter:
        return WeightSetter(self.ledger(name), PendingReveals(self.folder / f"{name}.json"), **options)

    def admin(self, keypair: Keypair) -> SubnetAdmin:
        return SubnetAdmin(self.target.url, keypair, submit_timeout_s=60)

    def can_set(self, name: str) -> bool:
        return self.sudo.has_setter(name)

    def set(self, name: str, value: int | bool) -> None:
        self.sudo.sudo_set(self.netuid, name, value)

    def pass_blocks(self, count: int) -> None:
        self.target.pass_blocks(self.ledger("owner"), count)

    def pass_epoch(self) -> int:
        """The epoch's block, which is final."""
        ledger = self.ledger("owner")
        due = ledger.next_epoch_block(ledger.head().number + 1)
        self.target.reach(ledger, due)
        return due


@contextmanager
def closing(admin: SubnetAdmin) -> Iterator[SubnetAdmin]:
    try:
        yield admin
    finally:
        admin.close()


def new_keys(prefix: str) -> tuple[dict[str, Keypair], dict[str, Keypair]]:
    """Coldkeys and hotkeys that no chain has seen."""
    cold = {name: Keypair.create_from_uri(f"//Alice//{prefix}//{name}") for name in NAMES}
    hot = {name: Keypair.create_from_uri(f"//Alice//{prefix}//{name}//hot") for name in NAMES}
    return cold, hot


def fund(alice: Ledger, address: str, amount_rao: int) -> None:
    alice.submit("Balances", "transfer_keep_alive", {"dest": address, "value": amount_rao})


def build(target: Target, folder: Path) -> Subnet:
    """A started subnet of five neurons in epochs of `TEMPO` blocks; first and second have stake and permits."""
    cold, hot = new_keys(secrets.token_hex(6))
    sudo = SubnetAdmin(target.url, ALICE, submit_timeout_s=60)
    open_private_chain(sudo)
    alice = Ledger(target.url, 0, keypair=ALICE, submit_timeout_s=60)
    for name in NAMES:
        fund(alice, cold[name].ss58_address, FUNDS)
    alice.close()
    with closing(SubnetAdmin(target.url, cold["owner"], submit_timeout_s=60)) as owner:
        netuid = owner.register_network(hot["owner"].ss58_address)
        subnet = Subnet(target=target, netuid=netuid, cold=cold, hot=hot, sudo=sudo, ledgers={}, folder=folder)
        for setting, value in SETTINGS.items():
            sudo.sudo_set(netuid, setting, value)
        created_at = subnet.ledger("owner").head().number
        for name in NAMES[1:]:
            with closing(subnet.admin(cold[name])) as neuron:
                neuron.register(netuid, hot[name].ss58_address)
        target.reach(subnet.ledger("owner"), created_at + 12)
        owner.start(netuid)
    for name, amount_rao in STAKE.items():
        with closing(subnet.admin(cold[name])) as neuron:
            neuron.add_stake(netuid, hot[name].ss58_address, amount_rao)
    subnet.pass_epoch()
    subnet.pass_epoch()
    return subnet
