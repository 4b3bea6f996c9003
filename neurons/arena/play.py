"""Playing the rounds: everybody's step, phase after phase, and the chain's blocks between them. Nobody waits."""

import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chain.ledger import Ledger
from hivetune.corpus import no_progress_bars
from hivetune.releases import ReleaseFollower
from hivetune.rounds import Round, round_by_id
from hivetune.status import Node
from neurons.arena.base import prepare_base
from neurons.arena.board import Board
from neurons.arena.cast import Casting, Player, places_of
from neurons.arena.judges import SeedLeaker
from neurons.arena.options import ArenaOptions
from neurons.arena.roster import FIRST_WAVE, Role, Strategy
from neurons.arena.seat import Library
from neurons.arena.world import OWNER, WORKERS, World, open_world
from neurons.observer import Observer, earned_rao
from neurons.results import RoundResult, round_result
from validator.node import ValidatorNode

log = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A round that has ended."""

    result: RoundResult
    emission_rao: dict[str, int]  # by hotkey
    stake_rao: dict[str, int]  # by hotkey, before the round was paid


@dataclass(frozen=True, kw_only=True, slots=True)
class Arena:
    """A world with its players."""

    world: World
    players: list[Player]
    averager: Node
    board: Board
    ledger: Ledger
    observer: Observer
    seconds: dict[str, float] = field(default_factory=dict)

    def play(self, round_id: int) -> Played:
        """One round, from its first block to the epoch that pays for it."""
        now = round_by_id(self.world.release.rounds, round_id)
        miners = [player for player in self.players if player.strategy.role is Role.MINER]
        first = [player for player in miners if player.strategy.name in FIRST_WAVE]
        others = [player for player in miners if player.strategy.name not in FIRST_WAVE]
        validators = [player for player in self.players if player.strategy.role is Role.VALIDATOR]
        scoring = [player for player in validators if isinstance(player.node, ValidatorNode | SeedLeaker)]
        self.world.advance(now.first_block)
        for wave in (first, others):
            self._step("train", [player.node for player in wave])
        self.world.advance(now.beacon_block)
        for wave in (first, others):
            self._step("reveal", [player.node for player in wave])
        self.world.advance(now.reveal_end + 1)
        self._step("score", [player.node for player in scoring[:1]])
        _share_measurements(scoring)
        self._step("score", [player.node for player in scoring[1:]])
        self._step("score", [player.node for player in validators if player not in scoring])
        self.world.advance(now.score_end + 1)
        self._step("merge", [self.averager, *(player.node for player in others if player.strategy.name == "slow")])
        self.world.advance(now.last_block)
        gc.collect()  # models hold reference cycles
        return self._look(now)

    def _step(self, phase: str, nodes: Sequence[Node]) -> None:
        """All of them, some at a time; what one raises ends the arena, for here nothing may fail by chance."""
        started = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda node: node.step(), nodes))
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - started

    def _look(self, now: Round) -> Played:
        metagraph = self.ledger.metagraph(self.ledger.block_hash(now.last_block))
        before = self.ledger.metagraph(self.ledger.block_hash(now.last_block - 1))
        receipts = self.observer.receipts(now.round_id, metagraph)
        outcome = self.observer.outcome(now.round_id, metagraph)
        emission = earned_rao(metagraph)
        roles = {player.hotkey: player.strategy.name for player in self.players}
        result = round_result(now.round_id, receipts, outcome, emission, roles, {})
        if not result.validators_agree:
            log.warning("round %d: validators do not agree", now.round_id)
        stake = {neuron.hotkey: neuron.stake_rao for neuron in before.neurons}
        return Played(result=result, emission_rao=emission, stake_rao=stake)


def _share_measurements(scoring: Sequence[Player]) -> None:
    """Losses of adapters alone, which are most of the time, are measured by one validator; the others find them in
    their journals, as after a restart. Credits, gate and weights are everybody's own."""
    first, *others = [_scorer(player.node).state / "measured" for player in scoring]
    for folder in others:
        shutil.copytree(first, folder, dirs_exist_ok=True)


def _scorer(node: Node) -> ValidatorNode:
    if isinstance(node, SeedLeaker):
        return node.node
    assert isinstance(node, ValidatorNode)
    return node


@contextmanager
def open_arena(options: ArenaOptions, strategies: Sequence[Strategy], say: Say) -> Iterator[Arena]:
    """An arena before its first round, and its end."""
    with no_progress_bars(), _folder(options.folder) as folder:
        say("preparing the base")
        base = prepare_base(options.cache.resolve(), options.seed, options.base_steps)
        places = places_of(strategies, options)
        say(f"opening a subnet of {len(places) + 1} neurons")
        with open_world(places, options, base, folder) as world:
            board = Board()
            ledger, hub = world.ledger(OWNER), world.hub(OWNER)
            library = Library(follower=ReleaseFollower(world.ledger(OWNER), hub, folder / "state" / "cheaters"))
            casting = Casting(world=world, board=board, library=library, options=options)
            yield Arena(
                world=world,
                players=casting.players(strategies),
                averager=casting.averager(),
                board=board,
                ledger=ledger,
                observer=Observer(ledger=ledger, hub=hub),
            )


@contextmanager
def _folder(chosen: Path | None) -> Iterator[Path]:
    """The chosen one, emptied, or one that passes."""
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="hivetune-arena-") as passing:
            yield Path(passing)
        return
    shutil.rmtree(chosen, ignore_errors=True)
    chosen.mkdir(parents=True)
    yield chosen.resolve()
