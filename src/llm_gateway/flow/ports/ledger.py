"""Where facts about requests go and wait, how they are traced, and how tokens are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord
from llm_gateway.core.ledger.served import ServedRequest, SettledRequest, begun_attempt
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.listeners import notify

OnKept = Callable[[SettledRequest], None]


class Journal(Protocol):
    """Keeps facts from the moment a call returns. Calls are synchronous and take microseconds."""

    def begin(self, attempt: AttemptBegun) -> None:
        """Record that an upstream is about to be called. Never raises."""

    def begin_with_writes(self, attempt: AttemptBegun) -> None:
        """Record the same of a request that goes to its upstream with the other writes of this turn.

        The record is kept at the latest when the first of them is made. Never raises.
        """
        self.begin(attempt)

    def begin_known(self, request_id: str, line: bytes) -> None:
        """Do what `begin_with_writes` does with an attempt that was encoded already: `line` ends with a newline."""
        del request_id
        self.begin_with_writes(begun_attempt(line))

    @property
    def has_waiting(self) -> bool:
        """Whether records wait for the writes of this turn."""
        return False

    def write_waiting(self) -> None:
        """Keep what the methods `..._with_writes`, `begin_known` and `end_served` left for later. Never raises."""

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """Record an attempt that failed; another may follow. Never raises."""

    def end(self, record: UsageRecord) -> None:
        """Record the end of a request. Never raises."""

    def end_with_writes(self, record: UsageRecord, on_kept: OnKept | None = None) -> None:
        """Record the same of a request whose client learns of it with the other writes of this turn.

        The record is kept at the latest when the first of them is made, and `on_kept` is called with it right after
        that; it must not raise. Never raises.
        """
        self.end(record)
        if on_kept is not None:
            on_kept(record)

    def end_served(self, served: ServedRequest, line: bytes, on_kept: OnKept | None = None) -> None:
        """Do what `end_with_writes` does with a record that was encoded already: `line` ends with a newline."""
        del line
        kept = None if on_kept is None else lambda _: on_kept(served)
        self.end_with_writes(served.record(), kept)


class EventJournal(Protocol):
    """Keeps what clients report of themselves, as a journal does."""

    def event(self, event: TelemetryEvent) -> None:
        """Record an event. Never raises."""


class RefusalLog(Protocol):
    """Keeps refused requests, of which there may be any number."""

    def add(self, record: UsageRecord) -> None:
        """Take note of a refused request; it may be kept together with others like it. Never raises."""


class Observer(Protocol):
    """Is told of every finished request and failed attempt: metrics, access log."""

    def finished(self, record: UsageRecord) -> None:
        """Take note of a finished request. Must neither block nor raise.

        An observer that does not define it is not called.
        """
        del record

    def served(self, requests: Sequence[ServedRequest]) -> None:
        """Take note of finished requests, of which `finished` is not told. Must not block, nor raise for one of them.

        An observer that does not define `finished` is not called.
        """
        for request in requests:
            notify(self.finished, request.record())

    def attempt_failed(self, failed: AttemptEnded) -> None:
        """Take note of an attempt that failed because of its provider. Must neither block nor raise."""


class Tracer(Protocol):
    """Follows requests and their attempts; the same object observes how they end. No method blocks or raises."""

    def begin(
        self, request_id: str, method: str, path: str, created_at: int, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Take note of a request, created at Unix microseconds, and of the trace that its headers name."""

    def attempt(
        self,
        request_id: str,
        number: int,
        started_at: int,
        request: ModelRequest,
        deployment: Deployment,
        forwarded: Mapping[str, str],
    ) -> Mapping[str, str]:
        """Return `forwarded` with the trace headers for an attempt that began at `started_at`, Unix microseconds.

        Attempts are numbered from 1. One of which nothing was sent may be followed by another of the same number.
        """


class RecordsRejected(Exception):
    """The usage store is there, but rejects these values: the same values will be rejected again."""


class UsageStore(Protocol):
    """Where usage records, attempts and events end up: tables of the database."""

    async def upsert(self, facts: Sequence[bytes]) -> None:
        """Store all of `facts` or, when it raises, none.

        Each is a line of the journal: a `UsageRecord`, an `AttemptEnded` or a `TelemetryEvent` as JSON. The last
        attempt of a record is stored with it (see `core.ledger.records.last_attempt`), unless the attempt has a fact
        of its own.

        Idempotent by `request_id`, by attempt, and by `event_id`: a stored row stays, except that a true end replaces
        `interrupted`; one call may carry the same id twice. Raises RecordsRejected when the values themselves are
        rejected (not such JSON, out of range, a text that cannot be stored); every other exception is taken as an
        outage, after which the same facts come again. The implementation sets its own time limit.
        """


class BackedUpFact(NamedTuple):
    """A line of the journal in the backup; `number` is its own forever."""

    number: int
    fact: bytes


class UsageBackup(Protocol):
    """Lines of the journals of this machine and of others, until they are removed. All calls may raise anything.

    A line is added again when nobody knows whether it was stored: the usage store recognises it.
    """

    async def add(self, facts: Sequence[bytes]) -> None:
        """Keep all of `facts` or, when it raises, none of them or all."""

    async def oldest(self, limit: int) -> list[BackedUpFact]:
        """Return the oldest lines of this machine, in the order in which they came."""

    async def oldest_of_others(self, limit: int) -> list[BackedUpFact]:
        """Return the oldest lines that another machine has left for so long that it seems to be gone."""

    async def remove(self, numbers: Sequence[int]) -> None:
        """Forget these lines; some may be gone already."""

    async def count(self) -> int:
        """Return how many lines there are, of all machines."""


class TokenCounter(Protocol):
    """Counts tokens where no provider did."""

    def encoding(self, upstream_model: str, public_model: str) -> str:
        """Return the name of the encoding to count a model with."""

    async def count(self, encoding: str, texts: Sequence[str]) -> int | None:
        """Return the tokens of all `texts` together, counted off the event loop; None when it cannot."""
