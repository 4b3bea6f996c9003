"""What `hivetune subnet create|register|start|set` do: the commands that a coldkey signs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from averager.genesis import DEFAULT_SCORING, GenesisPlan, check_evaluation_text
from averager.merge import MERGE_PLANS
from chain.accounts import Start, check_affordable, format_tao, read_admission, read_balance, read_start
from chain.keys import Keypair, hotkey_address, keypair_from_uri, load_hotkey
from chain.ledger import Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.errors import ConfigError, RetryableError
from hivetune.records import ScoringPlan
from hivetune.settings import SubnetSettings
from hub.client import HubClient
from neurons.amounts import parse_rao
from neurons.localnet.assets import prepare_base, prepare_documents
from neurons.output import say_aside, show
from neurons.passwords import unlock_coldkey
from neurons.subnet import (
    COMMIT_REVEAL,
    CorpusPlan,
    open_private_chain,
    plan_rounds,
    prepare_corpus,
    publish_release_zero,
    tune_private_subnet,
    turn_commit_reveal_off,
)
from neurons.subnet_options import RegisterOptions, SetOptions, StartOptions, SubnetOptions
from neurons.wiring import hub_token

_LONGEST_WAIT_BLOCKS = 50  # for the start; public chains want days
_START_TIMEOUT_S = 900.0
_PHASES = {"deadline": 0.55, "reveal_end": 0.65, "score_end": 0.9}  # shares of a round
_EVALUATION_SHARE = 0.1
_TEST_SHARE = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """A new subnet, as JSON shows it."""

    netuid: int
    owner_hotkey: str
    release_repo: str
    first_block: int  # of round 0
    started: bool
    start_block: int  # in which it was started, or the first in which it can be
    commit_reveal: bool  # still on, which delays releases: weights come to light a round late


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A neuron, as JSON shows it."""

    netuid: int
    hotkey: str
    uid: int
    paid_rao: int  # 0 when it was registered already
    stake_rao: int


def create(options: SubnetOptions) -> None:
    """Create a subnet; all that can fail on the user's side is checked before the chain burns anything."""
    if options.tempo is not None and not options.sudo:
        raise ConfigError("--tempo needs --sudo: on a public chain the tempo is the chain's to set")
    root = options.wallet_path.expanduser()
    owner = load_hotkey(root, options.wallet, options.wallet_hotkey)
    hub = HubClient(options.hub, token=hub_token())
    account = hub.whoami()
    base_folder = prepare_base(options.base, options.cache, say_aside)
    documents = prepare_documents(options.corpus, options.cache, say_aside)
    corpus_files = prepare_corpus(documents, _corpus_plan(options), options.cache / "corpora" / options.wallet)
    scoring = _scoring(options)
    check_evaluation_text(corpus_files, scoring)
    with _admin(options, unlock_coldkey(root, options.wallet)) as admin:
        netuid = _create_on_chain(options, admin, str(owner.ss58_address))
        hidden = _show_weights(admin, netuid)
        ledger = Ledger(options.network, netuid, keypair=owner, genesis_hash=options.genesis_hash)
        start = _start_if_soon(admin, ledger, netuid)
    plan = GenesisPlan(
        repo=options.repo or f"{account}/releases",
        data_repo=f"{account}/corpus",
        rank=options.rank,
        alpha=2.0 * options.rank,
        num_shards=options.num_shards,
        sequence_length=options.sequence_length,
        rounds=plan_rounds(ledger, **_PHASES, not_before=start.block),
        scoring=scoring,
        merging=MERGE_PLANS[options.merge],
    )
    release = publish_release_zero(hub, ledger, base_folder, corpus_files, plan)
    created = Created(
        netuid=netuid,
        owner_hotkey=ledger.hotkey,
        release_repo=plan.repo,
        first_block=release.rounds.first_block,
        started=start.started,
        start_block=start.block,
        commit_reveal=hidden,
    )
    show(created, lambda: _created_lines(created), as_json=options.as_json)


def register(options: RegisterOptions) -> None:
    """Register a hotkey and, for a validator, stake on it."""
    root = options.wallet_path.expanduser()
    stake_rao = parse_rao(options.stake, "TAO to stake")
    limit = parse_rao(options.max_burn, "highest price") if options.max_burn else None
    hotkey = hotkey_address(root, options.wallet, options.wallet_hotkey)
    ledger = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash)
    present = ledger.metagraph().by_hotkey(hotkey) is not None
    paid = 0
    if not present or stake_rao > 0:
        with _admin(options, unlock_coldkey(root, options.wallet)) as admin:
            paid = 0 if present else _price(admin, options.netuid, limit)
            deposit = read_admission(admin.quorum, options.netuid).existential_deposit_rao
            what = "registration costs" if not stake_rao else "registration and stake take"
            check_affordable(what, paid + stake_rao, read_balance(admin.quorum, admin.coldkey), deposit)
            if not present:
                admin.register(options.netuid, hotkey, max_price_rao=limit)
            if stake_rao > 0:
                admin.add_stake(options.netuid, hotkey, stake_rao)
    _show_registered(options, ledger, hotkey, paid)


