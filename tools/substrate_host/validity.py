"""What a runtime says of an extrinsic, decoded: valid with its tags, or invalid in Substrate's words."""

from dataclasses import dataclass

from chain.devnode.scale import MalformedBytes, Reader

INVALID = (
    "Transaction call is not expected",
    "Inability to pay some fees (e.g. account balance too low)",
    "Transaction will be valid in the future",
    "Transaction is outdated",
    "Transaction has a bad signature",
    "Transaction has an ancient birth block",
    "Transaction would exhaust the block limits",
    "Custom error: {}",
    "A call was labelled as mandatory, but resulted in an Error.",
    "Transaction dispatch is mandatory; transactions must not be validated.",
    "Invalid signing address",
    "The implicit data was unable to be calculated",
    "The transaction extension did not authorize any origin",
)
EXHAUSTS_RESOURCES = INVALID.index("Transaction would exhaust the block limits")
UNKNOWN = (
    "Could not lookup information required to validate the transaction",
    "Could not find an unsigned validator for the unsigned transaction",
    "Custom error: {}",
)


class InvalidTransaction(ValueError):  # noqa: N818 - Substrate's name for it
    """An extrinsic that no block takes; the message is what Substrate says."""


class UnknownValidity(ValueError):  # noqa: N818 - Substrate's name for it
    """The runtime cannot tell whether an extrinsic is valid."""


class BlockFull(InvalidTransaction):
    """Valid, but not in this block any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidTransaction:
    """sp_runtime's record: it needs the tags it `requires`, and gives those it `provides`."""

    priority: int
    requires: tuple[bytes, ...]
    provides: tuple[bytes, ...]
    longevity: int  # blocks


def read_validity(data: bytes) -> ValidTransaction:
    """The answer of validate_transaction; raises what the runtime answered instead."""
    reader = Reader(data)
    if reader.take(1) != b"\x00":
        raise validity_error(reader)
    return ValidTransaction(
        priority=_u64(reader), requires=_tags(reader), provides=_tags(reader), longevity=_u64(reader)
    )


def raise_unless_applied(data: bytes) -> None:
    """For the answer of apply_extrinsic: a call that failed was applied too."""
    reader = Reader(data)
    if reader.take(1) != b"\x00":
        raise validity_error(reader)


def validity_error(reader: Reader) -> InvalidTransaction | UnknownValidity:
    """A TransactionValidityError in words."""
    kind, index = reader.take(2)
    names = (INVALID, UNKNOWN)[kind] if kind < 2 else ()
    if index >= len(names):
        raise MalformedBytes(f"transaction validity error {kind}.{index}")
    words = names[index]
    if "{}" in words:
        words = words.format(reader.take(1)[0])
    if kind == 1:
        return UnknownValidity(words)
    return BlockFull(words) if index == EXHAUSTS_RESOURCES else InvalidTransaction(words)


def _u64(reader: Reader) -> int:
    return int.from_bytes(reader.take(8), "little")


def _tags(reader: Reader) -> tuple[bytes, ...]:
    return tuple(reader.take(reader.compact()) for _ in range(reader.compact()))
