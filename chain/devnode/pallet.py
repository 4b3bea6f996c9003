"""How a pallet is declared: its storage items, calls, events and errors, in one place for dispatch and metadata.

What only some runtimes have says so in `specs`: the spec versions that know it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any, Protocol

import xxhash

from chain.devnode.rules import BOTH, OLD, Rules, rules_of_spec
from chain.devnode.scale import Reader, ScaleType


class State(Protocol):
    """The chain's key-value state as a runtime sees it."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes | None) -> None: ...
    def keys(self, prefix: bytes) -> list[bytes]: ...


class DispatchError(Exception):
    """A call that failed; `pallet` is None for errors outside the pallets, such as BadOrigin."""

    def __init__(self, name: str, pallet: "Pallet | None" = None) -> None:
        super().__init__(name)
        self.name = name
        self.pallet = pallet
        self.number = 0

    def under(self, rules: Rules) -> "DispatchError":
        """With the number that a pallet's error has in this runtime."""
        if self.pallet is not None:
            self.number = self.pallet.errors_under(rules).index(self.name)
        return self

    def encoded(self) -> tuple[str, tuple[Any, ...]]:
        """As a value of sp_runtime::DispatchError."""
        if self.pallet is None:
            return self.name, ()
        return "Module", ({"index": self.pallet.index, "error": bytes([self.number, 0, 0, 0])},)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Who calls: an account, or root with `account` None."""

    account: bytes | None

    def signed(self) -> bytes:
        if self.account is None:
            raise DispatchError("BadOrigin")
        return self.account

    def root(self) -> None:
        if self.account is not None:
            raise DispatchError("BadOrigin")


def twox128(data: bytes) -> bytes:
    return xxhash.xxh64_intdigest(data, 0).to_bytes(8, "little") + xxhash.xxh64_intdigest(data, 1).to_bytes(8, "little")


def blake256(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


def _twox64(data: bytes) -> bytes:
    return xxhash.xxh64_intdigest(data, 0).to_bytes(8, "little")


def _blake128(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


class Hasher(Enum):
    """How a map key is spread; all of them keep the key itself readable."""

    IDENTITY = "Identity"
    TWOX64 = "Twox64Concat"
    BLAKE128 = "Blake2_128Concat"

    @property
    def prefix_size(self) -> int:
        return {"Identity": 0, "Twox64Concat": 8, "Blake2_128Concat": 16}[self.value]

    def hash(self, encoded: bytes) -> bytes:
        if self is Hasher.IDENTITY:
            return encoded
        return (_twox64(encoded) if self is Hasher.TWOX64 else _blake128(encoded)) + encoded


# Where System.LastRuntimeUpgrade stands: (compact spec version, name). A state says which runtime it belongs to.
RUNTIME_KEY = twox128(b"System") + twox128(b"LastRuntimeUpgrade")


def rules_of(state: State) -> Rules:
    """Chains made before there was a choice have no entry: they are of the old rules."""
    raw = state.get(RUNTIME_KEY)
    return rules_of_spec(OLD if raw is None else Reader(raw).compact())


@dataclass(frozen=True)
class StorageItem:
    """A typed view on one storage item; `default` None means the item is optional.

    `defaults` are those of runtimes that have another one.
    """

    pallet: str
    name: str
    keys: tuple[tuple[Hasher, ScaleType], ...]
    value: ScaleType
    default: Any
    specs: tuple[int, ...] = BOTH
    defaults: Mapping[int, Any] = field(default_factory=dict)
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", twox128(self.pallet.encode()) + twox128(self.name.encode()))

    def key(self, *keys: Any) -> bytes:
        parts = [hasher.hash(kind.encode(key)) for (hasher, kind), key in zip(self.keys, keys, strict=False)]
        return self.prefix + b"".join(parts)

    def get(self, state: State, *keys: Any) -> Any:
        raw = state.get(self.key(*keys))
        if raw is not None:
            return self.value.decode(raw)
        return self.default_under(rules_of(state)) if self.defaults else self.default

    def default_under(self, rules: Rules) -> Any:
        return self.defaults.get(rules.spec_version, self.default)

    def has(self, state: State, *keys: Any) -> bool:
        return state.get(self.key(*keys)) is not None

    def put(self, state: State, *keys_and_value: Any) -> None:
        *keys, value = keys_and_value
        state.put(self.key(*keys), self.value.encode(value))

    def remove(self, state: State, *keys: Any) -> None:
        state.put(self.key(*keys), None)

    def items(self, state: State, *first_keys: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Entries under `first_keys`, as (the other keys, value), in the order of their hashed keys."""
        prefix = self.key(*first_keys)
        for key in state.keys(prefix):
            reader = Reader(key[len(prefix) :])
            rest = []
            for hasher, kind in self.keys[len(first_keys) :]:
                reader.take(hasher.prefix_size)
                rest.append(kind.read(reader))
            raw = state.get(key)
            if raw is not None:
                yield tuple(rest), self.value.decode(raw)


