"""Reads what the overview shows of a range: sums by period, who uses most, and what happens right now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final, NamedTuple

from llm_gateway.console.overview.ranges import Range
from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.calendar import Period, periods, read_zone
from llm_gateway.core.ledger.totals import UsageTotals
from llm_gateway.core.times import iso_time
from llm_gateway.flow.ports.usage import (
    SummaryDimension,
    SummaryQuery,
    SummaryTooLarge,
    UsageFilter,
    UsageSummary,
    UseTotals,
)
from llm_gateway.flow.usage_summary import show_totals

RANKED: Final[tuple[SummaryDimension, ...]] = ("model", "credential", "provider")
MOST_RANKED: Final = 10
# Of what "right now" is about.
RECENT_MINUTES: Final = 5
_MINUTE: Final = 60_000_000


class Sums(NamedTuple):
    """What requests add up to. `values` are those of the admin API's summary, with the requests that succeeded."""

    name: str | None
    totals: UsageTotals
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A range, as of the moment it was read."""

    range: Range
    window: Period
    zone: tzinfo
    time_zone: str
    # All periods of the range, those without requests included.
    points: Sequence[Sums]
    total: Sums
    # None = there are too many to rank them.
    ranked: Mapping[SummaryDimension, Sequence[Sums] | None]
    # Of the last minutes, by the end of the requests.
    recent: UseTotals
    in_flight: int
    # Providers with an open circuit breaker in a worker of this machine.
    failing: Sequence[str]
    # False: rows of the range may be missing.
    is_complete: bool
    has_any: bool

    @property
    def since(self) -> str:
        """The beginning of the range, as the admin API reads it."""
        return iso_time(self.window.start)

    @property
    def per_minute(self) -> float:
        """Requests that ended in a minute, lately."""
        return self.recent.requests / RECENT_MINUTES


async def read_report(services: ConsoleServices, wanted: Range) -> Report:
    """Read a range up to now. Raises StoreUnavailable."""
    zone, now = read_zone(services.time_zone), services.clock.unix_us()
    window = wanted.window(now, zone)
    is_flushed = await services.flush()
    summary = await services.usage.summarize(wanted.query(window, zone))
    ranked = {name: await _ranked(services, wanted, window, zone, name) for name in RANKED}
    recent = await services.usage.totals(UsageFilter(finished_since=now - RECENT_MINUTES * _MINUTE))
    has_any = summary.total.counts[0] > 0 or bool(await services.usage.list(UsageFilter(), None, 1))
    return Report(
        range=wanted,
        window=window,
        zone=zone,
        time_zone=services.time_zone,
        points=_points(summary, wanted, window, zone),
        total=sums_of(None, summary.total),
        ranked=ranked,
        recent=recent,
        in_flight=services.machine.active(),
        failing=sorted({one.provider_key for one in services.deployment_states.deployments() if one.open}),
        is_complete=is_flushed and summary.is_complete,
        has_any=has_any,
    )


def _points(summary: UsageSummary, wanted: Range, window: Period, zone: tzinfo) -> list[Sums]:
    known = {group.period: group.totals for group in summary.groups}
    all_of_it = list(periods(wanted.unit, window.start, window.end, zone))
    labels = wanted.labels(all_of_it, zone)
    return [
        sums_of(label, known.get(period) or UsageTotals())
        for label, period in zip(labels, all_of_it, strict=True)
    ]


async def _ranked(
    services: ConsoleServices, wanted: Range, window: Period, zone: tzinfo, dimension: SummaryDimension
) -> list[Sums] | None:
    try:
        groups = (await services.usage.summarize(wanted.query(window, zone, dimension))).groups
    except SummaryTooLarge:
        return None
    first = sorted(groups, key=lambda group: (-group.totals.counts[0], group.values[0] or ""))[:MOST_RANKED]
    return [sums_of(group.values[0], group.totals) for group in first]


def sums_of(name: str | None, totals: UsageTotals) -> Sums:
    """Return what `totals` has, under a name."""
    values = show_totals(totals, SummaryQuery())
    ok = values["requests"] - values["errors"] - values["refused"] - values["aborted"]
    tokens = values["prompt_tokens"] + values["completion_tokens"]
    return Sums(name, totals, values | {"ok": ok, "tokens": tokens})
