"""`hivetune rewards`: what the chain pays to whom, and the validators' reasons."""

import time
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from chain.ledger import Ledger, Neuron
from hivetune.errors import ConfigError
from hivetune.printable import printable
from hivetune.records import Entry
from hivetune.rounds import round_by_id
from hub.client import HubClient
from neurons.daemon import stopped_by_signals
from neurons.observer import Observer, earned_rao
from neurons.output import show
from neurons.results import RAO
from neurons.subnet_options import RewardsOptions

_POLL_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """One neuron's line; amounts in tokens."""

    uid: int
    hotkey: str
    role: str
    stake: float
    incentive: float
    dividends: float
    emission: float  # of the last epoch
    total_earned: float
    repo: str  # of the last submission; "" without one
    file_sha256: str
    verdict: str
    weight: float | None


def show_rewards(options: RewardsOptions) -> None:
    """Print the table once, or keep it up to date until a signal."""
    hub = HubClient(options.hub) if options.hub else None
    ledger = Ledger(options.network, options.netuid, genesis_hash=options.genesis_hash)
    observer = Observer(ledger=ledger, hub=hub)
    hotkey, round_id = options.hotkey or None, options.round
    rewards = read_rewards(observer, hotkey, round_id)
    if not options.watch:
        show(rewards, lambda: rewards_table(rewards), as_json=options.as_json)
        return
    with stopped_by_signals(), Live(rewards_table(rewards), console=Console()) as live:
        while True:
            time.sleep(_POLL_S)
            live.update(rewards_table(read_rewards(observer, hotkey, round_id)))


def read_rewards(observer: Observer, hotkey: str | None, round_id: int | None) -> list[Reward]:
    """Every neuron, or one, now or at the end of a round; ConfigError for a hotkey or round that is not there."""
    metagraph = observer.ledger.metagraph(None if round_id is None else _end_of_round(observer, round_id))
    if hotkey is not None and metagraph.by_hotkey(hotkey) is None:
        raise ConfigError(f"hotkey {hotkey} is not registered on subnet {metagraph.netuid}")
    receipts = observer.receipts(round_id, metagraph)
    entries = {entry.hotkey: entry for entry in receipts[0].entries} if receipts else {}
    validators = {receipt.validator for receipt in receipts}
    total: dict[str, int] = {}
    for epoch in observer.epochs(0, metagraph.head.number):
        for name, rao in epoch.emission_rao.items():
            total[name] = total.get(name, 0) + rao
    last = earned_rao(metagraph)
    found = []
    for neuron in metagraph.neurons:
        if hotkey is not None and neuron.hotkey != hotkey:
            continue
        entry = entries.get(neuron.hotkey)
        found.append(
            Reward(
                uid=neuron.uid,
                hotkey=neuron.hotkey,
                role=_role(neuron, metagraph.owner_hotkey, validators),
                stake=neuron.stake_rao / RAO,
                incentive=neuron.incentive,
                dividends=neuron.dividends,
                emission=last.get(neuron.hotkey, 0) / RAO,
                total_earned=total.get(neuron.hotkey, 0) / RAO,
                repo=entry.repo if entry else "",
                file_sha256=entry.file_sha256 if entry else "",
                verdict=_verdict(entry),
                weight=entry.weight if entry else None,
            )
        )
    return found


def rewards_table(rewards: list[Reward]) -> Table:
    """One line a neuron."""
    table = Table(title="Rewards (tokens)", box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("uid", justify="right", no_wrap=True)
    table.add_column("hotkey", no_wrap=True)
    table.add_column("role", no_wrap=True)
    for column in ("stake", "incent.", "divid.", "last", "earned"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("submission, verdict", overflow="fold")
    for reward in rewards:
        table.add_row(
            str(reward.uid),
            reward.hotkey[:8],
            reward.role,
            f"{reward.stake:.1f}",
            f"{reward.incentive:.3f}",
            f"{reward.dividends:.3f}",
            f"{reward.emission:.1f}",
            f"{reward.total_earned:.1f}",
            printable(f"{reward.file_sha256[:8]} {reward.verdict}".strip()),
        )
    return table


def _end_of_round(observer: Observer, round_id: int) -> str:
    """Hash of the round's last block, in which it is paid."""
    last_block = round_by_id(observer.release().rounds, round_id).last_block
    head = observer.ledger.head().number
    if last_block > head:
        raise ConfigError(f"round {round_id} ends with block {last_block}, the chain is at {head}")
    return observer.ledger.block_hash(last_block)


def _role(neuron: Neuron, owner: str, validators: set[str]) -> str:
    if neuron.hotkey == owner:
        return "owner"
    return "validator" if neuron.hotkey in validators or neuron.dividends > 0 else "miner"


def _verdict(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return entry.verdict if entry.verdict == "paid" else f"{entry.verdict}: {entry.reason}"
