"""Validators that do not score, or not fairly. Each sets its weights by the chain's own rules."""

from collections.abc import Mapping
from dataclasses import dataclass

from chain.ledger import Ledger, Metagraph
from chain.weight_setter import WeightSetter
from chain.yuma import consensus
from hivetune.commitments import PROTOCOL
from hivetune.records import Receipt
from hivetune.releases import ReleaseFollower
from hivetune.rounds import Phase, Round
from neurons.arena.board import Board
from validator.node import ValidatorNode


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What every dishonest validator has."""

    ledger: Ledger
    weights: WeightSetter
    follower: ReleaseFollower

    def now(self) -> tuple[Round | None, Phase | None]:
        """The round and its phase."""
        block = self.ledger.head().number
        _, now = self.follower.at_block(block)
        return now, None if now is None else now.phase(block)

    def set(self, now: Round, weights: Mapping[int, float]) -> None:
        """Weights for this round, where there are any."""
        if weights:
            self.weights.set(weights, since=now.beacon_block, version_key=PROTOCOL)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightCopier:
    """Sets the consensus of others: that of the round before, or, when it waits for them, of this one."""

    bench: Bench
    waits: bool

    def step(self) -> int:
        """Copies what it can read."""
        now, phase = self.bench.now()
        if now is None or phase is not Phase.SCORE:
            return 0
        at = None if self.waits else self.bench.ledger.block_hash(now.first_block)
        self.bench.set(now, carried(self.bench.ledger.metagraph(at), self.bench.ledger.hotkey))
        return now.last_block + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Colluder:
    """Gives everything to a friend."""

    bench: Bench
    friend: str

    def step(self) -> int:
        """All weight to one."""
        now, phase = self.bench.now()
        if now is not None and phase is Phase.SCORE:
            found = self.bench.ledger.metagraph().by_hotkey(self.friend)
            self.bench.set(now, {} if found is None else {found.uid: 1.0})
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lazy:
    """Gives everybody the same."""

    bench: Bench

    def step(self) -> int:
        """All miners that committed to anything."""
        now, phase = self.bench.now()
        if now is not None and phase is Phase.SCORE:
            metagraph = self.bench.ledger.metagraph()
            seen = self.bench.ledger.commitments()
            busy = [n.uid for n in metagraph.neurons if n.hotkey in seen and not n.permit]
            self.bench.set(now, dict.fromkeys(busy, 1.0))
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedLeaker:
    """Scores honestly, and tells its friends which text was drawn, as early as it knows."""

    node: ValidatorNode
    board: Board

    def step(self) -> int:
        """As a validator does; what it scored on goes onto the board."""
        following = self.node.step()
        for path in sorted((self.node.state / "receipts").glob("*.json"))[-1:]:
            receipt = Receipt.parse(path.read_bytes())
            self.board.drawn[receipt.round_id] = receipt.sequence_ids
        return following


def carried(metagraph: Metagraph, besides: str) -> dict[int, float]:
    """What the stake of all others carries, as Yuma reads it."""
    own = metagraph.by_hotkey(besides)
    found = consensus(
        [neuron.stake_rao for neuron in metagraph.neurons],
        [neuron.permit and neuron.hotkey != besides for neuron in metagraph.neurons],
        {uid: row for uid, row in metagraph.weights.items() if own is None or uid != own.uid},
        metagraph.kappa,
        len(metagraph.neurons),
    )
    return {uid: float(weight) for uid, weight in enumerate(found) if weight > 0}
