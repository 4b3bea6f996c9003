"""The chain that the demo runs on: how its time passes, and who has money on it."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chain.devnode.server import RunningDevnode
from chain.keys import keypair_from_uri
from chain.subnet_admin import SubnetAdmin

SUDO = "//Alice"  # the sudo key of development chains, and the account with their money
MOST_AT_ONCE = 1_000  # blocks of a skip; a slow machine has rounds of ten thousands
_SEAL_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoChain:
    """A development chain; one that makes no blocks on demand just takes its time."""

    url: str
    on_demand: bool

    @classmethod
    def at(cls, url: str) -> "DemoChain":
        """Finds out whether the chain makes blocks on demand."""
        try:
            RunningDevnode(url=url).new_blocks(1)
        except ValueError:
            return cls(url=url, on_demand=False)
        return cls(url=url, on_demand=True)

    def skip(self, blocks: int) -> None:
        """Lets blocks pass at once, where the chain can; many in several calls, because a chain makes only so many."""
        node = RunningDevnode(url=self.url)
        for start in range(0, blocks if self.on_demand else 0, MOST_AT_ONCE):
            node.new_blocks(min(MOST_AT_ONCE, blocks - start))

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Seals a block as often as possible, where the chain can, while transactions are sent one by one."""
        done = threading.Event()

        def seal() -> None:
            while not done.wait(_SEAL_EVERY_S):
                self.skip(1)

        thread = threading.Thread(target=seal, daemon=True)
        if self.on_demand:
            thread.start()
        try:
            yield
        finally:
            done.set()
            if self.on_demand:
                thread.join()

    def endow(self, coldkeys: Iterable[str], amount_rao: int) -> None:
        """Gives every account money of the development account."""
        bank = SubnetAdmin(self.url, keypair_from_uri(SUDO))
        for coldkey in coldkeys:
            bank.transfer(coldkey, amount_rao)
        bank.close()
