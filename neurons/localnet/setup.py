"""From an empty folder to a running network: wallets, Hub, chain, subnet, release 0, one process a neuron."""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from averager.genesis import DEFAULT_SCORING, GenesisPlan
from averager.merge import MERGE_PLANS
from chain.keys import NewWallet, create_wallet, keypair_from_uri, load_coldkey, load_hotkey
from chain.ledger import Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.records import Release, ScoringPlan
from hivetune.settings import HUB_TOKEN_VARIABLE, NodeSettings
from hub.client import HubClient
from hub.server.tokens import mint_token
from neurons.localnet.assets import Say, prepare_base, prepare_documents
from neurons.localnet.chain import SUDO, DemoChain
from neurons.localnet.options import DemoOptions
from neurons.localnet.pace import Pace, Work, estimate, measure_speed
from neurons.localnet.processes import Member, Network, wait_for_line
from neurons.results import RAO
from neurons.subnet import (
    CorpusPlan,
    open_private_chain,
    prepare_corpus,
    publish_release_zero,
    set_epoch_length,
    tune_private_subnet,
)
from neurons.wiring import state_folder

_ENDOWMENT = 5_000 * RAO
_STAKE = 1_000 * RAO
_EVALUATION_SHARE = 0.1
_TEST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Localnet:
    """A running network and how to look at it."""

    network: Network
    ledger: Ledger
    hub: HubClient
    chain: DemoChain
    release: Release
    pace: Pace
    roles: dict[str, str]  # hotkey to role
    names: dict[str, str]  # hotkey to name


def build(options: DemoOptions, network: Network, say: Say) -> Localnet:
    """Everything up to the first round."""
    cache = options.cache.resolve()
    base_folder = prepare_base(options.base, cache, say)
    documents = prepare_documents(options.corpus, cache, say)
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    say(f"cutting {len(documents)} documents into shards")
    corpus_files = prepare_corpus(documents, _corpus_plan(options), folder / "corpus")
    say("measuring this machine")
    pace = _measure(options, base_folder)
    say(f"{pace.tokens_per_s:.0f} tokens/s forward in fp32; training gets {pace.train_s:.0f} s a round")
    say("starting Hub and chain")
    wallets = {name: create_wallet(folder / "wallets", name, password=None, unencrypted=True) for name in options.names}
    hub_url = _start_hub(network, folder)
    chain_url = options.chain_url or _start_chain(network, folder, options.block_seconds)
    chain = DemoChain.at(chain_url)
    with chain.hurried():
        say("creating the subnet and registering everybody")
        chain.endow([wallet.coldkey for wallet in wallets.values()], _ENDOWMENT)
        netuid = _create_subnet(chain_url, folder, options, wallets, pace)
        owner = load_hotkey(folder / "wallets", "averager", "default")
        ledger = Ledger(chain_url, netuid, keypair=owner)
        say("publishing release 0")
        token = mint_token(folder / "hub", "averager")
        owner_hub = HubClient(hub_url, token=token)
        first_block = ledger.next_epoch_block(ledger.head().number + 1) + 1
        release = publish_release_zero(
            owner_hub, ledger, base_folder, corpus_files, _genesis_plan(options, pace, first_block)
        )
    for name, role in options.names.items():
        network.start(_neuron(name, role, options, folder, owner_hub.url, ledger, chain_url))
    return Localnet(
        network=network,
        ledger=ledger,
        hub=owner_hub,
        chain=chain,
        release=release,
        pace=pace,
        roles={wallets[name].hotkey: role for name, role in options.names.items()},
        names={wallets[name].hotkey: name for name in options.names},
    )


def _corpus_plan(options: DemoOptions) -> CorpusPlan:
    return CorpusPlan(
        num_shards=len(options.names),
        layout=options.shards,
        sequence_length=options.sequence_length,
        evaluation_fraction=_EVALUATION_SHARE,
        test_fraction=_TEST_SHARE,
        seed=0,
    )


