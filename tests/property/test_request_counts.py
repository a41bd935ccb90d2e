"""Finished requests add up to what their records say, for any times, whichever memory the counters are in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.ledger.records import Outcome, UsageRecord
from llm_gateway.core.metric_catalogue import REQUEST_DURATION
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count, sums_by
from tests.fakes.usage_records import record

_BOUNDS_MS = [seconds * 1000 for seconds in REQUEST_DURATION.buckets]
# On, just before and just after a bound, and anything between and beyond.
_TIMES = st.one_of(
    st.sampled_from([time + step for time in _BOUNDS_MS for step in (-1e-3, 0.0, 1e-3)]),
    st.floats(0, 1e7),
    st.integers(0, 120_000).map(float),
)
_RECORDS = st.builds(
    lambda changes: record("id", **changes),
    st.fixed_dictionaries(
        {
            "latency_ms": _TIMES,
            "upstream_latency_ms": st.none() | _TIMES,
            "outcome": st.sampled_from(get_args(Outcome)),
            "provider": st.sampled_from(["a", "b", None]),
            "prompt_tokens": st.none() | st.integers(0, 2**40),
            "completion_tokens": st.none() | st.integers(0, 2**40),
            "cached_tokens": st.none() | st.integers(0, 2**40),
            "reasoning_tokens": st.none() | st.integers(0, 2**40),
            "cost_nano_usd": st.none() | st.integers(0, 2**40),
        }
    ),
)


def buckets(times: Iterable[float]) -> list[float]:
    counts = [0.0] * (len(_BOUNDS_MS) + 1)
    for ms in times:
        counts[sum(bound < ms for bound in _BOUNDS_MS)] += 1
    return counts


@given(shared=st.booleans(), records=st.lists(_RECORDS, max_size=40))
def test_sums_are_those_of_the_records(shared: bool, records: list[UsageRecord]) -> None:
    with tempfile.TemporaryDirectory() as name:
        metrics = RequestMetrics(Path(name) if shared else None)
        for one in records:
            cells = metrics.cells(one.method, one.endpoint, "m", one.provider or NONE, one.status_code)
            count(cells, None, one, one.provider)
        sums = sums_by(metrics.finished(), ("provider",))
    assert sums.keys() == {(one.provider or NONE,) for one in records}
    for (provider,), found in sums.items():
        theirs = [one for one in records if (one.provider or NONE) == provider]
        called = theirs if provider != NONE else []
        priced = [one.cost_nano_usd for one in called if one.cost_nano_usd]
        counted = [one for one in called if one.prompt_tokens is not None]
        waited = [
            one.upstream_latency_ms
            for one in called
            if one.outcome == "ok" and one.upstream_latency_ms is not None
        ]
        assert found.requests == len(theirs)
        assert found.duration.buckets == buckets(one.latency_ms for one in theirs)
        assert found.duration.seconds == pytest.approx(sum(one.latency_ms for one in theirs) / 1000)
        assert found.latency.buckets == buckets(waited)
        assert found.latency.seconds == pytest.approx(sum(waited) / 1000)
        assert found.tokens == {
            "prompt": sum(one.prompt_tokens or 0 for one in counted),
            "completion": sum(one.completion_tokens or 0 for one in counted),
            "cached": sum(one.cached_tokens or 0 for one in counted),
            "reasoning": sum(one.reasoning_tokens or 0 for one in counted),
        }
        assert found.cost_usd == sum(priced) / 1e9
