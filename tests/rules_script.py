"""A script that is played on the embedded chain or on the real runtime, and how its answers are written down."""

from typing import Any, Protocol

from chain.devnode.pallet import StorageItem
from chain.devnode.pallets import subtensor as s
from chain.devnode.scale import U16, Reader
from tests.devnode_chain import ACCOUNTS, OWNER, hot, key

NETUID = 2  # the runtime's genesis has a subnet 1
MODULES = ("SubtensorModule", "AdminUtils")  # whose events are written down


class Played(Protocol):
    """A chain that a scenario is played on. A call makes one block and gives the names of its events."""

    def play(self, sender: str, module: str, function: str, arguments: dict[str, Any]) -> tuple[str, list[str]]: ...
    def play_sudo(self, module: str, function: str, arguments: dict[str, Any]) -> tuple[str, list[str]]: ...
    def blocks(self, count: int = 1) -> None: ...
    def put(self, writes: dict[bytes, bytes]) -> None: ...
    def entries(self, prefix: bytes) -> dict[bytes, bytes]: ...
    @property
    def block(self) -> int: ...


class Script:
    """Plays on a chain and keeps what it answers, one line each."""

    def __init__(self, chain: Played) -> None:
        self.chain = chain
        self.lines: list[str] = []
        self._seen: dict[str, str] = {}
        self._names: dict[bytes, str] = {}
        for name in ACCOUNTS:
            self._names |= {key(name): name, key(f"{name}//hot"): f"{name}//hot"}

    def call(self, sender: str, function: str, *, module: str = "SubtensorModule", **arguments: Any) -> str:
        result, events = self.chain.play(sender, module, function, {"netuid": NETUID, **arguments})
        return self._line(f"{sender} {function}", result, events)

    def bare(self, sender: str, function: str, **arguments: Any) -> str:
        """A call that names no subnet, or several."""
        result, events = self.chain.play(sender, "SubtensorModule", function, arguments)
        return self._line(f"{sender} {function}", result, events)

    def admin(self, sender: str, name: str, value: Any, argument: str = "", netuid: int = NETUID) -> str:
        return self.call(sender, f"sudo_set_{name}", module="AdminUtils", netuid=netuid, **{argument or name: value})

    def sudo(self, name: str, value: Any, argument: str = "", netuid: int | None = NETUID) -> str:
        subnet = {} if netuid is None else {"netuid": netuid}
        arguments = {**subnet, argument or name: value}
        return self._line(f"root {name}", *self.chain.play_sudo("AdminUtils", f"sudo_set_{name}", arguments))

    def _line(self, asked: str, result: str, events: list[str]) -> str:
        self.lines.append(f"{self.chain.block}: {asked}: {result}" + "".join(f", {name}" for name in events))
        return result

    def blocks(self, count: int = 1) -> None:
        self.chain.blocks(count)

    def to_epoch(self, tempo: int = 10) -> None:
        """Up to the block before the next epoch's."""
        while (self.chain.block + 1 + NETUID + 1) % (tempo + 1) != tempo:
            self.blocks()

    def write(self, item: StorageItem, *keys_and_value: Any) -> None:
        *keys, value = keys_and_value
        self.chain.put({item.key(*keys): item.value.encode(value)})

    def look(self, *items: StorageItem) -> None:
        """Writes down what has changed since the last look, of the subnet's entries."""
        for item in items:
            now: dict[str, str] = {}
            for raw, value in self.chain.entries(item.prefix).items():
                keys = self._keys(item, raw)
                if NETUID in keys:
                    now[f"{item.name}({', '.join(map(self._text, keys))})"] = self._text(item.value.decode(value))
            before = {name: value for name, value in self._seen.items() if name.startswith(f"{item.name}(")}
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    self.lines.append(f"{self.chain.block}: {name} = {now.get(name, 'gone')}")
                self._seen.pop(name, None)
            self._seen |= now

    def _keys(self, item: StorageItem, raw: bytes) -> list[Any]:
        """Other U16 keys than the subnet's are uids; they come second."""
        reader, keys = Reader(raw[len(item.prefix) :]), []
        for hasher, kind in item.keys:
            reader.take(hasher.prefix_size)
            keys.append(kind.read(reader))
        first = next(number for number, (_, kind) in enumerate(item.keys) if kind is U16)
        return keys if keys[first] == NETUID else []

    def _text(self, value: Any) -> str:
        if isinstance(value, bytes):
            return self._names.get(value, value.hex())
        if isinstance(value, dict):
            return "{" + ", ".join(f"{name} {self._text(one)}" for name, one in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ", ".join(self._text(one) for one in value) + "]"
        return str(int(value)) if isinstance(value, bool) else str(value)


def open_subnet(script: Script, neurons: int, *, start: bool = True) -> None:
    """Subnet 2 of //Alice in epochs of 11 blocks, without limits."""
    script.sudo("network_rate_limit", 0, "rate_limit", None)
    script.sudo("stake_threshold", 0, "min_stake", None)
    script.bare(OWNER, "register_network", hotkey=key(hot(0)))
    script.sudo("tempo", 10)
    script.sudo("max_registrations_per_block", 8)
    script.sudo("target_registrations_per_interval", 100)
    script.sudo("weights_set_rate_limit", 0)
    for uid in range(1, neurons):
        script.call(ACCOUNTS[uid], "burned_register", hotkey=key(hot(uid)))
    if start:
        script.blocks(10)
        script.call(OWNER, "start_call")


def give_stake(script: Script, uid: int, coldkey: str, rao: int) -> None:
    """A first stake, written: the runtime's own price of alpha stays out of it."""
    hotkey = key(hot(uid))
    script.write(s.TOTAL_HOTKEY_ALPHA, hotkey, NETUID, rao)
    script.write(s.TOTAL_HOTKEY_SHARES, hotkey, NETUID, {"bits": rao << 64})
    script.write(s.ALPHA, hotkey, key(coldkey), NETUID, {"bits": rao << 64})
