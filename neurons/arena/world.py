"""Where an arena takes place: an embedded chain that makes blocks on demand, an embedded Hub, a subnet on both."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from averager.genesis import DEFAULT_SCORING, GenesisPlan
from averager.merge import MERGE_PLANS
from chain.devnode.server import RunningDevnode, running_devnode
from chain.keys import Keypair, keypair_from_uri
from chain.ledger import Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.corpus import Document, cut_shards, write_corpus
from hivetune.records import Release, RoundPlan
from hub.client import HubClient
from hub.server.app import running_hub
from hub.server.tokens import mint_token
from neurons.arena import text
from neurons.arena.base import SEQUENCE_LENGTH
from neurons.arena.options import ArenaOptions
from neurons.localnet.chain import SUDO
from neurons.results import RAO
from neurons.subnet import open_private_chain, publish_release_zero, set_epoch_length, tune_private_subnet

OWNER = "averager"
WORKERS = 4  # threads that wait for the chain at once
_ENDOWMENT = 10_000 * RAO
_BATCH_SEQUENCES = 8
_RANK = 4
_SHARDS = 16  # each more than a round's training reads, so that nobody is short of text
_EVALUATION_SHARE = 0.45  # so that a round draws one row in a hundred, and what was drawn last says little
_SPARE_BLOCKS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A neuron to be."""

    name: str  # strategy and number
    strategy: str
    stake_rao: int  # 0 for miners

    @property
    def validates(self) -> bool:
        return self.stake_rao > 0


@dataclass(kw_only=True, slots=True)
class World:
    """The endpoints of a running arena and who has a key in it."""

    chain: RunningDevnode
    hub_url: str
    netuid: int
    release: Release
    keys: Mapping[str, Keypair]  # hotkeys by name
    uids: Mapping[str, int]
    tokens: Mapping[str, str]  # of the Hub, by name
    folder: Path
    _open: list[Ledger] = field(default_factory=list)

    def ledger(self, name: str) -> Ledger:
        """A neuron's own client of the chain."""
        opened = Ledger(self.chain.url, self.netuid, keypair=self.keys[name])
        self._open.append(opened)
        return opened

    def hub(self, name: str) -> HubClient:
        return HubClient(self.hub_url, token=self.tokens[name])

    def hotkey(self, name: str) -> str:
        return str(self.keys[name].ss58_address)

    def advance(self, block: int) -> None:
        """Time passes until a block; it never goes back."""
        missing = block - self._open[0].head().number
        if missing > 0:
            self.chain.new_blocks(missing)

    def close(self) -> None:
        for ledger in self._open:
            ledger.close()


@contextmanager
def open_world(places: Sequence[Place], options: ArenaOptions, base: Path, folder: Path) -> Iterator[World]:
    """From nothing to a release that everybody can train on, with everybody registered."""
    seed, names = options.seed, [OWNER, *(place.name for place in places)]
    coldkeys = {name: keypair_from_uri(f"//arena//{seed}//{name}") for name in names}
    endow = {str(key.ss58_address): _ENDOWMENT for key in coldkeys.values()}
    with (
        running_devnode(folder / "chain.sqlite", endow=endow, instant=True) as chain,
        running_hub(folder / "hub") as hub,
    ):
        hotkeys = {name: keypair_from_uri(f"//arena//{seed}//{name}//hot") for name in names}
        netuid = _make_subnet(chain, places, coldkeys, hotkeys)
        ledger = Ledger(chain.url, netuid, keypair=hotkeys[OWNER])
        tokens = {name: mint_token(hub.root, name) for name in names}
        release = _publish(ledger, HubClient(hub.url, token=tokens[OWNER]), options, base, folder)
        uids = {neuron.hotkey: neuron.uid for neuron in ledger.metagraph().neurons}
        world = World(
            chain=chain,
            hub_url=hub.url,
            netuid=netuid,
            release=release,
            keys=hotkeys,
            uids={name: uids[str(hotkeys[name].ss58_address)] for name in names},
            tokens=tokens,
            folder=folder,
            _open=[ledger],
        )
        try:
            yield world
        finally:
            world.close()


def _make_subnet(
    chain: RunningDevnode, places: Sequence[Place], coldkeys: Mapping[str, Keypair], hotkeys: Mapping[str, Keypair]
) -> int:
    sudo, owner = SubnetAdmin(chain.url, keypair_from_uri(SUDO)), SubnetAdmin(chain.url, coldkeys[OWNER])
    open_private_chain(sudo)
    netuid = owner.register_network(str(hotkeys[OWNER].ss58_address))
    validators = sum(place.validates for place in places)
    limits = {"max_registrations_per_block": 256, "target_registrations_per_interval": 256}
    # Else miners that have earned enough would get permits, and their stake would speak against everybody.
    tune_private_subnet(sudo, netuid, {**limits, "max_allowed_validators": validators})
    ledger = Ledger(chain.url, netuid)
    set_epoch_length(sudo, ledger, _blocks_per_round(len(places)))
    chain.new_blocks(_SPARE_BLOCKS)
    owner.start(netuid)

    def register(place: Place) -> None:
        admin, hotkey = SubnetAdmin(chain.url, coldkeys[place.name]), str(hotkeys[place.name].ss58_address)
        admin.register(netuid, hotkey)
        if place.validates:
            admin.add_stake(netuid, hotkey, place.stake_rao)
        admin.close()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(register, places))
    for one in (sudo, owner, ledger):
        one.close()
    return netuid


def _blocks_per_round(places: int) -> int:
    """Every call may take a block of its own: two commitments and an upload's pointer, and room beside them."""
    return 5 * places + 60


def _publish(ledger: Ledger, hub: HubClient, options: ArenaOptions, base: Path, folder: Path) -> Release:
    corpus = cut_shards(
        miners_documents(options.seed, options.documents),
        num_shards=_SHARDS,
        layout="mixed",
        evaluation_fraction=_EVALUATION_SHARE,
        test_fraction=0.02,
        chunk_chars=SEQUENCE_LENGTH,
        min_chars_per_shard=8 * SEQUENCE_LENGTH,
        seed=options.seed,
    )
    first_epoch = ledger.next_epoch_block(ledger.head().number + _SPARE_BLOCKS)
    blocks = ledger.next_epoch_block(first_epoch) - first_epoch
    plan = GenesisPlan(
        repo=f"{OWNER}/releases",
        data_repo=f"{OWNER}/corpus",
        rank=_RANK,
        alpha=2.0 * _RANK,
        num_shards=_SHARDS,
        sequence_length=SEQUENCE_LENGTH,
        rounds=RoundPlan(
            first_block=first_epoch + 1,
            blocks_per_round=blocks,
            deadline=blocks // 2,
            reveal_end=blocks // 2 + 12,
            score_end=blocks - 12,
        ),
        scoring=DEFAULT_SCORING.model_copy(
            update={"score_sequences": options.score_sequences, "batch_sequences": _BATCH_SEQUENCES}
        ),
        merging=MERGE_PLANS["uniform"],
    )
    return publish_release_zero(hub, ledger, base, write_corpus(corpus, folder / "corpus"), plan)


def miners_documents(seed: int, count: int) -> list[Document]:
    """The text of the subnet: of each language that the base hardly knows."""
    languages = text.make_languages(text.DOMAINS, seed)[text.KNOWN_DOMAINS :]
    return [document for language in languages for document in text.write_documents(language, count, seed + 1)]
