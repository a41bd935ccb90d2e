"""Times of requests on one axis."""

from __future__ import annotations

import pytest

from llm_gateway.console.requests.timeline import WIDTH, Lane, Timeline, timeline_of
from llm_gateway.core.ledger.records import AttemptEnded, last_attempt
from tests.fakes.usage_records import failed_attempt, record

CREATED = 1_750_000_000_000_000


def drawn(*attempts: AttemptEnded, **changes: object) -> Timeline:
    found = timeline_of(record("r", **changes), attempts)
    assert found is not None
    return found


def phases(lane: Lane) -> list[tuple[str, float, float]]:
    return [(span.phase, round(span.start, 3), round(span.end, 3)) for span in lane.spans]


def test_a_streamed_request_waits_streams_and_is_finished() -> None:
    whole = record(
        "r", latency_ms=100.0, upstream_latency_ms=80.0, ttft_ms=30.0, attempt_started_at=CREATED + 10_000
    )
    attempt = last_attempt(whole)
    assert attempt is not None
    found = timeline_of(whole, [attempt])
    assert found is not None
    assert [lane.label for lane in found.lanes] == [
        "Before the first attempt",
        "Attempt 1: main",
        "After the last attempt",
    ]
    before, middle, after = found.lanes
    assert phases(before) == [("gateway", 0.0, 10.0)]
    assert phases(middle) == [("waiting", 10.0, 30.0), ("streaming", 30.0, 90.0)]
    assert {name: round(length, 3) for name, length in middle.phases.items()} == {
        "waiting": 20.0,
        "streaming": 60.0,
    }
    assert phases(after) == [("gateway", 90.0, 100.0)]
    assert [*found.ticks] == [0, 25, 50, 75, 100]
    spans = [span for lane in found.lanes for span in lane.spans]
    assert [(round(span.x), round(span.width)) for span in spans] == [
        (0, 100),
        (100, 200),
        (300, 600),
        (900, 100),
    ]


def test_failed_attempts_and_the_wait_between_them_show() -> None:
    first = failed_attempt("r", started_at=CREATED, latency_ms=5.0)
    second = failed_attempt("r", attempt=2, started_at=CREATED + 25_000, latency_ms=75.0, outcome="ok")
    lanes = drawn(first, second, latency_ms=100.0).lanes
    assert [phases(lane) for lane in lanes] == [[("failed", 0.0, 5.0)], [("waiting", 25.0, 100.0)]]


def test_an_attempt_without_a_latency_lasts_until_the_next_one() -> None:
    first = failed_attempt("r", started_at=CREATED, latency_ms=None, outcome="interrupted")
    second = failed_attempt("r", attempt=2, started_at=CREATED + 40_000, latency_ms=10.0)
    lanes = drawn(first, second, latency_ms=50.0).lanes
    assert [phases(lane) for lane in lanes] == [[("unknown", 0.0, 40.0)], [("failed", 40.0, 50.0)]]


def test_a_request_without_attempts_is_the_gateways_own() -> None:
    (lane,) = drawn(latency_ms=0.4, attempts=0).lanes
    assert (lane.label, phases(lane)) == ("Gateway", [("gateway", 0.0, 0.4)])


def test_nothing_is_drawn_of_a_request_whose_process_was_killed() -> None:
    killed = failed_attempt("r", started_at=CREATED, latency_ms=None)
    assert timeline_of(record("r", latency_ms=0.0, outcome="interrupted"), [killed]) is None


def test_everything_is_on_the_axis_even_if_clocks_disagree() -> None:
    early = failed_attempt("r", started_at=CREATED - 10_000_000, latency_ms=0.0)
    late = failed_attempt("r", attempt=2, started_at=CREATED + 10_000_000, latency_ms=3.0, ttft_ms=99.0)
    found = drawn(early, late, latency_ms=1.0)
    assert found.total == pytest.approx(10_003)
    for lane in found.lanes:
        for span in lane.spans:
            assert span.x >= 0
            assert span.width > 0
            assert span.x + span.width <= WIDTH


def test_many_attempts_are_not_all_drawn() -> None:
    attempts = [failed_attempt("r", attempt=n + 1, started_at=CREATED + n, latency_ms=1.0) for n in range(70)]
    found = drawn(*attempts, latency_ms=1.0)
    assert (len(found.lanes), found.more) == (50, 20)
