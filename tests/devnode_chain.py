"""The embedded chain's rules without a node around them: one call a block, answered by the name of its error."""

from functools import cache
from typing import Any

from substrateinterface import Keypair

from chain.devnode.admission import refusal
from chain.devnode.overlay import Overlay
from chain.devnode.pallet import Context, Origin, StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.shares import credit
from chain.devnode.rules import NEW, OLD, rules_of_spec
from chain.devnode.runtime import PALLETS, RuntimeCall, calls_under, end_block, run_call, start_block, write_genesis

TAO = 10**9
ENDOWMENT_RAO = 10**15
ACCOUNTS = ("//Alice", "//Bob", "//Charlie", "//Dave", "//Eve", "//Ferdie")
OWNER = "//Alice"
NETUID = 1


@cache
def key(name: str) -> bytes:
    public: bytes = Keypair.create_from_uri(name).public_key
    return public


def hot(uid: int) -> str:
    """The hotkey of a neuron that `found_subnet` registers."""
    return f"{ACCOUNTS[uid]}//hot"


class Nothing:
    """The state before the first block."""

    def get(self, _key: bytes) -> bytes | None:
        return None

    def put(self, _key: bytes, _value: bytes | None) -> None:
        raise AssertionError("nothing is written below the overlay")

    def keys(self, _prefix: bytes) -> list[bytes]:
        return []


class Chain:
    """Accounts are named by how their keys are derived; //Alice is root by `sudo`."""

    def __init__(self, rules: int = OLD) -> None:
        self.rules = rules_of_spec(rules)
        self.state = Overlay(Nothing())
        self.block = 0
        self.events: list[tuple[str, str, tuple[Any, ...]]] = []  # of the last block, first those of its beginning
        self.events_of_call: list[tuple[str, str, tuple[Any, ...]]] = []
        write_genesis(self.state, self.rules, key(OWNER), {key(name): ENDOWMENT_RAO for name in ACCOUNTS})

    def run(self, sender: str | None, module: str, function: str, arguments: dict[str, Any]) -> str:
        """Makes a block of one call; without a sender as root, which no pool looks at."""
        (pallet,) = (pallet for pallet in PALLETS if pallet.name == module)
        (found,) = (call for call in calls_under(pallet, self.rules) if call.name == function)
        (answer,) = self.in_one_block((sender, RuntimeCall(pallet=pallet, call=found, arguments=arguments)))
        return answer

    def in_one_block(self, *asked: tuple[str | None, RuntimeCall]) -> list[str]:
        answers = [self._refused(sender, call, self.block + 1) for sender, call in asked]
        context = self._begin()
        at_beginning = len(context.events)
        for number, (sender, call) in enumerate(asked):
            answers[number] = answers[number] or self._refused(sender, call, self.block)
            if not answers[number]:
                error = run_call(context, Origin(account=None if sender is None else key(sender)), call)
                answers[number] = "ok" if error is None else error.name
        self.events_of_call = context.events[at_beginning:]
        self._end(context)
        return answers

    def _refused(self, sender: str | None, call: RuntimeCall, block: int) -> str:
        code = None if sender is None else refusal(self.state, block, key(sender), call)
        return "" if code is None else f"Custom error: {code}"

    def _begin(self) -> Context:
        self.block += 1
        context = Context(state=self.state, block=self.block, events=[])
        start_block(context, bytes(32))
        return context

    def _end(self, context: Context) -> None:
        end_block(context)
        self.events = context.events

    def blocks(self, count: int = 1) -> None:
        for _ in range(count):
            self._end(self._begin())

    def call(self, sender: str, function: str, *, module: str = "SubtensorModule", **arguments: Any) -> str:
        return self.run(sender, module, function, arguments)

    def admin(self, sender: str, function: str, **arguments: Any) -> str:
        return self.run(sender, "AdminUtils", function, {"netuid": NETUID, **arguments})

    def sudo(self, function: str, **arguments: Any) -> str:
        return self.run(None, "AdminUtils", function, arguments)

    def set(self, name: str, value: Any, argument: str = "") -> None:
        """A hyperparameter of the subnet, by root."""
        assert self.sudo(f"sudo_set_{name}", netuid=NETUID, **{argument or name: value}) == "ok", name

    def read(self, item: StorageItem, *keys: Any) -> Any:
        return item.get(self.state, *keys)

    def write(self, item: StorageItem, *keys_and_value: Any) -> None:
        item.put(self.state, *keys_and_value)

    def told(self) -> list[str]:
        """Names of the last block's events."""
        return [name for _, name, _ in self.events]

    def epoch(self) -> None:
        """Runs blocks until an epoch has run in the last one."""
        self.blocks()
        while self.read(s.BLOCKS_SINCE_LAST_STEP, NETUID) != 0:
            self.blocks()


def found_subnet(rules: int, *, neurons: int = 4, tempo: int = 10) -> Chain:
    """Subnet 1 of //Alice, started and without limits; hot(1) has stake and a permit."""
    chain = Chain(rules)
    assert chain.call(OWNER, "register_network", hotkey=key(hot(0))) == "ok"
    if rules == NEW:
        assert chain.sudo("sudo_set_admin_freeze_window", window=0) == "ok"
    chain.set("tempo", tempo)
    chain.set("max_registrations_per_block", 8)
    chain.set("target_registrations_per_interval", 100)
    chain.set("weights_set_rate_limit", 0)
    chain.set("commit_reveal_weights_enabled", False, "enabled")
    for uid in range(1, neurons):
        assert chain.call(ACCOUNTS[uid], "burned_register", netuid=NETUID, hotkey=key(hot(uid))) == "ok"
    chain.blocks(10)
    assert chain.call(OWNER, "start_call", netuid=NETUID) == "ok"
    credit(chain.state, key(hot(1)), key("//Bob"), NETUID, 1000 * TAO)
    chain.epoch()
    chain.epoch()
    return chain
