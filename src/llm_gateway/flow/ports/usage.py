"""How stored usage rows and attempts are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Literal, NamedTuple, Protocol

import msgspec

from llm_gateway.core.calendar import CalendarUnit, Period
from llm_gateway.core.ledger.records import AttemptEnded, Outcome, UsageRecord
from llm_gateway.core.ledger.totals import UsageTotals

# By `created_at` newest first, by `finished_at` oldest first: an export continues where it ended.
UsageOrder = Literal["created_at", "finished_at"]


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage rows are meant: all given conditions must match. Times are Unix microseconds."""

    # When the request began: inclusive, exclusive.
    since: int | None = None
    until: int | None = None
    # When it ended: inclusive, exclusive.
    finished_since: int | None = None
    finished_until: int | None = None
    credential: str | None = None
    provider: str | None = None
    model: str | None = None
    outcome: Outcome | None = None
    request_id: str | None = None
    tenant: str | None = None
    project: str | None = None
    agent: str | None = None
    end_user: str | None = None
    channel: str | None = None
    soeid: str | None = None


class UsagePlace(msgspec.Struct, frozen=True):
    """A place in the list of usage rows: that of the last row of a page. `at` is the time that the list goes by."""

    at: int
    request_id: str


# What usage can be grouped by besides time.
SummaryDimension = Literal["credential", "tenant", "project", "provider", "model"]


class SummaryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to add up. Times are Unix microseconds; None = from the first request, to the last."""

    since: int | None = None
    # Exclusive.
    until: int | None = None
    group_by: tuple[SummaryDimension, ...] = ()
    # The quarters of an hour, hours, days or months of `zone` to group by.
    unit: CalendarUnit | None = None
    zone: tzinfo = UTC
    # Only usage with these values; "" is usage without one.
    filters: Mapping[SummaryDimension, str] = {}
    has_percentiles: bool = True


class SummaryGroup(NamedTuple):
    """One line of a summary: the period and the values that it is about, those that were grouped by."""

    period: Period | None
    values: tuple[str | None, ...]
    totals: UsageTotals


class UsageSummary(NamedTuple):
    """The groups that have usage, in order; what they add up to; whether all usage of the range is in it."""

    groups: Sequence[SummaryGroup]
    total: UsageTotals
    is_complete: bool


class UseTotals(NamedTuple):
    """What usage rows add up to. Tokens and costs are the known ones.

    `ok` requests are those that succeeded. `mean_latency_ms` leaves out requests that were refused or interrupted,
    and is None if there are no others. `unpriced` is the number of requests that used tokens at an unknown cost.
    """

    requests: int
    ok: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_nano_usd: int
    unpriced: int
    mean_latency_ms: float | None


class InexactRange(Exception):
    """The range begins or ends within a quarter of an hour whose rows were deleted; it begins at `start`."""

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


class SummaryTooLarge(Exception):
    """The summary would have more groups than anyone reads."""


class UsageReader(Protocol):
    """Reads stored usage records. May raise StoreUnavailable."""

    async def list(
        self, wanted: UsageFilter, after: UsagePlace | None, limit: int, order: UsageOrder = "created_at"
    ) -> list[UsageRecord]:
        """Return up to `limit` rows in this order that come after `after`."""

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        """Return the attempts of a request, in order."""

    async def summarize(self, query: SummaryQuery) -> UsageSummary:
        """Return what usage adds up to. Raises InexactRange, SummaryTooLarge."""

    async def totals(self, wanted: UsageFilter) -> UseTotals:
        """Return what the rows that `wanted` means add up to, read from the rows: those that retention has left."""


class Repriced(msgspec.Struct, frozen=True):
    """A usage row and its attempts with other costs than `before`; only the costs differ."""

    before: UsageRecord
    record: UsageRecord
    attempts: tuple[AttemptEnded, ...]


class CostWriter(Protocol):
    """Replaces the costs of stored usage rows. May raise StoreUnavailable."""

    async def replace(self, changes: Sequence[Repriced]) -> int:
        """Store all of `changes` whose row still has the cost of `before`, together with what follows from it.

        Returns how many were stored.
        """
