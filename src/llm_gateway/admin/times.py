"""Times as the admin API writes and reads them: ISO 8601 in UTC out, that or Unix seconds in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_SECONDS = re.compile(r"\d{1,11}(\.\d{1,9})?")


def iso_time(unix_us: int) -> str:
    """Return Unix microseconds as `2026-01-31T12:00:00.000000Z`."""
    moment = _EPOCH + timedelta(microseconds=unix_us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_time(text: str) -> int:
    """Return the Unix microseconds of an ISO 8601 time (UTC without an offset) or Unix seconds; raise ValueError."""
    if _UNIX_SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return int(whole) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
    # A "+" that was not percent-encoded arrives as a space.
    moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if "T" in text else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
