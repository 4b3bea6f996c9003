"""How a pallet is declared: its storage items, calls, events and errors, in one place for dispatch and metadata."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any, Protocol

import xxhash

from chain.devnode.scale import Reader, ScaleType


class State(Protocol):
    """The chain's key-value state as a runtime sees it."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes | None) -> None: ...
    def keys(self, prefix: bytes) -> list[bytes]: ...


class DispatchError(Exception):
    """A call that failed; `module` is None for errors outside the pallets, such as BadOrigin."""

    def __init__(self, name: str, module: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.module = module

    def encoded(self) -> tuple[str, tuple[Any, ...]]:
        """As a value of sp_runtime::DispatchError."""
        if self.module is None:
            return self.name, ()
        pallet, error = self.module
        return "Module", ({"index": pallet, "error": bytes([error, 0, 0, 0])},)


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


@dataclass(frozen=True)
class StorageItem:
    """A typed view on one storage item; `default` None means the item is optional."""

    pallet: str
    name: str
    keys: tuple[tuple[Hasher, ScaleType], ...]
    value: ScaleType
    default: Any
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", twox128(self.pallet.encode()) + twox128(self.name.encode()))

    def key(self, *keys: Any) -> bytes:
        parts = [hasher.hash(kind.encode(key)) for (hasher, kind), key in zip(self.keys, keys, strict=False)]
        return self.prefix + b"".join(parts)

    def get(self, state: State, *keys: Any) -> Any:
        raw = state.get(self.key(*keys))
        return self.default if raw is None else self.value.decode(raw)

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


@dataclass(frozen=True)
class Event:
    name: str
    index: int
    fields: tuple[tuple[str | None, ScaleType], ...]


@dataclass(frozen=True, kw_only=True)
class Constant:
    name: str
    kind: ScaleType
    value: Any


@dataclass(eq=False)
class Pallet:
    """Grows while the module that declares it is read; afterwards nothing changes it."""

    name: str
    index: int
    crate: str
    errors: tuple[str, ...] = ()
    storage: dict[str, StorageItem] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)

    def item(self, name: str, *keys: tuple[Hasher, ScaleType], value: ScaleType, default: Any = None) -> StorageItem:
        item = self.storage[name] = StorageItem(self.name, name, keys, value, default)
        return item

    def event(self, name: str, *kinds: ScaleType, **named: ScaleType) -> None:
        fields: tuple[tuple[str | None, ScaleType], ...] = (*((None, kind) for kind in kinds), *named.items())
        self.events[name] = Event(name, len(self.events), fields)

    def call(self, index: int, **arguments: ScaleType) -> Callable[[Handler], Handler]:
        def declare(handler: Handler) -> Handler:
            self.add_call(handler.__name__, index, tuple(arguments.items()), handler)
            return handler

        return declare

    def add_call(self, name: str, index: int, arguments: tuple[tuple[str, ScaleType], ...], handler: Handler) -> None:
        self.calls[name] = Call(name, index, arguments, handler)

    def fail(self, name: str) -> DispatchError:
        return DispatchError(name, (self.index, self.errors.index(name)))

    def ensure(self, condition: bool, name: str) -> None:
        if not condition:
            raise self.fail(name)


@dataclass(kw_only=True)
class Context:
    """What a call may touch: the state, the block it stands in, and the events it leaves."""

    state: State
    block: int
    events: list[tuple[str, str, tuple[Any, ...]]]

    def emit(self, pallet: Pallet, event: str, *values: Any) -> None:
        self.events.append((pallet.name, event, values))