def _scoring(options: DemoOptions) -> ScoringPlan:
    return DEFAULT_SCORING.model_copy(
        update={
            "score_sequences": options.score_sequences,
            "select_sequences": max(4, options.score_sequences // 3),
            "accept_sequences": options.score_sequences,
            "batch_sequences": 2,
        }
    )


def _measure(options: DemoOptions, base_folder: Path) -> Pace:
    work = Work(
        trainers=options.miners - len(options.cheaters),
        validators=options.validators,
        steps=options.steps,
        tokens_per_step=options.batch_sequences * options.sequence_length,
        scoring=_scoring(options),
        sequence_length=options.sequence_length,
    )
    return estimate(measure_speed(base_folder, options.sequence_length), work, options.block_seconds)


def _genesis_plan(options: DemoOptions, pace: Pace, first_block: int) -> GenesisPlan:
    return GenesisPlan(
        repo="averager/releases",
        data_repo="averager/corpus",
        rank=options.rank,
        alpha=2.0 * options.rank,
        num_shards=len(options.names),
        sequence_length=options.sequence_length,
        rounds=pace.round_plan(first_block),
        scoring=_scoring(options),
        merging=MERGE_PLANS["uniform"],
    )


def _start_hub(network: Network, folder: Path) -> str:
    """Its address; on a port of its own, so that a Hub that is started again keeps it."""
    command = ["neurons.cli", "hub", "serve", "--root", str(folder / "hub"), "--port", str(_free_port())]
    return wait_for_line(network.start(_server("hub", command, folder)), "hub at ")


def _start_chain(network: Network, folder: Path, block_s: float) -> str:
    """Its address, as the Hub's."""
    command = ["neurons.cli", "chain", "serve", "--state", str(folder / "chain.sqlite")]
    command += ["--port", str(_free_port()), "--block-time", str(block_s)]
    return wait_for_line(network.start(_server("chain", command, folder)), "chain at ")


def _server(name: str, command: list[str], folder: Path) -> Member:
    return Member(name=name, command=command, environment={}, log=folder / "logs" / f"{name}.log", heartbeat=None)


def _create_subnet(
    chain_url: str, folder: Path, options: DemoOptions, wallets: dict[str, NewWallet], pace: Pace
) -> int:
    sudo = SubnetAdmin(chain_url, keypair_from_uri(SUDO))
    open_private_chain(sudo)
    admins = {
        name: SubnetAdmin(chain_url, load_coldkey(folder / "wallets", name, password=None)) for name in options.names
    }
    netuid = admins["averager"].register_network(wallets["averager"].hotkey)
    ledger = Ledger(chain_url, netuid)
    tune_private_subnet(sudo, netuid, {})
    set_epoch_length(sudo, ledger, pace.round_plan(0).blocks_per_round)
    ledger.wait_for_block(ledger.head().number + 12, timeout_s=60, poll_s=0.1)
    admins["averager"].start(netuid)
    for name, role in options.names.items():
        if role != "averager":
            admins[name].register(netuid, wallets[name].hotkey)
        if role == "validator":
            admins[name].add_stake(netuid, wallets[name].hotkey, _STAKE)
    for admin in (sudo, *admins.values()):
        admin.close()
    ledger.close()
    return netuid


def _neuron(
    name: str, role: str, options: DemoOptions, folder: Path, hub_url: str, ledger: Ledger, chain_url: str
) -> Member:
    settings = NodeSettings(network=chain_url, netuid=ledger.netuid, hub=hub_url, wallet=name, state=folder / "state")
    honest = options.miners - len(options.cheaters)
    threads = {"miner": honest, "validator": options.validators}.get(role, 1)
    flags = {
        "network": chain_url,
        "netuid": settings.netuid,
        "hub": hub_url,
        "wallet": name,
        "wallet-path": folder / "wallets",
        "state": settings.state,
        "threads": max(1, _cores() // threads),
    }
    if role in ("miner", "free-rider"):
        flags |= {
            "steps": options.steps,
            "batch-sequences": options.batch_sequences,
            "micro-batch-sequences": options.batch_sequences,
            "learning-rate": options.learning_rate,
            "precision": options.precision,
        }
    module = f"neurons.{role}" if role in ("miner", "validator", "averager") else "neurons.localnet.cheat"
    command = [module] + ([role] if role in options.cheaters else [])
    return Member(
        name=name,
        command=[*command, "--allow-unlocked-coldkey", *(f"--{flag}={value}" for flag, value in flags.items())],
        environment={HUB_TOKEN_VARIABLE: mint_token(folder / "hub", name)},
        log=folder / "logs" / f"{name}.log",
        heartbeat=state_folder(settings, role, ledger.genesis_hash()) / "heartbeat.json",
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
