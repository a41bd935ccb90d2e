"""Histograms stand for times within 4.4 %, and are merged by addition."""

from __future__ import annotations

import math
import random

import pytest

from llm_gateway.core.ledger.histogram import (
    ENTRY_BYTES,
    Histogram,
    add_encoded,
    add_times,
    bucket_of,
    encode,
    middle_of,
    percentile,
)


def of(*times: float) -> Histogram:
    histogram: Histogram = {}
    for ms in times:
        histogram[bucket_of(ms)] = histogram.get(bucket_of(ms), 0) + 1
    return histogram


@pytest.mark.parametrize("exponent", [number / 7 for number in range(-34, 170)])
def test_the_middle_of_a_bucket_is_at_most_4_4_percent_off(exponent: float) -> None:
    ms = 2.0**exponent
    assert abs(middle_of(bucket_of(ms)) / ms - 1) < 0.0443 + 1e-4


@pytest.mark.parametrize(
    "times",
    [
        (),
        (1.0, 2.0, 2.0**0.125, 999_999.9, 0.011),
        tuple(2.0 ** (number / 7) for number in range(-40, 139)),
        (5.0, float("nan")),
        (float("nan"), 5.0),
        (5.0, float("inf"), 0.0),
        (0.0,),
        (-1.0, 7.0),
        (0.0099, 1e6, 12),
    ],
)
def test_times_that_are_added_together_have_the_buckets_that_each_has(times: tuple[float, ...]) -> None:
    histogram = {7: 1}
    add_times(histogram, times)
    expected = of(*times)
    expected[7] = expected.get(7, 0) + 1
    assert histogram == expected


@pytest.mark.parametrize(
    ("ms", "bucket"),
    [(0.0, 0), (-5.0, 0), (float("nan"), 0), (1e-9, 0), (1.0, 55), (1e12, 255), (float("inf"), 255)],
)
def test_every_time_has_a_bucket(ms: float, bucket: int) -> None:
    assert bucket_of(ms) == bucket


def test_buckets_rise_with_the_time() -> None:
    times = [1.01**step * 0.01 for step in range(2000)]
    buckets = [bucket_of(ms) for ms in times]
    assert buckets == sorted(buckets)
    assert len(set(buckets)) > 200


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_s4_8_a_percentile_is_within_4_4_percent_of_the_true_one(share: float) -> None:
    rng = random.Random(7)
    times = sorted(rng.lognormvariate(6, 1.5) for _ in range(5000))
    true = times[max(math.ceil(share * len(times)), 1) - 1]
    found = percentile(of(*times), share)
    assert found is not None
    assert abs(found / true - 1) < 0.0444


def test_no_times_have_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


def test_encoded_histograms_one_after_the_other_are_their_sum() -> None:
    first, second = {3: 1, 70: 2**30, 255: 7}, {0: 5, 70: 1}
    merged: Histogram = {}
    add_encoded(merged, encode(first) + encode(second))
    assert merged == {0: 5, 3: 1, 70: 2**30 + 1, 255: 7}
    assert len(encode({70: 2**24 - 1})) == ENTRY_BYTES
    assert encode({1: 2}) == b"\x02\x00\x00\x01"


def test_what_is_no_count_is_left_out() -> None:
    assert encode({5: 0, 6: -3}) == b""
    merged: Histogram = {}
    add_encoded(merged, encode({5: 2}) + b"\x01\x02")
    assert merged == {5: 2}


@pytest.mark.parametrize("eighths", range(-16, 200, 3))
def test_a_bucket_begins_at_an_eighth_of_a_doubling(eighths: int) -> None:
    border = 2.0 ** (eighths / 8)
    assert bucket_of(border * 1.000001) == 55 + eighths
    assert bucket_of(border * 0.999999) == 54 + eighths
