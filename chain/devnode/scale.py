"""SCALE types that encode, decode and describe themselves for the metadata: one source for wire, state and registry."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_CALL_DEPTH = 8  # calls inside calls; deeper ones are junk made to exhaust the stack

IdOf = Callable[["ScaleType"], int]


class MalformedBytes(ValueError):  # noqa: N818 - what the bytes are
    """Bytes that do not decode as the type they were sent as."""


class Reader:
    """Walks over bytes that may be hostile: every step checks that enough is left."""

    __slots__ = ("data", "depth", "offset")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0
        self.depth = 0

    def take(self, count: int) -> bytes:
        end = self.offset + count
        if end > len(self.data):
            raise MalformedBytes(f"{count} bytes wanted at {self.offset}, {len(self.data) - self.offset} left")
        part = self.data[self.offset : end]
        self.offset = end
        return part

    def compact(self) -> int:
        first = self.take(1)[0]
        mode = first & 3
        if mode == 0:
            return first >> 2
        if mode == 1:
            return (first | self.take(1)[0] << 8) >> 2
        if mode == 2:
            return (first | int.from_bytes(self.take(3), "little") << 8) >> 2
        return int.from_bytes(self.take((first >> 2) + 4), "little")

    def finish(self) -> None:
        if self.offset != len(self.data):
            raise MalformedBytes(f"{len(self.data) - self.offset} bytes left over")


def compact(value: int) -> bytes:
    """SCALE's variable-length integer."""
    if value < 1 << 6:
        return bytes([value << 2])
    if value < 1 << 14:
        return (value << 2 | 1).to_bytes(2, "little")
    if value < 1 << 30:
        return (value << 2 | 2).to_bytes(4, "little")
    size = (value.bit_length() + 7) // 8
    return bytes([(size - 4) << 2 | 3]) + value.to_bytes(size, "little")


class ScaleType:
    """What every type can do. Values are plain Python: int, bool, bytes, tuple or list, dict for structs.

    A type with a name of its own has a `path`, which is what clients look it up by.
    """

    def encode(self, value: Any) -> bytes:
        raise NotImplementedError

    def read(self, reader: Reader) -> Any:
        raise NotImplementedError

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        """The `def` entry of this type in a V14 portable registry."""
        raise NotImplementedError

    def decode(self, data: bytes) -> Any:
        reader = Reader(data)
        value = self.read(reader)
        reader.finish()
        return value


