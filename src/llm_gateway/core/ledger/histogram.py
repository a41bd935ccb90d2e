"""Histograms of times with fixed logarithmic buckets, so that two of them are merged by addition."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

# Buckets for each doubling: a bucket is 9 % wide, and its middle at most 4.4 % away from any time in it.
_PER_DOUBLING: Final = 8
# The bucket of 1 ms. The first bucket ends at 8.5 microseconds, the last one begins at 8.6 hours.
_ONE_MS: Final = 55
_LAST: Final = 255
ENTRY_BYTES: Final = 4
_COUNT_BITS: Final = 24
_MOST: Final = 2**_COUNT_BITS - 1

_PER_DOUBLINGS: Final = itertools.repeat(float(_PER_DOUBLING))
# Between these, no bucket is limited to the first or the last one.
_LEAST_MS: Final = 0.01
_MOST_MS: Final = 1e6

# The number of times in each bucket that has any.
Histogram = dict[int, int]


def bucket_of(ms: float) -> int:
    """Return the bucket of a time in milliseconds."""
    if 1 <= ms < 1e6:
        # Most times, at a third of the price: here the rule below never reaches a limit, and `int` is `floor`.
        return int(math.log2(ms) * _PER_DOUBLING) + _ONE_MS
    if not ms > 0:
        return 0
    return min(max(math.floor(math.log2(min(ms, 1e12)) * _PER_DOUBLING) + _ONE_MS, 0), _LAST)


def add_times(histogram: Histogram, times: Sequence[float]) -> None:
    """Add times in milliseconds, each once."""
    for bucket, number in Counter(_buckets_of(times)).items():
        histogram[bucket] = histogram.get(bucket, 0) + number


def _buckets_of(times: Sequence[float]) -> Iterable[int]:
    if times and min(times) >= _LEAST_MS and max(times) < _MOST_MS:
        # As `bucket_of`, without a step of Python for each.
        with contextlib.suppress(ValueError):
            places = map(operator.mul, map(math.log2, times), _PER_DOUBLINGS)
            return [place + _ONE_MS for place in map(math.floor, places)]
        # One of them was no number.
    return map(bucket_of, times)


def middle_of(bucket: int) -> float:
    """Return the time, in milliseconds, that stands for a bucket: at most 4.4 % off."""
    return float(2.0 ** ((bucket - _ONE_MS + 0.5) / _PER_DOUBLING))


def encode(histogram: Mapping[int, int]) -> bytes:
    """Return the counts as bytes: four for each bucket that has any.

    Two encoded histograms, one after the other, are their sum.
    """
    entries = array("I")
    for bucket in sorted(histogram):
        count = histogram[bucket]
        while count > _MOST:
            entries.append(bucket << _COUNT_BITS | _MOST)
            count -= _MOST
        if count > 0:
            entries.append(bucket << _COUNT_BITS | count)
    return _little_endian(entries).tobytes()


def add_encoded(histogram: Histogram, encoded: bytes) -> None:
    """Add encoded counts to `histogram`; what a hand has cut off in the middle is left out."""
    entries = array("I")
    entries.frombytes(encoded[: len(encoded) - len(encoded) % ENTRY_BYTES])
    # Many entries are alike, and counted faster than they are added.
    for entry, times in Counter(_little_endian(entries)).items():
        bucket = entry >> _COUNT_BITS
        histogram[bucket] = histogram.get(bucket, 0) + (entry & _MOST) * times


def _little_endian(entries: array[int]) -> array[int]:
    if sys.byteorder == "big":
        entries.byteswap()
    return entries


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the time that this share (0.99) of all times do not exceed, in milliseconds; None without times."""
    total = sum(histogram.values())
    if total <= 0:
        return None
    rank = max(math.ceil(share * total), 1)
    for bucket in sorted(histogram):
        rank -= histogram[bucket]
        if rank <= 0:
            return middle_of(bucket)
    return middle_of(max(histogram))
