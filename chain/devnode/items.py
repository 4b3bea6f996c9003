"""Which storage item a key belongs to: what reads and writes state by its raw keys asks here."""

from chain.devnode.pallet import StorageItem
from chain.devnode.rules import Rules
from chain.devnode.runtime import PALLETS, runtime_under
from chain.devnode.scale import Reader
from chain.devnode.store import PREFIX_BYTES


def item_of(rules: Rules, key: bytes) -> StorageItem | None:
    """None for a key of no item of this runtime."""
    prefix = key[:PREFIX_BYTES]
    items = (item for pallet in PALLETS for item in runtime_under(rules).items(pallet))
    return next((item for item in items if item.prefix == prefix), None)


def check_entry(rules: Rules, key: bytes, value: bytes | None) -> None:
    """MalformedBytes when the runtime could not read this entry: a block would fail on it."""
    item = item_of(rules, key)
    if item is None:
        return
    reader = Reader(key[PREFIX_BYTES:])
    for hasher, kind in item.keys:
        reader.take(hasher.prefix_size)
        kind.read(reader)
    reader.finish()
    if value is not None:
        item.value.decode(value)
