"""The chain as one endpoint tells it: as it is, standing still, or another one altogether."""

from dataclasses import replace

from chain.devnode.blocks import Block, header_bytes
from chain.devnode.extrinsics import blake256
from chain.devnode.node import Node
from chain.devnode.rules import Rules


class ChainView:
    """The honest one."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def rules(self) -> Rules:
        return self._node.rules

    @property
    def head(self) -> Block:
        return self._node.head

    @property
    def finalized(self) -> Block:
        return self._node.finalized

    def by_number(self, number: int) -> Block | None:
        return self._node.store.block_by_number(number) if 0 <= number <= self.head.number else None

    def by_hash(self, digest: bytes) -> Block | None:
        return self._node.store.block_by_hash(digest)

    def value(self, key: bytes, block: Block) -> bytes | None:
        return self._node.store.get_at(key, block)

    def keys(self, prefix: bytes, block: Block, *, after: bytes, count: int) -> list[bytes]:
        return self._node.store.keys_at(prefix, block, after=after, count=count)

    def next_nonce(self, who: bytes) -> int:
        return self._node.next_nonce(who, self.head)


class StaleView(ChainView):
    """Knows no block above a number: that of the head when it was made, or always some below the head."""

    def __init__(self, node: Node, behind: int | None = None) -> None:
        super().__init__(node)
        self._behind = behind
        self._head, self._finalized = node.head.number, node.finalized.number

    def _trailing(self, number: int, still: int) -> Block:
        return self._node.block(still if self._behind is None else max(0, number - self._behind))

    @property
    def head(self) -> Block:
        return self._trailing(self._node.head.number, self._head)

    @property
    def finalized(self) -> Block:
        return self._trailing(self._node.finalized.number, self._finalized)

    def by_hash(self, digest: bytes) -> Block | None:
        block = super().by_hash(digest)
        return None if block is None or block.number > self.head.number else block


class FalseView(ChainView):
    """An invented chain on the true genesis that fits together: hashes are those of its headers, all can be read.

    Its block n holds what is in the true block n - ahead, under another state root. True hashes are known too.
    """

    def __init__(self, node: Node, ahead: int) -> None:
        super().__init__(node)
        self._ahead = ahead
        self._invented: list[Block] = []
        self._numbers: dict[bytes, int] = {}

    @property
    def head(self) -> Block:
        return self._invent(self._node.head.number + self._ahead)

    @property
    def finalized(self) -> Block:
        return self._invent(self._node.finalized.number + self._ahead)

    def by_number(self, number: int) -> Block | None:
        return self._invent(number) if 0 <= number <= self.head.number else None

    def by_hash(self, digest: bytes) -> Block | None:
        if digest in self._numbers:
            return self._invented[self._numbers[digest]]
        return super().by_hash(digest)

    def value(self, key: bytes, block: Block) -> bytes | None:
        return super().value(key, self._true(block))

    def keys(self, prefix: bytes, block: Block, *, after: bytes, count: int) -> list[bytes]:
        return super().keys(prefix, self._true(block), after=after, count=count)

    def _true(self, block: Block) -> Block:
        return self._source(block.number) if block.hash in self._numbers else block

    def _source(self, number: int) -> Block:
        return self._node.block(max(0, number - self._ahead))

    def _invent(self, number: int) -> Block:
        while len(self._invented) <= number:
            block = self._source(len(self._invented))
            if self._invented:
                parent = self._invented[-1]
                root = blake256(b"invented" + parent.state_root)
                block = replace(block, number=parent.number + 1, parent=parent.hash, state_root=root)
                block = replace(block, hash=blake256(header_bytes(block)))
            self._numbers[block.hash] = len(self._invented)
            self._invented.append(block)
        return self._invented[number]