@dataclass(frozen=True)
class Uint(ScaleType):
    bits: int

    def encode(self, value: Any) -> bytes:
        return int(value).to_bytes(self.bits // 8, "little")

    def read(self, reader: Reader) -> int:
        return int.from_bytes(reader.take(self.bits // 8), "little")

    def definition(self, _id_of: IdOf, /) -> dict[str, Any]:
        return {"primitive": f"u{self.bits}"}


@dataclass(frozen=True)
class Int(ScaleType):
    """A signed integer."""

    bits: int

    def encode(self, value: Any) -> bytes:
        return int(value).to_bytes(self.bits // 8, "little", signed=True)

    def read(self, reader: Reader) -> int:
        return int.from_bytes(reader.take(self.bits // 8), "little", signed=True)

    def definition(self, _id_of: IdOf, /) -> dict[str, Any]:
        return {"primitive": f"i{self.bits}"}


@dataclass(frozen=True)
class Text(ScaleType):
    def encode(self, value: Any) -> bytes:
        data = str(value).encode()
        return compact(len(data)) + data

    def read(self, reader: Reader) -> str:
        data = reader.take(reader.compact())
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise MalformedBytes(f"text that is not UTF-8: {error}") from error

    def definition(self, _id_of: IdOf, /) -> dict[str, Any]:
        return {"primitive": "str"}


@dataclass(frozen=True)
class Bool(ScaleType):
    def encode(self, value: Any) -> bytes:
        return b"\x01" if value else b"\x00"

    def read(self, reader: Reader) -> bool:
        byte = reader.take(1)[0]
        if byte > 1:
            raise MalformedBytes(f"a bool of {byte}")
        return byte == 1

    def definition(self, _id_of: IdOf, /) -> dict[str, Any]:
        return {"primitive": "bool"}


@dataclass(frozen=True)
class Compact(ScaleType):
    inner: Uint

    def encode(self, value: Any) -> bytes:
        return compact(value)

    def read(self, reader: Reader) -> int:
        value = reader.compact()
        if value >> self.inner.bits:
            raise MalformedBytes(f"{value} does not fit in u{self.inner.bits}")
        return value

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"compact": {"type": id_of(self.inner)}}


@dataclass(frozen=True)
class FixedBytes(ScaleType):
    """`[u8; size]`."""

    size: int

    def encode(self, value: Any) -> bytes:
        if len(value) != self.size:
            raise MalformedBytes(f"{len(value)} bytes, want {self.size}")
        return bytes(value)

    def read(self, reader: Reader) -> bytes:
        return reader.take(self.size)

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"array": {"len": self.size, "type": id_of(U8)}}


@dataclass(frozen=True)
class Vec(ScaleType):
    """A sequence; bytes when the element is a byte."""

    inner: ScaleType

    def encode(self, value: Any) -> bytes:
        if self.inner == U8:
            return compact(len(value)) + bytes(value)
        if self.inner == U16:
            return compact(len(value)) + struct.pack(f"<{len(value)}H", *value)
        return compact(len(value)) + b"".join(map(self.inner.encode, value))

    def read(self, reader: Reader) -> Any:
        count = reader.compact()
        if count > len(reader.data) - reader.offset:
            raise MalformedBytes(f"a vector of {count} in {len(reader.data)} bytes")
        if self.inner == U8:
            return reader.take(count)
        if self.inner == U16:
            return list(struct.unpack(f"<{count}H", reader.take(2 * count)))
        return [self.inner.read(reader) for _ in range(count)]

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"sequence": {"type": id_of(self.inner)}}


@dataclass(frozen=True)
class Tuple(ScaleType):
    parts: tuple[ScaleType, ...]

    def encode(self, value: Any) -> bytes:
        return b"".join(part.encode(item) for part, item in zip(self.parts, value, strict=True))

    def read(self, reader: Reader) -> tuple[Any, ...]:
        return tuple(part.read(reader) for part in self.parts)

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"tuple": [id_of(part) for part in self.parts]}


def field(name: str | None, type_id: int, type_name: str | None = None) -> dict[str, Any]:
    return {"name": name, "type": type_id, "typeName": type_name, "docs": []}


@dataclass(frozen=True)
class Struct(ScaleType):
    path: tuple[str, ...]
    fields: tuple[tuple[str, ScaleType], ...]

    def encode(self, value: Any) -> bytes:
        return b"".join(inner.encode(value[name]) for name, inner in self.fields)

    def read(self, reader: Reader) -> dict[str, Any]:
        return {name: inner.read(reader) for name, inner in self.fields}

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"composite": {"fields": [field(name, id_of(inner)) for name, inner in self.fields]}}


@dataclass(frozen=True)
class Wrapper(ScaleType):
    """A Rust newtype: on the wire and here it is its inner value, in the registry it has a name."""

    path: tuple[str, ...]
    inner: ScaleType

    def encode(self, value: Any) -> bytes:
        return self.inner.encode(value)

    def read(self, reader: Reader) -> Any:
        return self.inner.read(reader)

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"composite": {"fields": [field(None, id_of(self.inner))]}}


@dataclass(frozen=True)
class Bounded(ScaleType):
    """Rust's BoundedVec: a longer one does not decode."""

    inner: Vec
    most: int

    path = ("bounded_collections", "bounded_vec", "BoundedVec")

    def encode(self, value: Any) -> bytes:
        return self.inner.encode(value)

    def read(self, reader: Reader) -> Any:
        value = self.inner.read(reader)
        if len(value) > self.most:
            raise MalformedBytes(f"a vector of {len(value)}, at most {self.most}")
        return value

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        return {"composite": {"fields": [field(None, id_of(self.inner))]}}


@dataclass(frozen=True)
class Variant:
    """One arm of an enum; `fields` are named or, with None, positional."""

    name: str
    index: int
    fields: tuple[tuple[str | None, ScaleType], ...] = ()


@dataclass(frozen=True)
class Enum(ScaleType):
    """A value is `(variant name, tuple of field values)`."""

    path: tuple[str, ...]
    variants: tuple[Variant, ...]

    def encode(self, value: Any) -> bytes:
        name, items = value
        variant = next(variant for variant in self.variants if variant.name == name)
        body = b"".join(inner.encode(item) for (_, inner), item in zip(variant.fields, items, strict=True))
        return bytes([variant.index]) + body

    def read(self, reader: Reader) -> tuple[str, tuple[Any, ...]]:
        index = reader.take(1)[0]
        for variant in self.variants:
            if variant.index == index:
                return variant.name, tuple(inner.read(reader) for _, inner in variant.fields)
        raise MalformedBytes(f"no variant {index} in {'::'.join(self.path)}")

    def definition(self, id_of: IdOf, /) -> dict[str, Any]:
        variants = [
            {
                "name": variant.name,
                "fields": [field(name, id_of(inner)) for name, inner in variant.fields],
                "index": variant.index,
                "docs": [],
            }
            for variant in self.variants
        ]
        return {"variant": {"variants": variants}}


U8, U16, U32, U64, U128 = Uint(8), Uint(16), Uint(32), Uint(64), Uint(128)
I16, I64 = Int(16), Int(64)
TEXT = Text()
BOOL = Bool()
BYTES = Vec(U8)
UNIT = Tuple(())
H256 = Wrapper(("primitive_types", "H256"), FixedBytes(32))
ACCOUNT = Wrapper(("sp_core", "crypto", "AccountId32"), FixedBytes(32))
