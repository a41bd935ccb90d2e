"""Calendar days and months of a time zone, as ranges of Unix microseconds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ONE_DAY = timedelta(days=1)
_QUARTER = 15 * 60 * 1_000_000
# Beyond these times the dates of some time zone have no number; a clock never shows them.
_FIRST, _LAST = -62_000_000_000_000_000, 253_000_000_000_000_000

CalendarUnit = Literal["quarter", "hour", "day", "month"]


class Period(NamedTuple):
    """From `start` to just before `end`, in Unix microseconds."""

    start: int
    end: int


def read_zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name, from the system's files or the package `tzdata`; raise ValueError."""
    if name == "UTC":
        # Needs no file.
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone of this machine; use an IANA name such as Europe/Berlin. If it is right, "
            "install the files of time zones: the system's package tzdata, or `pip install tzdata`"
        ) from None


def day_of(unix_us: int, zone: tzinfo) -> Period:
    """Return the calendar day that a time is in; it has 23 or 25 hours when the clocks change."""
    today = _date(unix_us, zone)
    return Period(_midnight(today, zone), _midnight(today + _ONE_DAY, zone))


def month_of(unix_us: int, zone: tzinfo) -> Period:
    """Return the calendar month that a time is in."""
    first = _date(unix_us, zone).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return Period(_midnight(first, zone), _midnight(following, zone))


def periods(unit: CalendarUnit, start: int, end: int, zone: tzinfo) -> Iterator[Period]:
    """Yield the periods that hold the time from `start` to before `end`, in order and without gaps."""
    find = _PERIODS[unit]
    period = find(start, zone)
    while period.start < end:
        if period.end > period.start:
            yield period
        # Not what `find` says of the start: when clocks are set back, an hour begins in the middle of another.
        period = Period(period.end, find(period.end, zone).end)


def _date(unix_us: int, zone: tzinfo) -> date:
    moment = _EPOCH + timedelta(microseconds=min(max(unix_us, _FIRST), _LAST))
    return moment.astimezone(zone).date()


def _midnight(day: date, zone: tzinfo) -> int:
    """Return when a day begins. Where the clocks skip midnight, that is when they do."""
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // _MICROSECOND


def quarter_of(unix_us: int, zone: tzinfo) -> Period:
    """Return the quarter of an hour that a time is in; all zones have the same ones."""
    del zone
    start = min(max(unix_us, _FIRST), _LAST) // _QUARTER * _QUARTER
    return Period(start, start + _QUARTER)


def hour_of(unix_us: int, zone: tzinfo) -> Period:
    """Return the hour of local time that a time is in; a change of the clocks may cut it short."""
    moment = _EPOCH + timedelta(microseconds=min(max(unix_us, _FIRST), _LAST))
    local = moment.astimezone(zone)
    start = moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return Period((start - _EPOCH) // _MICROSECOND, (start + timedelta(hours=1) - _EPOCH) // _MICROSECOND)


_PERIODS: Final = {"quarter": quarter_of, "hour": hour_of, "day": day_of, "month": month_of}
