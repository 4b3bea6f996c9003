"""Where nodes get their chain and Hub: the only place that builds them.

Roles are imported where they are built: a validator needs no PEFT, and seven processes start at once in the demo.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chain.keys import ColdkeyState, load_hotkey, read_wallet
from chain.ledger import Ledger
from chain.pending import PendingReveals
from chain.weight_setter import WeightSetter
from hivetune.errors import ConfigError
from hivetune.releases import ReleaseFollower
from hivetune.settings import HUB_TOKEN_VARIABLE, NodeSettings
from hivetune.status import Node, Report
from hub.client import HubClient
from hub.revealed import RevealedFiles

if TYPE_CHECKING:
    from averager.settings import AveragerSettings
    from miner.settings import MinerSettings
    from validator.settings import ValidatorSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """A node's two clients, checked: the subnet exists, the hotkey is registered, the token works."""

    ledger: Ledger
    hub: HubClient
    owner: str  # of the Hub token

    def repo(self, configured: str, name: str) -> str:
        """The configured repository, or one of the token's owner."""
        return configured or f"{self.owner}/{name}"


def connect(settings: NodeSettings) -> Connections:
    """Both clients for a node's settings; ConfigError in one line for whatever is missing."""
    keypair = load_hotkey(settings.wallet_path.expanduser(), settings.wallet, settings.wallet_hotkey)
    if not settings.allow_unlocked_coldkey:
        refuse_unlocked_coldkey(settings)
    ledger = Ledger(settings.network, settings.netuid, keypair=keypair, genesis_hash=settings.genesis_hash)
    if ledger.metagraph().by_hotkey(ledger.hotkey) is None:
        raise ConfigError(
            f"hotkey {ledger.hotkey} is not registered on subnet {settings.netuid}: run `hivetune subnet register`"
        )
    hub = HubClient(settings.hub, token=hub_token())
    return Connections(ledger=ledger, hub=hub, owner=hub.whoami())


def refuse_unlocked_coldkey(settings: NodeSettings) -> None:
    """A node is reachable and lives long: the key that owns the funds has no business beside it."""
    root = settings.wallet_path.expanduser()
    if read_wallet(root, settings.wallet).coldkey_state is ColdkeyState.UNLOCKED:
        raise ConfigError(
            f"{root / settings.wallet / 'coldkey'} is not encrypted, and a node needs the hotkey alone: "
            "take it off this machine, encrypt it, or give --allow-unlocked-coldkey"
        )


def hub_token() -> str:
    """The Hub token of this process; ConfigError when there is none."""
    token = os.environ.get(HUB_TOKEN_VARIABLE, "")
    if not token:
        raise ConfigError(f"set {HUB_TOKEN_VARIABLE} to a Hub token with write access")
    return token


def state_folder(settings: NodeSettings, role: str, genesis_hash: str) -> Path:
    """The node's own folder below the configured one; another chain gets another folder, its rounds mean other work."""
    name = f"{role}-{settings.wallet}-{settings.wallet_hotkey}-{settings.netuid}-{genesis_hash.removeprefix('0x')[:8]}"
    folder = settings.state.expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build_miner(settings: "MinerSettings", connections: Connections, state: Path, report: Report) -> Node:
    """An honest miner."""
    from miner.author import TrainingAuthor
    from miner.node import MinerNode
    from miner.secret import load_secret

    follower = ReleaseFollower(connections.ledger, connections.hub, state)
    return MinerNode(
        ledger=connections.ledger,
        hub=connections.hub,
        follower=follower,
        author=TrainingAuthor(
            settings, connections.ledger, follower, report, secret=load_secret(state / "training-secret")
        ),
        repo=connections.repo(settings.repo, f"{settings.wallet_hotkey}-adapters"),
        state=state,
        report=report,
    )


def build_validator(settings: "ValidatorSettings", connections: Connections, state: Path, report: Report) -> Node:
    """A validator."""
    from validator.node import ValidatorNode

    repo = connections.repo(settings.repo, f"{settings.wallet_hotkey}-receipts")
    return ValidatorNode(
        ledger=connections.ledger,
        weights=WeightSetter(connections.ledger, PendingReveals(state / "pending_reveals.json")),
        hub=connections.hub,
        source=RevealedFiles(connections.hub, own_repo=repo, download_s=settings.fetch_seconds),
        follower=ReleaseFollower(connections.ledger, connections.hub, state),
        repo=repo,
        state=state,
        report=report,
    )


def build_averager(settings: "AveragerSettings", connections: Connections, state: Path, report: Report) -> Node:
    """The subnet's averager."""
    from averager.node import AveragerNode

    follower = ReleaseFollower(connections.ledger, connections.hub, state)
    current, _ = follower.current()
    repo = settings.repo or current.repo
    return AveragerNode(
        ledger=connections.ledger,
        hub=connections.hub,
        source=RevealedFiles(connections.hub, own_repo=repo, download_s=settings.fetch_seconds),
        follower=follower,
        repo=repo,
        state=state,
        report=report,
    )
