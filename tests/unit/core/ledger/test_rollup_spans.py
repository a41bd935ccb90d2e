"""Any range is covered once, by spans that are stored, and by rows only at its borders."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.rollup_spans import QUARTER, SPAN_MINUTES, bucket_start, covering

MINUTE = 60_000_000
DAYS = 3 * 1440 * MINUTE


@given(st.integers(0, DAYS), st.integers(0, DAYS))
def test_the_ranges_follow_one_another_from_start_to_end(start: int, end: int) -> None:
    ranges = covering(start, end)
    if start >= end:
        assert ranges == []
        return
    assert (ranges[0].start, ranges[-1].end) == (start, end)
    for before, after in pairwise(ranges):
        assert before.end == after.start
    for one in ranges:
        assert one.start < one.end
        if one.minutes:
            assert one.minutes in SPAN_MINUTES
            assert one.start % (one.minutes * MINUTE) == one.end % (one.minutes * MINUTE) == 0
    rows = [one for one in ranges if not one.minutes]
    assert len(rows) <= 2
    assert all(one.end - one.start < QUARTER * 2 for one in rows)
    assert (
        all(bucket_start(one.start, 15) == bucket_start(one.end - 1, 15) for one in rows) or len(ranges) == 1
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 120, [(60, 0, 120)]),
        (15, 135, [(15, 15, 60), (60, 60, 120), (15, 120, 135)]),
        (45, 75, [(15, 45, 75)]),
        (50, 55, [(0, 50, 55)]),
        (10, 70, [(0, 10, 15), (15, 15, 60), (0, 60, 70)]),
    ],
)
def test_large_spans_come_first(start: int, end: int, expected: list[tuple[int, int, int]]) -> None:
    assert [
        (one.minutes, one.start // MINUTE, one.end // MINUTE)
        for one in covering(start * MINUTE, end * MINUTE)
    ] == [*expected]
