"""Days and months begin at local midnight, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.calendar import CalendarUnit, day_of, month_of, periods, read_zone

HOUR = 3_600_000_000
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
    "America/Havana",
    "Australia/Lord_Howe",
)


def us(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("zone", "moment", "start", "hours"),
    [
        ("UTC", "2026-03-29T12:00Z", "2026-03-29T00:00Z", 24),
        ("Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", 23),
        ("Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", 25),
        ("Asia/Kolkata", "2026-10-25T18:29Z", "2026-10-24T18:30Z", 24),
        ("Asia/Kolkata", "2026-10-25T18:30Z", "2026-10-25T18:30Z", 24),
        ("Australia/Lord_Howe", "2026-04-05T00:00Z", "2026-04-04T13:00Z", 24.5),
        # Midnight is skipped: the clocks go from 23:59 to 01:00.
        ("Africa/Cairo", "2026-04-24T12:00Z", "2026-04-23T22:00Z", 23),
        # Midnight comes twice: the day begins at the first.
        ("America/Havana", "2026-11-01T12:00Z", "2026-11-01T04:00Z", 25),
    ],
)
def test_a_day_begins_at_local_midnight(zone: str, moment: str, start: str, hours: float) -> None:
    day = day_of(us(moment), ZoneInfo(zone))
    assert (day.start, day.end - day.start) == (us(start), int(hours * HOUR))


def test_a_month_begins_on_its_first_day() -> None:
    month = month_of(us("2026-03-31T21:59Z"), ZoneInfo("Europe/Berlin"))
    assert month == (us("2026-02-28T23:00Z"), us("2026-03-31T22:00Z"))
    month = month_of(us("2026-12-31T23:00Z"), ZoneInfo("Europe/Berlin"))
    assert month == (us("2026-12-31T23:00Z"), us("2027-01-31T23:00Z"))


@given(st.integers(-(10**18), 10**18), st.sampled_from(ZONES))
def test_no_clock_is_too_wrong_to_have_a_day(unix_us: int, zone: str) -> None:
    for period in (day_of(unix_us, ZoneInfo(zone)), month_of(unix_us, ZoneInfo(zone))):
        assert period.start < period.end


@given(st.integers(us("2000-01-01T00:00Z"), us("2035-01-01T00:00Z")), st.sampled_from(ZONES))
def test_days_follow_one_another_without_a_gap(unix_us: int, zone: str) -> None:
    where = ZoneInfo(zone)
    day = day_of(unix_us, where)
    assert day.start <= unix_us < day.end
    assert day_of(day.start, where) == day_of(day.end - 1, where) == day
    assert day_of(day.end, where).start == day.end
    month = month_of(unix_us, where)
    assert month.start <= day.start < day.end <= month.end


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("unit", ["quarter", "hour", "day", "month"])
@pytest.mark.parametrize("first", ["2011-12-28", "2018-11-02", "2026-03-27", "2026-10-23", "2026-04-03"])
def test_periods_follow_one_another_without_gaps(name: str, unit: CalendarUnit, first: str) -> None:
    start = int(datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp() * 1_000_000) + 7
    end = start + 5 * 86_400_000_000
    found = list(periods(unit, start, end, read_zone(name)))
    assert found[0].start <= start < found[0].end
    assert found[-1].start < end <= found[-1].end
    for before, after in pairwise(found):
        assert before.end == after.start
        assert before.start < before.end
    # What rollups can be cut at.
    assert all(one.start % 900_000_000 == 0 for one in found)


def test_the_days_of_both_clock_changes_have_23_and_25_hours() -> None:
    zone = read_zone("Europe/Berlin")
    for first, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        start = int(datetime.fromisoformat(first).replace(tzinfo=zone).timestamp() * 1_000_000)
        [day] = periods("day", start, start + 1, zone)
        assert day.end - day.start == hours * 3_600_000_000
        assert len(list(periods("hour", day.start, day.end, zone))) == hours