Handler = Callable[..., None]


@dataclass(frozen=True)
class Call:
    name: str
    index: int
    arguments: tuple[tuple[str, ScaleType], ...]
    handler: Handler  # (context, origin, **arguments)
    specs: tuple[int, ...] = BOTH


@dataclass(frozen=True)
class Event:
    name: str
    indices: Mapping[int, int]  # by spec version
    fields: tuple[tuple[str | None, ScaleType], ...]


@dataclass(frozen=True, kw_only=True)
class Constant:
    name: str
    kind: ScaleType
    value: Any
    specs: tuple[int, ...] = BOTH


@dataclass(eq=False)
class Pallet:
    """Grows while the module that declares it is read; afterwards nothing changes it."""

    name: str
    index: int
    crate: str
    errors: tuple[str, ...] = ()
    later_errors: tuple[str, ...] = ()  # of the new rules, where they are others
    storage: dict[str, StorageItem] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)

    def item(
        self,
        name: str,
        *keys: tuple[Hasher, ScaleType],
        value: ScaleType,
        default: Any = None,
        specs: tuple[int, ...] = BOTH,
        defaults: Mapping[int, Any] | None = None,
    ) -> StorageItem:
        item = self.storage[name] = StorageItem(self.name, name, keys, value, default, specs, defaults or {})
        return item

    def event(self, name: str, old: int | None, new: int | None, *kinds: ScaleType, **named: ScaleType) -> None:
        """Declared with its index in the old and in the new runtime; None where that one has no such event."""
        fields: tuple[tuple[str | None, ScaleType], ...] = (*((None, kind) for kind in kinds), *named.items())
        indices = {spec: index for spec, index in zip(BOTH, (old, new), strict=True) if index is not None}
        self.events.append(Event(name, indices, fields))

    def call(self, index: int, /, *specs: int, **arguments: ScaleType) -> Callable[[Handler], Handler]:
        def declare(handler: Handler) -> Handler:
            self.add_call(handler.__name__, index, tuple(arguments.items()), handler, specs or BOTH)
            return handler

        return declare

    def add_call(
        self,
        name: str,
        index: int,
        arguments: tuple[tuple[str, ScaleType], ...],
        handler: Handler,
        specs: tuple[int, ...] = BOTH,
    ) -> None:
        self.calls.append(Call(name, index, arguments, handler, specs))

    def errors_under(self, rules: Rules) -> tuple[str, ...]:
        return self.later_errors if rules.spec_version != OLD and self.later_errors else self.errors

    def fail(self, name: str) -> DispatchError:
        return DispatchError(name, self)

    def ensure(self, condition: bool, name: str) -> None:
        if not condition:
            raise self.fail(name)


@dataclass(kw_only=True)
class Context:
    """What a call may touch: the state, the block it stands in, and the events it leaves."""

    state: State
    block: int
    events: list[tuple[str, str, tuple[Any, ...]]]

    @property
    def rules(self) -> Rules:
        return rules_of(self.state)

    def emit(self, pallet: Pallet, event: str, *values: Any) -> None:
        self.events.append((pallet.name, event, values))