def _price(admin: SubnetAdmin, netuid: int, limit_rao: int | None) -> int:
    """What a registration costs now; ConfigError when it is closed or too dear."""
    admission = read_admission(admin.quorum, netuid)
    if not admission.allowed:
        raise ConfigError(f"subnet {netuid} takes no registrations")
    if limit_rao is not None and admission.price_rao > limit_rao:
        price, limit = format_tao(admission.price_rao), format_tao(limit_rao)
        raise ConfigError(f"registration costs {price} TAO, above the limit of {limit} TAO")
    return admission.price_rao


def _show_registered(options: RegisterOptions, ledger: Ledger, hotkey: str, paid_rao: int) -> None:
    neuron = ledger.metagraph().by_hotkey(hotkey)
    if neuron is None:
        raise ConfigError(f"hotkey {hotkey} did not get a place on subnet {options.netuid}")
    found = Registered(
        netuid=options.netuid, hotkey=hotkey, uid=neuron.uid, paid_rao=paid_rao, stake_rao=neuron.stake_rao
    )
    price = f"for {format_tao(paid_rao)} TAO" if paid_rao else "it was registered already"
    lines = [
        f"hotkey {hotkey}",
        f"uid {found.uid} on subnet {found.netuid}, {price}, stake {format_tao(found.stake_rao)}",
    ]
    show(found, lambda: lines, as_json=options.as_json)


def start(options: StartOptions) -> None:
    """Let a subnet's emission and staking begin."""
    with _admin(options, unlock_coldkey(options.wallet_path.expanduser(), options.wallet)) as admin:
        found = read_start(admin.quorum, options.netuid)
        head = admin.quorum.head().number
        if found.started:
            raise ConfigError(f"subnet {options.netuid} has been started already")
        if head + 1 < found.block:
            raise ConfigError(f"subnet {options.netuid} can be started from block {found.block} on, this is {head}")
        block = admin.start(options.netuid).block
    record = {"netuid": options.netuid, "block": block}
    show(record, lambda: f"subnet {options.netuid} started in block {block}", as_json=options.as_json)


def set_value(options: SetOptions) -> None:
    """Set a hyperparameter and show what the chain made of it."""
    if options.sudo:
        keypair = keypair_from_uri(options.sudo)
    elif options.wallet:
        keypair = unlock_coldkey(options.wallet_path.expanduser(), options.wallet)
    else:
        raise ConfigError("who sets it? give --wallet, the subnet owner's, or --sudo on a private chain")
    with _admin(options, keypair) as admin:
        change = admin.set_hyperparameter(options.netuid, options.name, options.value)
    record = {
        "netuid": options.netuid,
        "name": options.name,
        "before": change.before.value,
        "after": change.after.value,
        "block": change.block,
    }
    text = f"{options.name}: {change.before.value} -> {change.after.value} in block {change.block}"
    show(record, lambda: text, as_json=options.as_json)


@contextmanager
def _admin(options: SubnetSettings | SubnetOptions, keypair: Keypair) -> Iterator[SubnetAdmin]:
    admin = SubnetAdmin(options.network, keypair, genesis_hash=options.genesis_hash)
    try:
        yield admin
    finally:
        admin.close()


def _create_on_chain(options: SubnetOptions, admin: SubnetAdmin, owner: str) -> int:
    if not options.sudo:
        netuid = admin.register_network(owner)
    else:
        with _admin(options, keypair_from_uri(options.sudo)) as sudo:
            open_private_chain(sudo)
            netuid = admin.register_network(owner)
            tune_private_subnet(sudo, netuid, {} if options.tempo is None else {"tempo": options.tempo})
    say_aside(f"created subnet {netuid}")
    return netuid


def _show_weights(admin: SubnetAdmin, netuid: int) -> bool:
    """Turns commit-reveal off; whether it is still on. By now the subnet is paid for, so a refusal ends nothing."""
    try:
        if turn_commit_reveal_off(admin, netuid):
            say_aside("turned commit-reveal of weights off: the averager merges by the weights of the same round")
    except RetryableError as error:
        say_aside(f"commit-reveal of weights is still on ({error}): `hivetune subnet set {COMMIT_REVEAL} false`")
        return True
    return False


def _start_if_soon(admin: SubnetAdmin, ledger: Ledger, netuid: int) -> Start:
    """Starts the subnet once the chain lets it, unless that takes days: then it is left to `hivetune subnet start`."""
    found = read_start(admin.quorum, netuid)
    head = ledger.head().number
    if found.started or found.block - head > _LONGEST_WAIT_BLOCKS:
        return found
    say_aside(f"waiting for block {found.block}, from which the chain lets it start")
    ledger.wait_for_block(found.block, timeout_s=_START_TIMEOUT_S, poll_s=0.2)
    return Start(block=admin.start(netuid).block, started=True)


def _created_lines(created: Created) -> list[str]:
    lines = [f"subnet {created.netuid}: release 0 is out; round 0 starts with block {created.first_block}"]
    if not created.started:
        lines.append(f"it can be started from block {created.start_block} on: `hivetune subnet start`")
    return lines


def _corpus_plan(options: SubnetOptions) -> CorpusPlan:
    return CorpusPlan(
        num_shards=options.num_shards,
        layout=options.shards,
        sequence_length=options.sequence_length,
        evaluation_fraction=_EVALUATION_SHARE,
        test_fraction=_TEST_SHARE,
        seed=0,
    )


def _scoring(options: SubnetOptions) -> ScoringPlan:
    drawn = options.score_sequences
    return DEFAULT_SCORING.model_copy(update={"score_sequences": drawn, "accept_sequences": drawn})
