"""Ranges consist of whole periods, in any time zone, and hold at least the time that they are named after."""

from __future__ import annotations

from datetime import datetime

import pytest

from llm_gateway.console.overview.ranges import RANGES
from llm_gateway.core.calendar import periods, read_zone

QUARTER = 900_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


@pytest.mark.parametrize("zone_name", ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin"])
@pytest.mark.parametrize("name", RANGES)
# On an ordinary day, and while clocks are set forward and back in Berlin.
@pytest.mark.parametrize(
    "now", ["2026-11-29T14:37:12+00:00", "2026-03-29T01:07+00:00", "2026-10-25T01:07+00:00"]
)
def test_a_range_is_whole_periods_around_its_time(zone_name: str, name: str, now: str) -> None:
    one, zone, moment = RANGES[name], read_zone(zone_name), us(now)
    window = one.window(moment, zone)
    assert window.start <= moment - one.span
    assert window.end > moment
    # Rollups have all of it.
    assert window.start % QUARTER == window.end % QUARTER == 0
    found = list(periods(one.unit, window.start, window.end, zone))
    assert (found[0].start, found[-1].end) == window
    assert len(found) <= 200
    assert len(set(one.labels(found, zone))) == len(found)


def test_hours_that_come_twice_have_their_offset() -> None:
    one, zone = RANGES["24h"], read_zone("Europe/Berlin")
    window = one.window(us("2026-10-25T01:30+00:00"), zone)
    labels = one.labels(list(periods(one.unit, window.start, window.end, zone)), zone)
    assert labels[-3:] == ["25 Oct 01:00", "25 Oct 02:00 UTC+0200", "25 Oct 02:00 UTC+0100"]


def test_queries_name_what_they_group_by() -> None:
    one, zone = RANGES["1h"], read_zone("UTC")
    window = one.window(us("2026-11-29T14:37+00:00"), zone)
    by_time, by_model = one.query(window, zone), one.query(window, zone, "model")
    assert (by_time.unit, by_time.group_by, by_model.unit, by_model.group_by) == (
        "quarter",
        (),
        None,
        ("model",),
    )
    assert (by_time.since, by_time.until) == (us("2026-11-29T13:30+00:00"), us("2026-11-29T14:45+00:00"))
