"""The ranges of time that the overview can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from llm_gateway.core.calendar import CalendarUnit, Period, periods
from llm_gateway.flow.ports.usage import SummaryDimension, SummaryQuery

_SECOND: Final = 1_000_000
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Range(NamedTuple):
    """A range that ends now. It begins with a whole period, so it is a little longer than its name says."""

    name: str
    title: str
    span: int
    unit: CalendarUnit
    # How local times are written.
    pattern: str
    # Seconds after which an open page follows.
    every: float

    def window(self, now: int, zone: tzinfo) -> Period:
        """Return the range: whole periods, so that rollups have all of it, and no row has to be read."""
        [first] = periods(self.unit, now - self.span, now - self.span + 1, zone)
        [last] = periods(self.unit, now, now + 1, zone)
        return Period(first.start, last.end)

    def query(self, window: Period, zone: tzinfo, group_by: SummaryDimension | None = None) -> SummaryQuery:
        """Return the query for the periods of a window, or for the values of `group_by` in all of it."""
        return SummaryQuery(
            since=window.start,
            until=window.end,
            group_by=() if group_by is None else (group_by,),
            unit=self.unit if group_by is None else None,
            zone=zone,
        )

    def labels(self, found: Sequence[Period], zone: tzinfo) -> list[str]:
        """Return what periods are called. Hours that come twice when clocks are set back have their offset."""
        moments = [local_time(period.start, zone) for period in found]
        labels = [moment.strftime(self.pattern) for moment in moments]
        times = Counter(labels)
        return [
            f"{label} UTC{moment.strftime('%z')}" if times[label] > 1 else label
            for label, moment in zip(labels, moments, strict=True)
        ]


def local_time(unix_us: int, zone: tzinfo) -> datetime:
    """Return Unix microseconds as local time."""
    return (_EPOCH + timedelta(microseconds=unix_us)).astimezone(zone)


RANGES: Final = {
    one.name: one
    for one in (
        Range("1h", "1 hour", _HOUR, "quarter", "%H:%M", 5.0),
        Range("24h", "24 hours", _DAY, "hour", "%d %b %H:%M", 10.0),
        Range("7d", "7 days", 7 * _DAY, "hour", "%d %b %H:%M", 30.0),
        Range("30d", "30 days", 30 * _DAY, "day", "%d %b", 60.0),
    )
}
DEFAULT: Final = RANGES["24h"]
