"""Which rollups cover a range of time: the largest spans that fit, smaller ones and single rows at its borders."""

from __future__ import annotations

from typing import Final, NamedTuple

_MINUTE: Final = 60_000_000
# The spans that usage is added up by, in minutes: days and hours of UTC, and quarters of an hour, of which the days
# of all time zones consist.
SPAN_MINUTES: Final = (1440, 60, 15)
QUARTER: Final = 15 * _MINUTE


class RollupRange(NamedTuple):
    """The rollups of `minutes` from `start` to before `end`; 0 minutes are the usage rows themselves."""

    minutes: int
    start: int
    end: int


def bucket_start(unix_us: int, minutes: int) -> int:
    """Return the start of the span of `minutes` that a time is in."""
    return unix_us - unix_us % (minutes * _MINUTE)


def covering(start: int, end: int, spans: tuple[int, ...] = SPAN_MINUTES) -> list[RollupRange]:
    """Return the ranges that make up the time from `start` to before `end`, in order."""
    if start >= end:
        return []
    if not spans:
        return [RollupRange(0, start, end)]
    size, smaller = spans[0] * _MINUTE, spans[1:]
    first, last = -(-start // size) * size, end // size * size
    if first >= last:
        return covering(start, end, smaller)
    return [
        *covering(start, first, smaller),
        RollupRange(spans[0], first, last),
        *covering(last, end, smaller),
    ]
