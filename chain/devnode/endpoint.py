"""One port of a node: how it answers, and the faults that it was told to have. Several ports may share a node."""

from collections.abc import Sequence
from dataclasses import dataclass

from chain.devnode.faults import SUBMIT, Fault
from chain.devnode.node import Node
from chain.devnode.rpc import Methods, Parameters
from chain.devnode.views import ChainView, FalseView, StaleView


@dataclass(kw_only=True, slots=True, eq=False)
class Armed:
    """A fault that is switched on; `left` counts down where it strikes a number of times."""

    fault: Fault
    left: int
    methods: Methods | None  # where the fault shows another chain


class Endpoint:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.methods = Methods(node, ChainView(node))
        self._armed: list[Armed] = []
        self.handed: dict[bytes, int] = {}  # extrinsics handed in while faults are on, and the head's number then

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Takes the place of those that were set."""
        self._armed = [Armed(fault=fault, left=fault.times, methods=self._methods_of(fault)) for fault in faults]
        self.handed.clear()

    def _methods_of(self, fault: Fault) -> Methods | None:
        if fault.kind == "stale_head":
            return Methods(self.node, StaleView(self.node, fault.amount if fault.variant == "behind" else None))
        return Methods(self.node, FalseView(self.node, fault.amount)) if fault.variant == "false_chain" else None

    @property
    def is_stale(self) -> bool:
        return any(armed.fault.kind == "stale_head" for armed in self._armed)

    def struck(self, method: str, parameters: Parameters) -> Sequence[Armed]:
        """The faults that a request meets; each counts it."""
        if not self._armed:
            return ()
        if method in SUBMIT:
            self.handed.setdefault(parameters.hex(0), self.node.head.number)
        found = [armed for armed in self._armed if armed.fault.concerns(method)]
        for armed in found:
            armed.left -= 1
        spent = [armed for armed in found if armed.left == 0]
        self._armed = [armed for armed in self._armed if armed not in spent]
        return found
