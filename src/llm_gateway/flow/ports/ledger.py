"""Where usage facts go, and how tokens are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llm_gateway.core.ledger.records import AttemptBegun, AttemptFailed, UsageRecord


class Journal(Protocol):
    """Keeps facts safe from the moment a call returns. Calls are synchronous and take microseconds."""

    def begin(self, attempt: AttemptBegun) -> None:
        """Note that an upstream is about to be called. Never raises."""

    def end(self, record: UsageRecord) -> None:
        """Note that a request ended. Never raises."""


class Observer(Protocol):
    """Reads the fact about each finished request: metrics, journal, access log."""

    def finished(self, record: UsageRecord) -> None:
        """Take note, without blocking and without raising."""

    def attempt_failed(self, failed: AttemptFailed) -> None:
        """Take note of an attempt that led to no reply; another may follow."""


class FactsRefused(Exception):
    """The usage store is there, but will not take these values: trying the same again cannot help."""


class UsageStore(Protocol):
    """Where usage facts end up: the database's usage table."""

    async def upsert(self, facts: Sequence[bytes]) -> None:
        """Store all of `facts` (each a UsageRecord as the journal has it, a line of JSON) or, when it raises, none.

        Idempotent by `request_id`: a row that is already there stays, except that a true end takes the place
        of `interrupted`; and one call may carry the same id twice. Raises FactsRefused when the
        values themselves are refused (no such JSON, out of range, a text that cannot be stored); every other
        exception is taken as an outage, and the same facts come again. Must have a time limit of its own.
        """


class TokenCounter(Protocol):
    """Counts tokens where no provider did."""

    def encoding(self, upstream_model: str, public_model: str) -> str:
        """Return the name of the encoding to count a model with."""

    async def count(self, encoding: str, texts: Sequence[str]) -> int | None:
        """Return the tokens of all `texts` together, counted off the event loop; None when it cannot."""
