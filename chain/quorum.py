"""Several endpoints of one chain as one: an answer counts when more than half of all endpoints give it.

With one endpoint its word is taken. With two both must agree, and with three one may lie, lag or be away.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from chain.connection import Connection, WrongChain
from chain.metagraph import Head
from chain.networks import resolve
from hivetune.errors import ConfigError, RetryableError

log = logging.getLogger(__name__)

FIRST_REST_S, LONGEST_REST_S = 1.0, 60.0

Result = TypeVar("Result")


class EndpointsDisagree(RetryableError):  # noqa: N818 - a verdict
    """No answer has a majority, so none is acted upon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply(Generic[Result]):
    """What one endpoint said: a result, or an error that it would raise for everybody, such as an unknown subnet."""

    url: str
    result: Result | None = None
    error: ConfigError | None = None

    @property
    def content(self) -> object:
        """What two endpoints must have in common to agree."""
        return ("result", self.result) if self.error is None else ("error", str(self.error))


class _Member:
    """An endpoint and its record: one that fails is asked last for a while."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._rest_s = 0.0
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def failed(self, took_s: float = 0.0) -> None:
        """A silent endpoint rests no shorter than it kept its caller waiting."""
        self._rest_s = min(LONGEST_REST_S, max(FIRST_REST_S, 2 * self._rest_s, took_s))
        self._rests_until = time.monotonic() + self._rest_s

    def worked(self) -> None:
        self._rest_s = self._rests_until = 0.0


class Quorum:
    """`timeout_s` is for one endpoint's part of a call."""

    def __init__(self, network: str, *, genesis_hash: str = "", timeout_s: float = 30.0) -> None:
        endpoints = resolve(network, genesis_hash)
        self._members = [_Member(Connection(url, timeout_s, endpoints.genesis_hash)) for url in endpoints.urls]
        self.majority = len(self._members) // 2 + 1

    def close(self) -> None:
        for member in self._members:
            member.connection.close()

    def agree(self, action: Callable[[Any], Result]) -> Result:
        """The result that a majority of the endpoints gives; results are compared with ==, so let them be plain values.

        Endpoints are asked one after the other until there are enough. RetryableError when too few answer,
        EndpointsDisagree when they contradict each other, ConfigError when the majority raised it.
        """
        try:
            return self._vote(action)
        except EndpointsDisagree:
            for member in self._members:
                member.connection.ask_anew()
            raise

    def _vote(self, action: Callable[[Any], Result]) -> Result:
        votes: list[list[Reply[Result]]] = []
        failures: list[RetryableError] = []
        for reply in self._ask(action, failures):
            camp = next((camp for camp in votes if camp[0].content == reply.content), None)
            if camp is None:
                camp = []
                votes.append(camp)
            camp.append(reply)
            if len(camp) >= self.majority:
                return self._decided(camp, votes)
        if len(votes) > 1:
            raise EndpointsDisagree(_contradiction(votes))
        raise self._too_few(failures)

    def answers(self, action: Callable[[Any], Result]) -> list[Result]:
        """What every endpoint says that answers and is not resting; RetryableError when that is no majority."""
        failures: list[RetryableError] = []
        found: list[Result] = []
        errors: list[ConfigError] = []
        for reply in self._ask(action, failures, enough=lambda: len(found) + len(errors) >= self.majority):
            if reply.error is not None:
                errors.append(reply.error)
            else:
                found.append(reply.result)  # type: ignore[arg-type]  # no error means that there is a result
        if len(errors) >= self.majority:
            raise errors[0]
        if len(found) < self.majority:
            raise self._too_few(failures)
        return found

    def head(self) -> Head:
        """The newest block that a majority holds final, which no minority can push ahead or hold back."""
        heads = self.answers(finalized_head)
        if len(self._members) == 1:
            return heads[0]
        held = sorted((head.number for head in heads), reverse=True)[self.majority - 1 :]
        for number in held[:-1]:
            with suppress(EndpointsDisagree):  # an honest endpoint may be late, and a false one ahead
                return self._head_at(number)
        return self._head_at(held[-1])

    def _head_at(self, number: int) -> Head:
        found = self._vote(lambda interface: interface.get_block_hash(number))
        if found is None:
            raise RetryableError(f"block {number} is final on most endpoints and has no hash there")
        return Head(number=number, hash=str(found))

    def _ask(
        self,
        action: Callable[[Any], Result],
        failures: list[RetryableError],
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[Reply[Result]]:
        """Replies as they come, of resting endpoints last and only until there is `enough`."""
        for member in sorted(self._members, key=lambda member: member.rests):
            if member.rests and enough():
                return
            started = time.monotonic()
            try:
                reply = Reply(url=member.connection.url, result=member.connection.use(action))
            except ConfigError as error:
                reply = Reply(url=member.connection.url, error=error)
            except RetryableError as error:
                member.failed(time.monotonic() - started)
                failures.append(error)
                continue
            member.worked()
            yield reply

    def _decided(self, camp: list[Reply[Result]], votes: list[list[Reply[Result]]]) -> Result:
        for other in votes:
            if other is not camp:
                self._set_back(reply.url for reply in other)
        if camp[0].error is not None:
            raise camp[0].error
        return camp[0].result  # type: ignore[return-value]  # no error means that there is a result

    def _set_back(self, urls: Iterator[str]) -> None:
        outvoted = set(urls)
        for member in self._members:
            if member.connection.url in outvoted:
                log.warning("chain at %s contradicts the other endpoints and is outvoted", member.connection.url)
                member.connection.ask_anew()
                member.failed()

    def _too_few(self, failures: list[RetryableError]) -> Exception:
        if len(self._members) == 1:
            return ConfigError(str(failures[0])) if isinstance(failures[0], WrongChain) else failures[0]
        reasons = "; ".join(str(failure) for failure in failures)
        answered = len(self._members) - len(failures)
        told = f"{answered} of {len(self._members)} endpoints answer, {self.majority} are needed: {reasons}"
        wrong = sum(isinstance(failure, WrongChain) for failure in failures)
        return ConfigError(told) if wrong > len(self._members) - self.majority else RetryableError(told)


def finalized_head(interface: Any) -> Head:
    digest = str(interface.get_chain_finalised_head())
    return Head(number=int(interface.get_block_number(digest)), hash=digest)


def _contradiction(votes: list[list[Reply[Result]]]) -> str:
    camps = [f"{', '.join(reply.url for reply in camp)}: {str(camp[0].content)[:80]}" for camp in votes]
    return f"endpoints of the chain disagree, so nothing is done ({' | '.join(camps)})"
