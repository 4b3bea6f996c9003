"""What `hivetune subnet create|register|status` do."""

import os
from collections.abc import Callable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from averager.genesis import DEFAULT_SCORING, GenesisPlan, check_evaluation_text
from chain.keys import Keypair, keypair_from_uri, load_coldkey, load_hotkey
from chain.ledger import Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.commitments import ReleasePointer
from hivetune.errors import ConfigError
from hivetune.records import ScoringPlan
from hivetune.rounds import round_at
from hub.client import HubClient
from neurons.localnet.assets import prepare_base, prepare_documents
from neurons.observer import Observer
from neurons.results import RAO
from neurons.subnet import (
    CorpusPlan,
    open_private_chain,
    plan_rounds,
    prepare_corpus,
    publish_release_zero,
    tune_private_subnet,
    wait_until_startable,
)
from neurons.subnet_options import SubnetOptions
from neurons.wiring import hub_token

PASSWORD_VARIABLE = "BT_WALLET_PASSWORD"
_START_TIMEOUT_S = 600.0
_PHASES = {"deadline": 0.55, "reveal_end": 0.65, "score_end": 0.9}  # shares of a round
_EVALUATION_SHARE = 0.1
_TEST_SHARE = 0.05


def create(options: SubnetOptions, say: Callable[[str], None]) -> None:
    """Create a subnet; all that can fail on the user's side is checked before the chain burns anything."""
    if options.tempo is not None and not options.sudo:
        raise ConfigError("--tempo needs --sudo: on a public chain the tempo is the chain's to set")
    root = options.wallet_path.expanduser()
    owner = load_hotkey(root, options.wallet, options.hotkey)
    admin = SubnetAdmin(options.chain, read_coldkey(root, options.wallet))
    hub = HubClient(options.hub, token=hub_token())
    account = hub.whoami()
    base_folder = prepare_base(options.base, options.cache, say)
    documents = prepare_documents(options.corpus, options.cache, say)
    corpus_files = prepare_corpus(documents, _corpus_plan(options), options.cache / "corpora" / options.wallet)
    scoring = _scoring(options)
    check_evaluation_text(corpus_files, scoring)
    netuid = _create_on_chain(options, admin, str(owner.ss58_address), say)
    ledger = Ledger(options.chain, netuid, keypair=owner)
    say("waiting until the chain lets it start")
    wait_until_startable(ledger, ledger.head().number, timeout_s=_START_TIMEOUT_S)
    admin.start(netuid)
    plan = GenesisPlan(
        repo=options.repo or f"{account}/releases",
        data_repo=f"{account}/corpus",
        rank=options.rank,
        alpha=2.0 * options.rank,
        num_shards=options.num_shards,
        sequence_length=options.sequence_length,
        rounds=plan_rounds(ledger, **_PHASES),
        scoring=scoring,
    )
    release = publish_release_zero(hub, ledger, base_folder, corpus_files, plan)
    say(f"release 0 is out; round 0 starts with block {release.rounds.first_block}")


def _create_on_chain(options: SubnetOptions, admin: SubnetAdmin, owner: str, say: Callable[[str], None]) -> int:
    sudo = SubnetAdmin(options.chain, keypair_from_uri(options.sudo)) if options.sudo else None
    if sudo is not None:
        open_private_chain(sudo)
    netuid = admin.register_network(owner)
    say(f"created subnet {netuid}")
    if sudo is not None:
        tune_private_subnet(sudo, netuid, {} if options.tempo is None else {"tempo": options.tempo})
    return netuid


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


def register(
    chain: str, netuid: int, wallet: str, hotkey: str, wallet_path: Path, stake: float, say: Callable[[str], None]
) -> None:
    """Register a hotkey and, for a validator, stake on it."""
    key = load_hotkey(wallet_path, wallet, hotkey)
    admin = SubnetAdmin(chain, read_coldkey(wallet_path, wallet))
    ledger = Ledger(chain, netuid)
    address = str(key.ss58_address)
    if ledger.metagraph().by_hotkey(address) is None:
        admin.register(netuid, address)
    if stake > 0:
        admin.add_stake(netuid, address, round(stake * RAO))
    neuron = ledger.metagraph().by_hotkey(address)
    if neuron is None:
        raise ConfigError(f"hotkey {address} did not get a place on subnet {netuid}")
    say(f"hotkey {address} is uid {neuron.uid} with stake {neuron.stake_rao / RAO:.2f}")


def status(chain: str, netuid: int, hub_url: str | None) -> None:
    """Print a subnet's block, release and neurons."""
    ledger = Ledger(chain, netuid)
    metagraph = ledger.metagraph()
    observer = Observer(ledger=ledger, hub=HubClient(hub_url) if hub_url else None)
    pointer = observer.pointers().get(metagraph.owner_hotkey)
    release = f"release {pointer.number} in {pointer.repo}" if isinstance(pointer, ReleasePointer) else "no release"
    console = Console()
    console.print(
        f"subnet {netuid} at block {metagraph.head.number}: {release}, tempo {metagraph.tempo}, "
        f"next payout in block {ledger.next_epoch_block(metagraph.head.number)}",
        highlight=False,
        soft_wrap=True,
    )
    if hub_url:
        now = round_at(observer.release().rounds, metagraph.head.number)
        where = f"round {now.round_id}, {now.phase(metagraph.head.number)}" if now else "before round 0"
        console.print(where, highlight=False)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("uid", "stake", "permit", "updated"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("hotkey", no_wrap=True)
    for neuron in metagraph.neurons:
        table.add_row(
            str(neuron.uid),
            f"{neuron.stake_rao / RAO:.0f}",
            "yes" if neuron.permit else "",
            str(neuron.last_update),
            neuron.hotkey,
        )
    console.print(table)


def read_coldkey(wallet_path: Path, wallet: str) -> Keypair:
    """The coldkey, with the password from the environment when the file is encrypted."""
    return load_coldkey(wallet_path, wallet, password=os.environ.get(PASSWORD_VARIABLE))
