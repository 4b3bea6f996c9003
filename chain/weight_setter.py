"""Sets a validator's weights by whichever way its subnet demands: in the clear, commit-reveal, or timelocked."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from chain.ledger import Ledger
from chain.metagraph import PALLET
from chain.pending import PendingReveal, PendingReveals
from chain.submit import ERA_BLOCKS, ChainRejected, NotYet
from chain.timelock import MAX_COMMIT_BYTES, Encrypt, find_encryption, payload, reveal_round
from chain.weights import Commit, WeightRules, commit_hash, conform
from hivetune.errors import ConfigError

log = logging.getLogger(__name__)

Way = Literal["plain", "commit_reveal", "timelock"]

SALT_NUMBERS = 8


class WeightSetter:
    """For one hotkey on one subnet. Where the subnet hides weights, a timelocked commit is preferred, for it needs no
    second call; without the extra `timelock` a hash is committed, and `reveal_due` must be called now and then."""

    def __init__(
        self,
        ledger: Ledger,
        pending: PendingReveals,
        *,
        encrypt: Encrypt | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._pending = pending
        self._encrypt = encrypt if encrypt is not None else find_encryption()
        self._now_s = now_s

    def way(self, rules: WeightRules) -> Way:
        """How weights go to this subnet."""
        if not rules.commit_reveal:
            return "plain"
        return "timelock" if rules.timelock_call is not None and self._encrypt is not None else "commit_reveal"

    def set(self, weights: Mapping[int, float], *, since: int, version_key: int = 0) -> Way | None:
        """Sets weights by uid, of which only the ratios count; None when this hotkey has set some after block `since`.

        ChainRejected names what the chain says or would say; NotYet is what waiting helps against.
        """
        self._ledger.settle()
        rules = self._ledger.weight_rules()
        if self.has_set(rules, since):
            return None
        values = conform(
            weights, count=rules.count, fewest=rules.min_allowed_weights, max_limit=rules.max_weights_limit
        )
        name = rules.objection(values, version_key)
        if name is not None and name.endswith("TooFast"):
            raise NotYet(name, "weights", until_block=rules.waits_until())
        if name is not None:
            raise ChainRejected(name, "weights, not sent")
        way = self.way(rules)
        send = {"plain": self._plain, "commit_reveal": self._commit, "timelock": self._timelock}[way]
        send(rules, values, version_key, since)
        return way

    def has_set(self, rules: WeightRules, since: int) -> bool:
        """Whether weights of this hotkey, shown or hidden, were set after a block."""
        if rules.last_update <= since:
            return False
        return rules.weights_set or bool(rules.commits) or rules.timelocked > 0

    def reveal_due(self) -> int | None:
        """Reveals what may be revealed now; the block to come back at, None when nothing waits."""
        if not self._mine():
            return None
        self._ledger.settle()
        rules = self._ledger.weight_rules()
        on_chain = {commit.hash: commit for commit in rules.commits}
        come_back: list[int] = []
        for pending in self._mine():
            commit = on_chain.get(pending.commit_hash)
            if commit is None:
                if rules.block > pending.since + 2 * ERA_BLOCKS:
                    log.warning("commit %s is not on the chain and never will be", pending.commit_hash)
                    self._pending.remove(pending.commit_hash)
                else:
                    come_back.append(rules.block + 1)
            elif _expired(commit, rules):
                log.error("weights of commit %s were not revealed in time and are lost", pending.commit_hash)
                self._pending.remove(pending.commit_hash)
            elif _is_open(commit, rules):
                come_back.extend(self._reveal(pending, rules))
            else:
                come_back.append(commit.opens if commit.opens is not None else rules.next_epoch_block)
        return min(come_back, default=None)

    def _mine(self) -> list[PendingReveal]:
        hotkey, netuid = self._ledger.hotkey, self._ledger.netuid
        return [one for one in self._pending.all() if (one.hotkey, one.netuid) == (hotkey, netuid)]

    def _plain(self, _rules: WeightRules, values: Mapping[int, int], version_key: int, since: int) -> None:
        vectors = {"dests": list(values), "weights": list(values.values()), "version_key": version_key}
        self._submit("set_weights", vectors, since)

    def _commit(self, rules: WeightRules, values: Mapping[int, int], version_key: int, since: int) -> None:
        pending = self._unsent(rules, values, version_key)
        try:
            self._submit("commit_weights", {"commit_hash": pending.commit_hash}, since)
        except ChainRejected as error:
            if error.block is not None:  # what nodes refused may have got to one all the same
                self._pending.remove(pending.commit_hash)
            raise

    def _unsent(self, rules: WeightRules, values: Mapping[int, int], version_key: int) -> PendingReveal:
        """What a stopped process meant to commit, when it is the same; else a new salt, on disk before it is used."""
        on_chain = {commit.hash for commit in rules.commits}
        for earlier in self._mine():
            fresh = rules.block <= earlier.since + ERA_BLOCKS and earlier.commit_hash not in on_chain
            if fresh and (dict(earlier.values), earlier.version_key) == (dict(values), version_key):
                return earlier
        salt = [secrets.randbelow(1 << 16) for _ in range(SALT_NUMBERS)]
        public_key = self._ledger.public_key
        made = PendingReveal(
            netuid=self._ledger.netuid,
            hotkey=self._ledger.hotkey,
            commit_hash=commit_hash(public_key, self._ledger.netuid, values, salt, version_key),
            values=dict(values),
            salt=tuple(salt),
            version_key=version_key,
            since=rules.block,
        )
        self._pending.add(made)
        return made

    def _reveal(self, pending: PendingReveal, rules: WeightRules) -> list[int]:
        """The block to try again at, if any; weights that the chain will never take are given up."""
        vectors = {"uids": list(pending.values), "values": list(pending.values.values()), "salt": list(pending.salt)}
        try:
            self._submit("reveal_weights", {**vectors, "version_key": pending.version_key})
        except ChainRejected as error:
            if error.error_name == "RevealTooEarly" or error.block is None:
                return [rules.block + 1]
            log.error("weights of commit %s are lost: %s", pending.commit_hash, error)
        else:
            log.info("revealed the weights of commit %s", pending.commit_hash)
        self._pending.remove(pending.commit_hash)
        return []

    def _timelock(self, rules: WeightRules, values: Mapping[int, int], version_key: int, since: int) -> None:
        if self._encrypt is None or rules.timelock_call is None:
            raise ConfigError("timelocked weights need the extra `timelock` and a runtime that knows them")
        versioned = rules.timelock_version is not None
        blocks = rules.next_epoch_block + (rules.reveal_period - 1) * rules.epoch_blocks - rules.block
        drand_round = reveal_round(now_s=self._now_s(), blocks=blocks, block_time_s=self._ledger.block_time_s())
        plain = payload(values, version_key, self._ledger.public_key if versioned else None)
        encrypted = self._encrypt(plain, drand_round)
        if len(encrypted) > MAX_COMMIT_BYTES:
            raise ConfigError(f"timelocked weights of {len(encrypted)} bytes, the chain takes {MAX_COMMIT_BYTES}")
        arguments: dict[str, Any] = {"commit": "0x" + encrypted.hex(), "reveal_round": drand_round}
        if versioned:
            arguments["commit_reveal_version"] = rules.timelock_version
        self._submit(rules.timelock_call, arguments, since)

    def _submit(self, function: str, arguments: Mapping[str, Any], since: int = -1) -> None:
        self._ledger.submit(PALLET, function, {"netuid": self._ledger.netuid, **arguments}, since=since)


def _is_open(commit: Commit, rules: WeightRules) -> bool:
    if commit.opens is not None and commit.closes is not None:
        return commit.opens <= rules.block + 1 <= commit.closes
    return commit.epoch is not None and rules.epoch == commit.epoch + rules.reveal_period


def _expired(commit: Commit, rules: WeightRules) -> bool:
    if commit.closes is not None:
        return rules.block >= commit.closes
    return commit.epoch is not None and rules.epoch > commit.epoch + rules.reveal_period
