"""What `hivetune subnet status|metagraph|hyperparams` show."""

from dataclasses import dataclass

from rich.console import RenderableType

from chain.accounts import format_tao
from chain.hyperparameters import Hyperparameter, Setter, read_all
from chain.ledger import Ledger, Metagraph
from chain.quorum import Quorum
from hivetune.commitments import ReleasePointer
from hivetune.rounds import round_at
from hub.client import HubClient
from neurons.observer import Observer
from neurons.output import make_table, show
from neurons.results import RAO
from neurons.subnet_options import StatusOptions, ViewOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class NeuronView:
    """A neuron as JSON shows it: shares are 0..1, amounts are rao of the subnet's alpha, times are block numbers."""

    uid: int
    hotkey: str
    coldkey: str
    stake_rao: int
    permit: bool
    active: bool
    trust: float  # of a validator: the share of its weights that consensus kept
    consensus: float
    incentive: float
    dividends: float
    emission_rao: int  # of the last epoch
    last_update: int
    registered_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SubnetView:
    """A metagraph as JSON shows it."""

    netuid: int
    block: int
    block_hash: str
    owner_hotkey: str
    tempo: int
    neurons: tuple[NeuronView, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundView:
    """A round and its phase."""

    id: int
    phase: str
    last_block: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusView:
    """A subnet's state as JSON shows it; release and round are null before the first ones, the round without --hub."""

    netuid: int
    block: int
    tempo: int
    next_payout_block: int
    release: int | None
    release_repo: str | None
    round: RoundView | None
    neurons: tuple[NeuronView, ...]


def status(options: StatusOptions) -> None:
    """A subnet's block, release, round and neurons."""
    ledger = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash)
    metagraph = ledger.metagraph()
    observer = Observer(ledger=ledger, hub=HubClient(options.hub) if options.hub else None)
    pointer = observer.pointers().get(metagraph.owner_hotkey)
    released = pointer if isinstance(pointer, ReleasePointer) else None
    now = round_at(observer.release().rounds, metagraph.head.number) if options.hub else None
    view = StatusView(
        netuid=options.netuid,
        block=metagraph.head.number,
        tempo=metagraph.tempo,
        next_payout_block=ledger.next_epoch_block(metagraph.head.number),
        release=released.number if released else None,
        release_repo=released.repo if released else None,
        round=RoundView(id=now.round_id, phase=now.phase(metagraph.head.number), last_block=now.last_block)
        if now
        else None,
        neurons=neurons_of(metagraph),
    )
    show(view, lambda: _status_parts(view, with_round=bool(options.hub)), as_json=options.as_json)


def metagraph(options: ViewOptions) -> None:
    """Everything the chain knows of the neurons."""
    found = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash).metagraph()
    view = SubnetView(
        netuid=found.netuid,
        block=found.head.number,
        block_hash=found.head.hash,
        owner_hotkey=found.owner_hotkey,
        tempo=found.tempo,
        neurons=neurons_of(found),
    )
    show(view, lambda: _metagraph_parts(view), as_json=options.as_json)


def hyperparams(options: ViewOptions) -> None:
    """All values of a subnet, and who may set them."""
    quorum = Quorum(options.network, genesis_hash=options.genesis_hash)
    try:
        at = quorum.head().hash
        found = quorum.agree(lambda interface: read_all(interface, options.netuid, at))
    finally:
        quorum.close()
    show(found, lambda: _hyperparameter_parts(found), as_json=options.as_json)


def neurons_of(found: Metagraph) -> tuple[NeuronView, ...]:
    """What is shown of the neurons."""
    return tuple(
        NeuronView(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            coldkey=neuron.coldkey,
            stake_rao=neuron.stake_rao,
            permit=neuron.permit,
            active=neuron.active,
            trust=neuron.validator_trust,
            consensus=neuron.consensus,
            incentive=neuron.incentive,
            dividends=neuron.dividends,
            emission_rao=neuron.emission_rao,
            last_update=neuron.last_update,
            registered_at=neuron.registered_at,
        )
        for neuron in found.neurons
    )


def short_amount(rao: int) -> str:
    """Five characters or so, for a column."""
    tokens = rao / RAO
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if tokens >= size:
            return f"{tokens / (1e3 if letter == 'k' else size):.1f}{letter}"
    return f"{tokens:.1f}"


def _status_parts(view: StatusView, *, with_round: bool) -> list[RenderableType]:
    release = "no release" if view.release is None else f"release {view.release} in {view.release_repo}"
    head: list[RenderableType] = [
        f"subnet {view.netuid} at block {view.block}: {release}",
        f"tempo {view.tempo}, next payout in block {view.next_payout_block}",
    ]
    if with_round:
        now = view.round
        head.append(f"round {now.id}, {now.phase}, until block {now.last_block}" if now else "before round 0")
    rows = [
        (
            str(one.uid),
            short_amount(one.stake_rao),
            "yes" if one.permit else "",
            str(one.last_update),
            one.hotkey,
        )
        for one in view.neurons
    ]
    columns = ("uid", "stake", "permit", "updated", "hotkey")
    return [*head, make_table(columns, rows, right=("uid", "stake", "updated"))]


def _metagraph_parts(view: SubnetView) -> list[RenderableType]:
    rows = [
        (
            str(one.uid),
            one.hotkey[:8],
            short_amount(one.stake_rao),
            "yes" if one.permit else "",
            *(f"{share:.3f}" for share in (one.trust, one.consensus, one.incentive, one.dividends)),
            short_amount(one.emission_rao),
            str(one.last_update),
        )
        for one in view.neurons
    ]
    numbers = ("trust", "cons.", "inc.", "div.", "emis.", "updated")
    return [
        f"subnet {view.netuid} at block {view.block}, tempo {view.tempo}, owner {view.owner_hotkey[:8]}",
        make_table(("uid", "hotkey", "stake", "perm", *numbers), rows, right=("uid", "stake", *numbers)),
    ]


def _hyperparameter_parts(found: tuple[Hyperparameter, ...]) -> list[RenderableType]:
    rows = [(one.name, _text(one), one.unit, one.setter) for one in found]
    return [
        make_table(("name", "value", "unit", "set by"), rows, right=("value",)),
        f"{Setter.OWNER}: the subnet's owner, by `hivetune subnet set`; {Setter.ROOT}: the chain's sudo key",
    ]


def _text(one: Hyperparameter) -> str:
    if one.unit == "rao" and isinstance(one.value, int):
        return f"{one.value} = {format_tao(one.value)} TAO"
    if isinstance(one.value, tuple):
        return ",".join(map(str, one.value))
    return str(one.value).lower() if isinstance(one.value, bool) else str(one.value)
