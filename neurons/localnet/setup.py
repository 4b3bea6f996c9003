"""From an empty folder to a running network: wallets, Hub, chain, subnet, release 0, one process a neuron."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from averager.genesis import DEFAULT_SCORING, GenesisPlan
from chain.devnode.server import RunningDevnode
from chain.keys import Addresses, create_wallet, keypair_from_uri, load_coldkey, load_hotkey
from chain.ledger import Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.records import Release, ScoringPlan
from hivetune.settings import HUB_TOKEN_VARIABLE, NodeSettings
from hub.client import HubClient
from hub.server.tokens import mint_token
from neurons.localnet.assets import Say, prepare_base, prepare_documents
from neurons.localnet.options import DemoOptions
from neurons.localnet.pace import BLOCK_S, Pace, Work, estimate, measure_speed
from neurons.localnet.processes import Member, Network, wait_for_line
from neurons.results import RAO
from neurons.subnet import CorpusPlan, open_private_chain, prepare_corpus, publish_release_zero, tune_private_subnet
from neurons.wiring import state_folder

SUDO = "//Alice"  # the sudo key of a fresh embedded chain
_ENDOWMENT = 100_000 * RAO
_STAKE = 1_000 * RAO
_EVALUATION_SHARE = 0.1
_TEST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Localnet:
    """A running network and how to look at it."""

    network: Network
    ledger: Ledger
    hub: HubClient
    chain: RunningDevnode
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
    hub_url, chain_url = _start_servers(network, folder, wallets)
    chain = RunningDevnode(url=chain_url)
    with _fast_blocks(chain):
        say("creating the subnet and registering everybody")
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
    return estimate(measure_speed(base_folder, options.sequence_length), work)


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
    )


def _start_servers(network: Network, folder: Path, wallets: dict[str, Addresses]) -> tuple[str, str]:
    """Addresses of Hub and chain; on ports of their own, so that a server that is started again keeps its address."""
    endow = [f"--endow={wallet.coldkey}={_ENDOWMENT // RAO}" for wallet in wallets.values()]
    hub_port, chain_port = _free_ports(2)
    servers = {
        "hub": ["neurons.cli", "hub", "serve", "--root", str(folder / "hub"), "--port", str(hub_port)],
        "chain": [
            "neurons.cli", "chain", "serve", "--state", str(folder / "chain.sqlite"), "--port", str(chain_port),
            "--block-time", str(BLOCK_S), *endow,
        ],
    }  # fmt: skip
    members = {
        name: network.start(
            Member(name=name, command=command, environment={}, log=folder / "logs" / f"{name}.log", heartbeat=None)
        )
        for name, command in servers.items()
    }
    return wait_for_line(members["hub"], "hub at "), wait_for_line(members["chain"], "chain at ")


def _create_subnet(
    chain_url: str, folder: Path, options: DemoOptions, wallets: dict[str, Addresses], pace: Pace
) -> int:
    sudo = SubnetAdmin(chain_url, keypair_from_uri(SUDO))
    open_private_chain(sudo)
    admins = {
        name: SubnetAdmin(chain_url, load_coldkey(folder / "wallets", name, password=None)) for name in options.names
    }
    netuid = admins["averager"].register_network(wallets["averager"].hotkey)
    tune_private_subnet(sudo, netuid, {"tempo": pace.round_plan(0).blocks_per_round - 1})
    ledger = Ledger(chain_url, netuid)
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
    settings = NodeSettings(chain=chain_url, netuid=ledger.netuid, hub=hub_url, wallet=name, state=folder / "state")
    honest = options.miners - len(options.cheaters)
    threads = {"miner": honest, "validator": options.validators}.get(role, 1)
    flags = {
        "chain": chain_url,
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
        command=[*command, *(f"--{flag}={value}" for flag, value in flags.items())],
        environment={HUB_TOKEN_VARIABLE: mint_token(folder / "hub", name)},
        log=folder / "logs" / f"{name}.log",
        heartbeat=state_folder(settings, role, ledger.genesis_hash()) / "heartbeat.json",
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _fast_blocks(chain: RunningDevnode) -> Iterator[None]:
    """Seal a block as often as possible while transactions are sent one by one."""
    done = threading.Event()

    def seal() -> None:
        while not done.wait(0.05):
            chain.new_blocks(1)

    thread = threading.Thread(target=seal, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
