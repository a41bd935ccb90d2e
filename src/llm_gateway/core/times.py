"""Times as APIs write and read them: ISO 8601 in UTC out, that or Unix seconds in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Eight digits are a date (20260131) and four a year, rather than a time in 1970.
_UNIX_SECONDS = re.compile(r"(?:0|[0-9]{9,11})(?:\.[0-9]{1,9})?")


def iso_time(unix_us: int) -> str:
    """Return Unix microseconds as `2026-01-31T12:00:00.000000Z`."""
    moment = _EPOCH + timedelta(microseconds=unix_us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def iso_milliseconds(unix_us: int) -> str:
    """Return Unix microseconds as `2026-01-31T12:00:00.000Z`."""
    return f"{iso_time(unix_us)[:-4]}Z"


def read_time(text: str) -> int:
    """Return the Unix microseconds of an ISO 8601 time (UTC without an offset) or of Unix seconds.

    Unix seconds are 0, or have 9 to 11 digits: shorter numbers are dates, or mistakes. Raises ValueError, or
    OverflowError outside the years 1 to 9999.
    """
    if _UNIX_SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return int(whole) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
    # A "+" that was not percent-encoded arrives as a space.
    moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if "T" in text else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    unix_us = (moment - _EPOCH) // timedelta(microseconds=1)
    # An offset may lead out of the years 1 to 9999.
    iso_time(unix_us)
    return unix_us
