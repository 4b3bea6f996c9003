"""Setting a subnet up: on the chain with coldkeys, then release 0 with the owner's hotkey."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from averager.genesis import GenesisPlan, publish_genesis
from chain.hyperparameters import read_all
from chain.ledger import Ledger
from chain.subnet_admin import SubnetAdmin
from hivetune.corpus import Document, Layout, cut_shards, write_corpus
from hivetune.errors import ConfigError
from hivetune.records import Release, RoundPlan
from hivetune.rounds import check_plan
from hub.client import HubClient

COMMIT_REVEAL = "commit_reveal_weights_enabled"
# What a small private chain needs: no waiting between registrations or weights. Only its sudo key may set them.
PRIVATE_CHAIN = {
    "network_rate_limit": 0,
    "stake_threshold": 0,
    "admin_freeze_window": 0,
    "owner_hparam_rate_limit": 0,
}
PRIVATE_SUBNET = {
    "weights_set_rate_limit": 0,
    "max_registrations_per_block": 64,
    "target_registrations_per_interval": 64,
    "min_allowed_weights": 1,
    COMMIT_REVEAL: False,
}
# Characters a token: 2.5 at least in English text with any usual tokenizer, so a chunk fills its sequence.
_CHARS_PER_TOKEN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusPlan:
    """How text becomes shards and evaluation rows."""

    num_shards: int
    layout: Layout
    sequence_length: int
    evaluation_fraction: float
    test_fraction: float
    seed: int


def open_private_chain(sudo: SubnetAdmin) -> None:
    """Lift the waiting times of a chain whose sudo key we hold; older runtimes lack some of them."""
    for name, value in PRIVATE_CHAIN.items():
        if sudo.has_setter(name):
            sudo.sudo_set(0, name, value)


def tune_private_subnet(sudo: SubnetAdmin, netuid: int, values: Mapping[str, int]) -> None:
    """Set a subnet's hyperparameters with the chain's sudo key."""
    for name, value in {**PRIVATE_SUBNET, **values}.items():
        sudo.sudo_set(netuid, name, value)


def set_epoch_length(sudo: SubnetAdmin, ledger: Ledger, blocks: int) -> None:
    """Older runtimes take a block more than the tempo from one epoch to the next, newer ones exactly the tempo."""
    sudo.sudo_set(ledger.netuid, "tempo", blocks)
    first = ledger.next_epoch_block(ledger.head().number)
    surplus = ledger.next_epoch_block(first) - first - blocks
    if surplus:
        sudo.sudo_set(ledger.netuid, "tempo", blocks - surplus)


def turn_commit_reveal_off(owner: SubnetAdmin, netuid: int) -> bool:
    """Whether it was on. Hidden weights come to light in a later round; the averager merges by those of the same."""
    at = owner.quorum.head().hash
    found = owner.quorum.agree(lambda interface: read_all(interface, netuid, at))
    if not any(one.name == COMMIT_REVEAL and one.value is True for one in found):
        return False
    owner.set_hyperparameter(netuid, COMMIT_REVEAL, "false")
    return True


def plan_rounds(
    ledger: Ledger, *, deadline: float, reveal_end: float, score_end: float, not_before: int = 0
) -> RoundPlan:
    """Rounds of one epoch each, ending with it, with phases at shares of a round; starts after the next epoch."""
    first_epoch = ledger.next_epoch_block(max(ledger.head().number, not_before))
    blocks = ledger.next_epoch_block(first_epoch) - first_epoch
    plan = RoundPlan(
        first_block=first_epoch + 1,
        blocks_per_round=blocks,
        deadline=int(blocks * deadline),
        reveal_end=int(blocks * reveal_end),
        score_end=int(blocks * score_end),
    )
    try:
        check_plan(plan)
    except ValueError as error:
        raise ConfigError(f"{error}: set a longer tempo or other shares") from None
    return plan


def prepare_corpus(documents: list[Document], plan: CorpusPlan, folder: Path) -> dict[str, Path]:
    """Cut documents into the three files of a data set repository."""
    corpus = cut_shards(
        documents,
        num_shards=plan.num_shards,
        layout=plan.layout,
        evaluation_fraction=plan.evaluation_fraction,
        test_fraction=plan.test_fraction,
        chunk_chars=plan.sequence_length * _CHARS_PER_TOKEN,
        min_chars_per_shard=4 * plan.sequence_length * _CHARS_PER_TOKEN,
        seed=plan.seed,
    )
    return write_corpus(corpus, folder)


def publish_release_zero(
    hub: HubClient, ledger: Ledger, base_folder: Path, corpus_files: dict[str, Path], plan: GenesisPlan
) -> Release:
    """Upload everything and point the chain at it."""
    with TemporaryDirectory(prefix="hivetune-") as work:
        return publish_genesis(hub, ledger, base_folder, corpus_files, plan, Path(work))
