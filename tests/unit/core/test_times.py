from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.times import iso_time, read_time

NOON = 1_769_860_800_000_000


@pytest.mark.parametrize(
    ("text", "unix_us"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31T12:00", NOON),
        ("2026-01-31T13:00:00+01:00", NOON),
        ("2026-01-31T13:00:00 01:00", NOON),
        ("1769860800", NOON),
        ("1769860800.5", NOON + 500_000),
        ("0", 0),
        ("2026-01-31", NOON - 12 * 3600 * 1_000_000),
        ("20260131", NOON - 12 * 3600 * 1_000_000),
        ("100000000", 10**14),
    ],
)
def test_a_time_is_read(text: str, unix_us: int) -> None:
    assert read_time(text) == unix_us


@pytest.mark.parametrize(
    "text",
    ["", "2026", "202601", "12345678", "20261301", "1769860800000", "-5", "٣" * 9, "now", "9" * 5000],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_time(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_offset_does_not_lead_out_of_the_calendar(text: str) -> None:
    with pytest.raises(OverflowError):
        read_time(text)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_what_is_written_is_read_again(unix_us: int) -> None:
    assert read_time(iso_time(unix_us)) == unix_us
