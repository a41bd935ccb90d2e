"""Summaries of usage as they are asked for, and as the admin API and the command line show them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

from llm_gateway.core.calendar import CalendarUnit, Period, read_zone
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.ledger.histogram import Histogram, percentile
from llm_gateway.core.ledger.totals import COUNTS, UsageTotals
from llm_gateway.core.money import usd_text
from llm_gateway.core.times import iso_time, read_time
from llm_gateway.flow.ports.usage import (
    InexactRange,
    SummaryDimension,
    SummaryGroup,
    SummaryQuery,
    UsageSummary,
)

DIMENSIONS: Final[tuple[SummaryDimension, ...]] = get_args(SummaryDimension)
# The finest of those that a query names makes the groups.
UNITS: Final[tuple[CalendarUnit, ...]] = ("quarter", "hour", "day", "month")
PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_query(
    *,
    since: str | None,
    until: str | None,
    group_by: str | None,
    time_zone: str,
    filters: Mapping[SummaryDimension, str | None],
    has_percentiles: bool = True,
) -> tuple[SummaryQuery, tuple[str, ...]]:
    """Return the query, and the names it groups by, in order; raise Unprocessable. `group_by` is comma-separated."""
    names = tuple(dict.fromkeys(name.strip() for name in (group_by or "").split(",") if name.strip()))
    for name in names:
        if name not in (*DIMENSIONS, *UNITS):
            message = f"group_by: {name[:100]!r} is unknown; use any of {', '.join((*DIMENSIONS, *UNITS))}"
            raise Unprocessable(message, param="group_by")
    try:
        zone = read_zone(time_zone)
    except ValueError as error:
        raise Unprocessable(f"time_zone: {error}", param="time_zone") from None
    for dimension, value in filters.items():
        if value is not None and "\0" in value:
            raise Unprocessable(f"{dimension} must not hold a NUL character", param=dimension)
    return SummaryQuery(
        since=_time("since", since),
        until=_time("until", until),
        group_by=tuple(name for name in DIMENSIONS if name in names),
        unit=next((unit for unit in UNITS if unit in names), None),
        zone=zone,
        filters={name: value for name, value in filters.items() if value is not None},
        has_percentiles=has_percentiles,
    ), names


def _time(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else read_time(text)
    except (ValueError, OverflowError):
        message = f"{name} must be an ISO 8601 time (UTC unless it has an offset) or Unix seconds"
        raise Unprocessable(message, param=name) from None


def inexact_range(error: InexactRange) -> Unprocessable:
    """Return what to tell whoever asked for a range whose borders are not known any more."""
    return Unprocessable(
        f"The usage rows of the quarter of an hour from {iso_time(error.start)} are deleted (USAGE_RETENTION_DAYS), "
        "so a sum cannot begin or end within it. Choose since and until at :00, :15, :30 or :45."
    )


def too_large() -> Unprocessable:
    """Return what to tell whoever asked for too many groups."""
    return Unprocessable(
        "The summary would have more than 10,000 groups. Choose a shorter range, a larger unit of time, or filters."
    )


def show_summary(
    summary: UsageSummary, query: SummaryQuery, names: tuple[str, ...], time_zone: str
) -> dict[str, Any]:
    """Return the summary as JSON values: money as decimal USD, times in UTC, labels in `time_zone`."""
    return {
        "since": None if query.since is None else iso_time(query.since),
        "until": None if query.until is None else iso_time(query.until),
        "time_zone": time_zone,
        "group_by": list(names),
        "data": [_show_group(group, query, names) for group in summary.groups],
        "total": show_totals(summary.total, query),
        "is_complete": summary.is_complete,
    }


def _show_group(group: SummaryGroup, query: SummaryQuery, names: tuple[str, ...]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if group.period is not None:
        for unit in UNITS:
            if unit in names:
                shown[unit] = _label(group.period, unit, query)
        shown |= {"start": iso_time(group.period.start), "end": iso_time(group.period.end)}
    return shown | dict(zip(query.group_by, group.values, strict=True)) | show_totals(group.totals, query)


def _label(period: Period, unit: CalendarUnit, query: SummaryQuery) -> str:
    local = (_EPOCH + timedelta(microseconds=period.start)).astimezone(query.zone)
    if unit in {"quarter", "hour"}:
        return local.isoformat(timespec="minutes")
    return local.strftime("%Y-%m-%d" if unit == "day" else "%Y-%m")


def show_totals(totals: UsageTotals, query: SummaryQuery) -> dict[str, Any]:
    """Return sums as JSON values. `cost_usd` is that of the requests whose cost is known; null if none is."""
    shown: dict[str, Any] = dict(zip(COUNTS, totals.counts, strict=True))
    cost = shown.pop("cost_nano_usd")
    shown["cost_usd"] = None if not cost and shown["unpriced"] else usd_text(cost)
    if query.has_percentiles:
        shown["latency_ms"] = _percentiles(totals.latency)
        shown["ttft_ms"] = _percentiles(totals.first_token)
    return shown


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    found = {name: percentile(histogram, share) for name, share in PERCENTILES.items()}
    return {name: None if ms is None else round(ms, 3) for name, ms in found.items()}
