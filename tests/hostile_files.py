"""Ways to spoil a good adapter file."""

import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hivetune.adapter import Stamp, header_bytes, tensor_shapes, write_adapter
from hivetune.records import AdapterLayout, Target
from tests.conftest import random_layer

LAYOUT = AdapterLayout(
    rank=2,
    alpha=4.0,
    rslora=False,
    targets=(
        Target(module="layers.0.up", out_features=3, in_features=5, transposed=False),
        Target(module="layers.0.down", out_features=5, in_features=3, transposed=True),
    ),
)
STAMP = Stamp(hotkey="5Owner", round_id=3, release_sha256="ab" * 32)
LONGEST = 4  # times the expected header: what is longer is not read
Header = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Good:
    """An acceptable file, for a case to spoil."""

    layout: AdapterLayout
    stamp: Stamp
    data: bytes

    @property
    def names(self) -> list[str]:
        return list(tensor_shapes(self.layout))

    @property
    def header_size(self) -> int:
        return len(header_bytes(self.layout, self.stamp))

    @property
    def text(self) -> bytes:
        return self.data[8 : self.header_size]

    @property
    def tensors(self) -> bytes:
        return self.data[self.header_size :]


Spoil = Callable[[Good], bytes]


@dataclass(frozen=True)
class Hostile:
    name: str
    reason: str
    make: Spoil


def good_file(folder: Path, layout: AdapterLayout = LAYOUT, stamp: Stamp = STAMP) -> Good:
    factors = {
        t.module: random_layer(torch.ones(t.out_features, t.in_features), rank=layout.rank) for t in layout.targets
    }
    write_adapter(folder / "good", layout, stamp, factors)
    return Good(layout=layout, stamp=stamp, data=(folder / "good").read_bytes())


def framed(text: bytes, tail: bytes = b"", length: int | None = None) -> bytes:
    """Any text where the header stands."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tail


def padded(text: bytes) -> bytes:
    return text + b" " * (-len(text) % 8)


def header(change: Callable[[Header, Good], Header | None], **options: Any) -> Spoil:
    """Another header before the same tensors."""

    def make(good: Good) -> bytes:
        fields = json.loads(good.text)
        fields = change(fields, good) or fields
        text = json.dumps(fields, **({"separators": (",", ":")} | options)).encode()
        return framed(padded(text), good.tensors)

    return make


def entry(**fields: Any) -> Spoil:
    """The first tensor's entry with other fields."""
    return header(lambda found, good: found[good.names[0]].update(fields))


def entry_is(value: Any) -> Spoil:
    return header(lambda found, good: found.update({good.names[0]: value}))


def stamp(**fields: Any) -> Spoil:
    return header(lambda found, _: found["__metadata__"].update(fields))


def named(name: str) -> Spoil:
    """One more tensor, of no bytes."""
    return header(lambda found, _: found.update({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}))


def renamed(old: str, new: str) -> Spoil:
    """The same header with other names."""
    return lambda good: framed(padded(good.text.replace(old.encode(), new.encode())), good.tensors)


def is_text(text: bytes) -> Spoil:
    return lambda good: framed(text, good.tensors)


def fills(piece: bytes) -> Spoil:
    """As much of it as would still be read."""
    return lambda good: framed((piece * (LONGEST * good.header_size // len(piece) + 1))[: LONGEST * good.header_size])


def claims(length: int) -> Spoil:
    return lambda good: length.to_bytes(8, "little") + good.data[8:]


def off_by(difference: int) -> Spoil:
    return lambda good: framed(good.text, good.tensors, len(good.text) + difference)


def cut(keep: int) -> Spoil:
    return lambda good: good.data[:keep]


def followed_by(tail: bytes) -> Spoil:
    return lambda good: good.data + tail


def is_file(data: bytes) -> Spoil:
    return lambda good: data


def value(bits: int, tensor: int) -> Spoil:
    """A tensor's last value, by its bits."""

    def make(good: Good) -> bytes:
        _, end = json.loads(good.text)[good.names[tensor]]["data_offsets"]
        end += good.header_size
        return good.data[: end - 4] + struct.pack("<I", bits) + good.data[end:]

    return make


def without(*indices: int) -> Spoil:
    def change(found: Header, good: Good) -> None:
        for index in indices:
            del found[good.names[index]]

    return header(change)


def overlapping(found: Header, good: Good) -> None:
    found[good.names[3]]["data_offsets"] = found[good.names[0]]["data_offsets"]


def with_fractions(found: Header, good: Good) -> None:
    first = found[good.names[0]]
    first["shape"] = [float(extent) for extent in first["shape"]]


def swapped(found: Header, good: Good) -> Header:
    """Two tensors of one header change places, and their bytes do not."""
    names = ["__metadata__", good.names[1], good.names[0], *good.names[2:]]
    return {name: found[name] for name in names}


def twice(piece: Callable[[Good], str]) -> Spoil:
    return lambda good: framed(padded(good.text.rstrip()[:-1] + b"," + piece(good).encode() + b"}"), good.tensors)


def crowded(good: Good) -> bytes:
    """600 000 empty tensors: 65 s and 1 GB in the official loader."""
    piece = b'"%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return framed(b"{" + b",".join(piece % number for number in range(600_000)) + b"}")


def deep_shape(depth: int) -> Spoil:
    """Around the interpreter's limit, reading it may work while printing it does not."""
    return lambda good: framed(
        padded(good.text.replace(b'"shape":[', b'"shape":' + b"[" * depth + b"]" * depth + b',"x":[', 1)), good.tensors
    )


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


CANARY = Path("executed-by-a-loader")  # in the folder in which the tests run


def pickled(protocol: int) -> Spoil:
    return is_file(pickle.dumps({"weights": Canary(CANARY)}, protocol=protocol))


def saved_by_torch(zipped: bool) -> bytes:
    out = io.BytesIO()
    torch.save({"w": torch.zeros(3), "canary": Canary(CANARY)}, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"))
    return out.getvalue()


def saved_by_numpy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Canary(CANARY)], dtype=object), allow_pickle=True)
    return out.getvalue()
