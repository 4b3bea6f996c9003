"""Small changes to valid bytes, drawn from a seeded generator: what a fuzzer tries, the same on every run."""

import json
from random import Random
from typing import Any

_BYTES = (
    b"\0", b"\xff", b"\x80", b" ", b"\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"-", b"e9", b"1e999",
    b"NaN", b"Infinity", b"null", b"true", b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"9" * 40,
    b"/../", b"\x1b[2J", b'"a":0,', b"[[[[[[[[", b"HT\x01\x01", b"PK\x03\x04",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "\ud800", "\x1b[2J\n", "\0", "../..", "F32", "0" * 64, "a" * 300, [], [0], [[]], {}, {"x": 0}, [0, 0], ["x"],
)  # fmt: skip


def changed_bytes(data: bytes, random: Random) -> bytes:
    """One to four changes, each a few bytes long or a copy of a part."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        where = random.randrange(len(found) + 1)
        length = random.choice((0, 1, 1, 2, 8, 64))
        match random.randrange(6):
            case 0:
                found[where : where + 1] = bytes([random.randrange(256)])
            case 1:
                found[where : where + length] = random.choice(_BYTES)
            case 2:
                del found[where : where + length]
            case 3:
                source = random.randrange(len(found) + 1)
                found[where:where] = found[source : source + length]
            case 4:
                found[where : where + length] = random.randbytes(length)
            case _:
                del found[where + random.randrange(64) :]
    return bytes(found)


def changed_json(value: Any, random: Random) -> Any:
    """The same value with one thing in it replaced, removed, renamed, repeated or added; changes `value` itself."""
    inside: Any = value
    while isinstance(inside, (dict, list)) and inside and random.random() < 0.85:
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        key = random.choice(keys)
        if isinstance(inside[key], (dict, list)) and random.random() < 0.85:
            inside = inside[key]
            continue
        _change_item(inside, key, random)
        return value
    if isinstance(inside, dict):
        inside[random.choice(("x", "\ud800", "a/b", "__metadata__", ""))] = random.choice(_VALUES)
    elif isinstance(inside, list):
        inside.append(random.choice(_VALUES))
    return value


def written(value: Any, random: Random) -> bytes:
    """As JSON, mostly in the canonical spacing."""
    separators = (",", ":") if random.random() < 0.9 else (", ", ": ")
    return json.dumps(value, separators=separators).encode()


def _change_item(inside: Any, key: Any, random: Random) -> None:
    match random.randrange(4):
        case 0:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[str(key) + random.choice(("", "x", "\u0430"))] = inside.pop(key)
        case 2 if isinstance(inside[key], (int, float)):
            inside[key] += random.choice((-1, 1, 0.5, 2**32))
        case _:
            inside[key] = random.choice(_VALUES)
