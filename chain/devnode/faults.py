"""What an endpoint can be told to do wrong, for tests.

kind        what happens, by variant
drop        No answer. forget: the hash of an extrinsic that never gets to the pool.
delay       Executed and answered after `seconds`; with `after` executed at once, answered late.
dribble     The answer comes in small fragments over `seconds`.
duplicate   The answer comes twice. imported: an extrinsic is taken, and the answer is that it was there already.
disconnect  The socket breaks in the place of an answer.
error       The answer is `code` and `message`.
garbage     The answer is no answer: see GARBAGE. huge: of `amount` MB.
stale_head  The chain stands still at the block it has now. behind: it is always `amount` blocks late.
lie         The answer is well formed and wrong: see chain/devnode/lies.py.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any

READS = ("state_getStorage", "state_getStorageAt", "state_queryStorageAt")
SUBMIT = ("author_submitExtrinsic",)
# The methods that each lie is about; () is every method.
LIES: dict[str, tuple[str, ...]] = {
    "absent": (*READS, "state_getKeysPaged"),
    "block_hash": ("chain_getBlockHash",),
    "failure": READS,
    "false_chain": (),
    "finalized_head": ("chain_getHead", "chain_getFinalizedHead"),
    "genesis": ("chain_getBlockHash",),
    "header_number": ("chain_getHeader",),
    "included": (*READS, "chain_getBlock"),
    "left_out": ("chain_getBlock",),
    "metadata": ("state_getMetadata",),
    "nonce_high": ("system_accountNextIndex",),
    "nonce_low": ("system_accountNextIndex",),
    "runtime_version": ("state_getRuntimeVersion",),
    "storage": READS,
    "success": READS,
}
GARBAGE = ("deep", "empty", "huge", "list", "no_result", "not_json", "null_result", "wrong_id", "wrong_type")
VARIANTS: dict[str, tuple[str, ...]] = {
    "delay": ("",),
    "disconnect": ("",),
    "dribble": ("",),
    "drop": ("", "forget"),
    "duplicate": ("", "imported"),
    "error": ("",),
    "garbage": GARBAGE,
    "lie": tuple(LIES),
    "stale_head": ("", "behind"),
}
MAX_SECONDS, MAX_AMOUNT = 600.0, 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    kind: str
    variant: str = ""
    methods: tuple[str, ...] = ()  # the requests that meet it; () is all but dev_*
    times: int = 0  # how many requests meet it; 0 is without end
    after: bool = False  # whether a request is executed before the fault strikes
    seconds: float = 0.0
    amount: int = 1
    items: tuple[str, ...] = ()  # Pallet.Item, of lies about storage; () is all but System's
    code: int = -32603
    message: str = "refused as it was told to"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS.get(self.kind, ()):
            raise ValueError(f"no fault {self.kind!r} of variant {self.variant!r}, there are {VARIANTS}")
        if not 0 <= self.seconds <= MAX_SECONDS or not 0 <= self.amount <= MAX_AMOUNT or self.times < 0:
            raise ValueError(f"times {self.times}, seconds {self.seconds} or amount {self.amount} is out of range")

    def concerns(self, method: str) -> bool:
        if method.startswith("dev_") or (self.methods and method not in self.methods):
            return False
        if self.variant in ("forget", "imported"):
            return method in SUBMIT
        about = LIES[self.variant] if self.kind == "lie" else ()
        return not about or method in about


def parse_faults(values: Any) -> list[Fault]:
    """From JSON; ValueError for all that is no list of faults."""
    if not isinstance(values, list):
        raise ValueError("want a list of faults")
    return [_parse_fault(value) for value in values]


def _parse_fault(value: Any) -> Fault:
    samples = {one.name: "" if one.default is MISSING else one.default for one in fields(Fault)}
    if not isinstance(value, dict) or "kind" not in value or not value.keys() <= samples.keys():
        raise ValueError(f"want an object with a kind and some of {sorted(samples)}")
    return Fault(**{name: _typed(name, given, samples[name]) for name, given in value.items()})


def _typed(name: str, given: Any, sample: object) -> Any:
    """A value of the sample's type; JSON has lists for tuples and may write a float as an integer."""
    if isinstance(sample, tuple) and isinstance(given, list) and all(isinstance(text, str) for text in given):
        return tuple(given)
    if isinstance(sample, float) and type(given) is int:
        return float(given)
    if type(given) is not type(sample):
        raise ValueError(f"{name} is {given!r}, want {type(sample).__name__}")
    return given
