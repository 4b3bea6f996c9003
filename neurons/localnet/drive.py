"""Playing the rounds: time passes, and skips ahead whenever every neuron waits for a later block."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hivetune.errors import RetryableError
from hivetune.rounds import Phase, Round, round_at, round_by_id
from neurons.localnet.setup import Localnet
from neurons.observer import Observer, earned_rao
from neurons.results import RoundResult, round_result

log = logging.getLogger(__name__)

_POLL_S = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """The network as the view shows it."""

    block: int
    now: Round | None
    phase: str
    beats: dict[str, dict[str, Any]]  # by name; a neuron without a heartbeat yet is absent


@dataclass(kw_only=True, slots=True)
class Driver:
    """Plays rounds and collects their results."""

    localnet: Localnet
    show: Callable[[Moment], None]
    seconds: dict[int, dict[str, float]] = field(default_factory=dict)

    def play(self, rounds: int, finished: Callable[[RoundResult], None]) -> list[RoundResult]:
        """Until `rounds` rounds have ended; each is handed to `finished` as soon as it has."""
        observer = Observer(ledger=self.localnet.ledger, hub=self.localnet.hub)
        results: list[RoundResult] = []
        last = time.monotonic()
        while len(results) < rounds:
            self.localnet.network.check()
            try:
                moment = self._look()
                self.show(moment)
                self._count(moment, time.monotonic() - last)
                last = time.monotonic()
                ended = round_by_id(self.localnet.release.rounds, len(results))
                if moment.block > ended.last_block:
                    results.append(self._collect(observer, ended))
                    finished(results[-1])
                    last = time.monotonic()
                    continue
                self._skip_ahead(moment)
            except RetryableError as error:
                log.warning("%s", error)
            time.sleep(_POLL_S)
        return results

    def _look(self) -> Moment:
        head = self.localnet.ledger.head().number
        now = round_at(self.localnet.release.rounds, head)
        beats = {m.name: beat for m in self.localnet.network.members if (beat := m.beat()) is not None}
        return Moment(block=head, now=now, phase=now.phase(head) if now else "set-up", beats=beats)

    def _count(self, moment: Moment, passed_s: float) -> None:
        if moment.now is not None:
            phases = self.seconds.setdefault(moment.now.round_id, {phase.value: 0.0 for phase in Phase})
            phases[moment.phase] += passed_s

    def _skip_ahead(self, moment: Moment) -> None:
        neurons = [m for m in self.localnet.network.members if m.heartbeat is not None]
        waits = [moment.beats.get(m.name, {}).get("waiting_for") for m in neurons]
        ahead = [block for block in waits if block is not None and block > moment.block]
        if len(ahead) == len(neurons):
            self.localnet.chain.skip(min(ahead) - moment.block)

    def _collect(self, observer: Observer, ended: Round) -> RoundResult:
        metagraph = self.localnet.ledger.metagraph(self.localnet.ledger.block_hash(ended.last_block))
        receipts = observer.receipts(ended.round_id, metagraph)
        outcome = observer.outcome(ended.round_id, metagraph)
        emission = earned_rao(metagraph)
        seconds = {phase: round(s, 1) for phase, s in self.seconds.get(ended.round_id, {}).items()}
        return round_result(ended.round_id, receipts, outcome, emission, self.localnet.roles, seconds)
