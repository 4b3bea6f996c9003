"""Who sits where: every hotkey of an arena with the node that plays it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from averager.node import AveragerNode
from chain.pending import PendingReveals
from chain.weight_setter import WeightSetter
from hivetune.releases import ReleaseFollower
from hivetune.status import Node
from hub.revealed import RevealedFiles
from miner.author import TrainingAuthor
from miner.node import MinerNode
from miner.settings import MinerSettings
from neurons.arena.authors import HonestAuthor
from neurons.arena.board import Board
from neurons.arena.judges import Bench, Colluder, Lazy, SeedLeaker, WeightCopier
from neurons.arena.options import ArenaOptions
from neurons.arena.roster import FULL, HONEST_VALIDATOR, SHARE_OF_RATE, SHARE_OF_STEPS, Role, Strategy
from neurons.arena.seat import BATCH_SEQUENCES, LEARNING_RATE, Library, Seat
from neurons.arena.world import OWNER, Place, World
from neurons.results import RAO
from validator.node import ValidatorNode

HONEST_STAKE, OTHER_STAKE = 3_000 * RAO, 1_000 * RAO  # so that three of the former outweigh all of the latter
_DOWNLOAD_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Player:
    """One hotkey at play."""

    name: str
    strategy: Strategy
    hotkey: str
    node: Node


def places_of(strategies: Sequence[Strategy], options: ArenaOptions) -> list[Place]:
    """Validators first, so that they have the low uids and their stake counts from the first epoch on."""
    ordered = sorted(strategies, key=lambda strategy: strategy.role is not Role.VALIDATOR)
    return [
        Place(name=f"{strategy.name}-{index}", strategy=strategy.name, stake_rao=_stake(strategy))
        for strategy in ordered
        for index in range(hotkeys_of(strategy, options))
    ]


def _stake(strategy: Strategy) -> int:
    if strategy.role is Role.MINER:
        return 0
    return HONEST_STAKE if strategy.honest else OTHER_STAKE


def hotkeys_of(strategy: Strategy, options: ArenaOptions) -> int:
    """How many play it."""
    return {FULL: options.honest, HONEST_VALIDATOR: options.validators}.get(strategy.name, strategy.hotkeys)


@dataclass(frozen=True, kw_only=True, slots=True)
class Casting:
    """What all players are made from."""

    world: World
    board: Board
    library: Library
    options: ArenaOptions

    def players(self, strategies: Sequence[Strategy]) -> list[Player]:
        """All hotkeys but the owner's."""
        by_name = {strategy.name: strategy for strategy in strategies}
        return [
            Player(
                name=place.name,
                strategy=by_name[place.strategy],
                hotkey=self.world.hotkey(place.name),
                node=self._node(place, by_name[place.strategy]),
            )
            for place in places_of(strategies, self.options)
        ]

    def averager(self) -> AveragerNode:
        """The owner's."""
        ledger, hub, state = self.world.ledger(OWNER), self.world.hub(OWNER), self._state(OWNER)
        repo = f"{OWNER}/releases"
        return AveragerNode(
            ledger=ledger,
            hub=hub,
            source=RevealedFiles(hub, own_repo=repo, download_s=_DOWNLOAD_S),
            follower=ReleaseFollower(ledger, hub, state),
            repo=repo,
            state=state,
            report=lambda _: None,
        )

    def _node(self, place: Place, strategy: Strategy) -> Node:
        if place.validates:
            return self._validator(place)
        if strategy.build is None:
            return self._honest_miner(place, strategy)
        return strategy.build(self._seat(place, strategy))

    def _seat(self, place: Place, strategy: Strategy) -> Seat:
        ledger, hub, state = self.world.ledger(place.name), self.world.hub(place.name), self._state(place.name)
        return Seat(
            name=place.name,
            hotkeys=strategy.hotkeys,
            uid=self.world.uids[place.name],
            ledger=ledger,
            hub=hub,
            follower=ReleaseFollower(ledger, hub, state),
            library=self.library,
            board=self.board,
            repo=f"{place.name}/adapters",
            state=state,
            steps=self.options.steps,
            seed=self.options.seed,
            rounds=self.options.rounds,
        )

    def _honest_miner(self, place: Place, strategy: Strategy) -> MinerNode:
        world, state = self.world, self._state(place.name)
        ledger, hub = world.ledger(place.name), world.hub(place.name)
        follower = ReleaseFollower(ledger, hub, state)
        settings = MinerSettings(
            network=world.chain.url,
            netuid=world.netuid,
            hub=world.hub_url,
            wallet=place.name,
            steps=max(1, round(SHARE_OF_STEPS[strategy.name] * self.options.steps)),
            batch_sequences=BATCH_SEQUENCES,
            micro_batch_sequences=BATCH_SEQUENCES,
            learning_rate=SHARE_OF_RATE.get(strategy.name, 1.0) * LEARNING_RATE,
            seed=self.options.seed,
        )
        author = HonestAuthor(
            author=TrainingAuthor(settings, ledger, follower, lambda _: None, secret=self._secret(place)),
            hotkey=ledger.hotkey,
            settings=settings,
            board=self.board,
            leaks=strategy.name == FULL,
        )
        return MinerNode(
            ledger=ledger,
            hub=hub,
            follower=follower,
            author=author,
            repo=f"{place.name}/adapters",
            state=state,
            report=lambda _: None,
        )

    def _validator(self, place: Place) -> Node:
        ledger, hub, state = self.world.ledger(place.name), self.world.hub(place.name), self._state(place.name)
        setter = WeightSetter(ledger, PendingReveals(state / "pending_reveals.json"))
        follower = ReleaseFollower(ledger, hub, state)
        bench = Bench(ledger=ledger, weights=setter, follower=follower)
        match place.strategy:
            case "weight-copier" | "weight-follower":
                return WeightCopier(bench=bench, waits=place.strategy == "weight-follower")
            case "colluder":
                return Colluder(bench=bench, friend=self.world.hotkey("friend-0"))
            case "lazy":
                return Lazy(bench=bench)
        repo = f"{place.name}/receipts"
        node = ValidatorNode(
            ledger=ledger,
            weights=setter,
            hub=hub,
            source=RevealedFiles(hub, own_repo=repo, download_s=_DOWNLOAD_S),
            follower=follower,
            repo=repo,
            state=state,
            report=lambda _: None,
        )
        return SeedLeaker(node=node, board=self.board) if place.strategy == "seed-leaker" else node

    def _secret(self, place: Place) -> bytes:
        """Nobody's but the miner's, and the same for a seed."""
        return hashlib.sha256(f"secret {self.options.seed} {place.name}".encode()).digest()

    def _state(self, name: str) -> Path:
        folder = self.world.folder / "state" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
