"""All strategies: who plays them, with how many hotkeys, and what they do in one line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from hivetune.errors import ConfigError
from hivetune.rounds import Phase
from hivetune.status import Node
from neurons.arena import copiers, crowds, idlers, poisoners
from neurons.arena.authors import Recipe, RecipeAuthor
from neurons.arena.disorder import EquivocatingMiner, Griefer, TardyMiner, miner_node
from neurons.arena.seat import Seat
from neurons.localnet.cheaters import CopierNode


class Role(Enum):
    """On which side of the market a strategy plays."""

    MINER = "miner"
    VALIDATOR = "validator"


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """A way to play. Without `build` it is an honest neuron, or one that needs more than a seat."""

    name: str
    does: str
    role: Role = Role.MINER
    hotkeys: int = 1
    honest: bool = False
    build: Callable[[Seat], Node] | None = None
    needs: tuple[str, ...] = ()  # other strategies that it makes no sense without
    named: bool = False  # played only when it is named, because it needs a field that is smaller than itself


def _cooks(
    name: str, does: str, recipe: Recipe, *, hotkeys: int = 1, needs: tuple[str, ...] = (), named: bool = False
) -> Strategy:
    """A miner's node around a recipe."""

    def build(seat: Seat) -> Node:
        return miner_node(seat, RecipeAuthor(seat=seat, recipe=recipe))

    return Strategy(name=name, does=does, hotkeys=hotkeys, build=build, needs=needs, named=named)


def _takes_the_file(seat: Seat) -> Node:
    return CopierNode(
        ledger=seat.ledger,
        hub=seat.hub,
        follower=seat.follower,
        repo=seat.repo,
        state=seat.state,
        report=lambda _: None,
    )


def _tardy(commits: Phase, uploads: Phase) -> Callable[[Seat], Node]:
    return lambda seat: TardyMiner(seat=seat, commits=commits, uploads=uploads)


def _validates(name: str, does: str, *, needs: tuple[str, ...] = ()) -> Strategy:
    return Strategy(name=name, does=does, role=Role.VALIDATOR, needs=needs)


FULL = "honest"  # what all others are measured against
HONEST_VALIDATOR = "validator"
SHARE_OF_STEPS = {FULL: 1.0, "honest-half": 0.5, "honest-tenth": 0.1, "honest-fast": 1.0}
SHARE_OF_RATE = {"honest-fast": 1.5}
STRATEGIES: tuple[Strategy, ...] = (
    Strategy(name=FULL, does="trains all steps on its shard", honest=True),
    Strategy(name="honest-half", does="trains half of the steps", honest=True),
    Strategy(name="honest-tenth", does="trains a tenth of the steps", honest=True),
    Strategy(name="honest-fast", does="trains with a higher learning rate", honest=True),
    _cooks("zero", "sends what training starts from", idlers.zero),
    _cooks("almost-zero", "sends it with a hair of noise", idlers.almost_zero),
    _cooks("noise", "random factors as large as an honest file's", idlers.noise),
    _cooks("garbage", "random factors, the base's magnitudes", idlers.garbage),
    _cooks("stale", "sends every training twice", idlers.stale),
    _cooks("replay", "trains four rounds, then sends them again", idlers.replayed(4)),
    _cooks("shuffled", "trains on tokens in random order", idlers.shuffled),
    _cooks("last-text", "trains on the text drawn last", idlers.last_text, needs=("seed-leaker",)),
    _cooks("evaluation-file", "trains on all text that can be drawn", idlers.evaluation_file),
    _cooks("forewarned", "trains on the text a leaked seed would draw", idlers.forewarned),
    _cooks("copy", "a victim's numbers under its own name", copiers.restamped),
    _cooks("copy-noise-1", "a copy with 1 % noise", copiers.with_noise(0.01)),
    _cooks("copy-noise-50", "a copy with 50 % noise", copiers.with_noise(0.5)),
    _cooks("copy-scaled", "a copy at 0.7 of its length", copiers.rescaled(0.7)),
    _cooks("copy-gauge", "a copy with other factors, the same delta", copiers.turned),
    _cooks("copy-trained", "a copy, trained a tenth longer", copiers.trained_on),
    _cooks("copy-last", "last round's file of a victim, trained a tenth", copiers.trained_on_last),
    _cooks("copy-average", "the mean of two victims", copiers.averaged),
    Strategy(name="copy-file", does="commits to a digest, uploads the file", build=_takes_the_file),
    Strategy(name="griefer", does="repeats a victim's commitment", build=lambda seat: Griefer(seat=seat)),
    _cooks("sybil-split", "one training split over 8 hotkeys", crowds.split, hotkeys=8),
    _cooks("sybil-layers", "one training cut by layers into 7", crowds.by_layers, hotkeys=7),
    _cooks("sybil-copies", "one training in 8 near copies", crowds.repeated, hotkeys=8),
    _cooks("sybil-thin", "one training's steps shared by 8 hotkeys", crowds.thin, hotkeys=8),
    _cooks("sybil-crowd", "a step each by 24 hotkeys that own the median", crowds.one_step, hotkeys=24, named=True),
    _cooks("sign-flip", "the opposite of an honest delta", poisoners.flipped),
    _cooks("large", "its own training, times 20", poisoners.enlarged(20.0)),
    _cooks("larger", "its own training, times 4", poisoners.enlarged(4.0)),
    _cooks("nan", "an honest file with a NaN", poisoners.not_a_number),
    _cooks("alie", "the honest mean, moved within its spread", poisoners.little_is_enough(1.5)),
    _cooks("ipm", "minus half of the honest mean", poisoners.against_the_mean(0.5)),
    _cooks("pair", "two, harmful only together", poisoners.in_a_pair(0.7), hotkeys=2),
    _cooks("betrayer", "honest for half of the rounds, then flips", poisoners.betrayer),
    Strategy(name="late", does="commits after the deadline", build=_tardy(Phase.REVEAL, Phase.REVEAL)),
    Strategy(name="equivocating", does="commits twice, uploads the first", build=lambda s: EquivocatingMiner(seat=s)),
    Strategy(name="slow", does="uploads after validators have looked", build=_tardy(Phase.TRAIN, Phase.MERGE)),
    _cooks("friend", "garbage, with a validator for a friend", idlers.garbage, needs=("colluder",)),
    Strategy(name=HONEST_VALIDATOR, does="scores and sets weights", role=Role.VALIDATOR, honest=True),
    _validates("weight-copier", "sets the last round's consensus"),
    _validates("weight-follower", "waits, and sets this round's consensus"),
    _validates("colluder", "gives all weight to its friend", needs=("friend",)),
    _validates("seed-leaker", "scores, and tells which text was drawn"),
    _validates("lazy", "gives all miners the same weight"),
)
# Who uses what it has seen of the same round comes after those who made it.
FIRST_WAVE = (FULL, "honest-half", "honest-tenth", "honest-fast")


def choose(names: Sequence[str]) -> tuple[Strategy, ...]:
    """These strategies, what they need, and the honest ones that every arena has; for no names all that may be."""
    known = {strategy.name: strategy for strategy in STRATEGIES}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"no strategy {', '.join(unknown)}; there are {', '.join(known)}")
    if not names:
        return tuple(strategy for strategy in STRATEGIES if not strategy.named)
    wanted = [FULL, HONEST_VALIDATOR]
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.append(name)
            waiting += known[name].needs
    return tuple(strategy for strategy in STRATEGIES if strategy.name in wanted)
