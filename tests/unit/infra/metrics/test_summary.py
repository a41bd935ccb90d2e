"""The summary adds up what the histograms and counters know, and stays small."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.metric_catalogue import REQUEST_DURATION
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count
from llm_gateway.infra.metrics.summary import MOST_ROWS, encode_summary, quantile
from tests.fakes.usage_records import record


def add(metrics: RequestMetrics, model: str, provider: str, status: int, **changes: Any) -> None:
    cells = metrics.cells("POST", "/v1/chat/completions", model, provider, status)
    count(cells, None, record("r", **changes), None if provider == NONE else provider)


def summary(metrics: RequestMetrics) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.json.decode(encode_summary(metrics.finished(), active=3, uptime=12.3456))
    return shown


def test_s0_37_nothing_happened_yet() -> None:
    nothing = dict.fromkeys(("mean", "p50", "p95", "p99"))
    assert summary(RequestMetrics(None)) == {
        "uptime_seconds": 12.346,
        "active_requests": 3,
        "requests": 0,
        "errors": 0,
        "requests_by_status": {},
        "latency_ms": nothing,
        "llm_latency_ms": nothing,
        "tokens": dict.fromkeys(("prompt", "completion", "cached", "reasoning", "total"), 0),
        "cost_usd": 0,
        "unpriced_requests": 0,
        "models": [],
        "omitted_models": 0,
        "providers": [],
        "omitted_providers": 0,
    }


def test_s0_37_requests_are_added_up_by_status_model_and_provider() -> None:
    metrics = RequestMetrics(None)
    for _ in range(3):
        add(
            metrics, "m", "p", 200, latency_ms=20.0, upstream_latency_ms=15.0, cached_tokens=1,
            cost_nano_usd=1_000_000,
        )  # fmt: skip
    add(metrics, "m", "q", 200, latency_ms=40.0, unpriced="no_price")
    add(metrics, "m", "p", 502, latency_ms=5.0, outcome="error", prompt_tokens=None)
    add(metrics, "m", NONE, 429, latency_ms=1.0, outcome="rejected")
    add(metrics, NONE, NONE, 401, latency_ms=1.0, outcome="rejected")
    add(metrics, "m", "p", 499, latency_ms=1.0, outcome="aborted", prompt_tokens=None)
    shown = summary(metrics)
    assert (shown["requests"], shown["errors"]) == (8, 4)
    assert shown["requests_by_status"] == {"2xx": 4, "4xx": 3, "5xx": 1}
    assert shown["tokens"] == {"prompt": 12, "completion": 8, "cached": 3, "reasoning": 0, "total": 20}
    assert (shown["cost_usd"], shown["unpriced_requests"]) == (0.003, 1)
    assert shown["latency_ms"]["mean"] == round((3 * 20 + 40 + 5 + 3) / 8, 3)
    assert [(row["model"], row["provider"], row["requests"], row["errors"]) for row in shown["models"]] == [
        ("m", "p", 5, 2),
        ("m", None, 1, 1),
        ("m", "q", 1, 0),
    ]
    assert [(row["provider"], row["requests_by_status"]) for row in shown["providers"]] == [
        ("p", {"2xx": 3, "4xx": 1, "5xx": 1}),
        ("q", {"2xx": 1}),
    ]
    first = shown["providers"][0]
    assert "model" not in first
    assert first["llm_latency_ms"]["mean"] == 15.0
    assert first["tokens"]["total"] == 15


def test_the_number_of_rows_is_bounded_and_the_rest_is_counted() -> None:
    metrics = RequestMetrics(None)
    for number in range(MOST_ROWS + 7):
        add(metrics, f"m{number}", f"p{number}", 200)
    add(metrics, "m106", "p106", 200)
    shown = summary(metrics)
    assert len(shown["models"]) == len(shown["providers"]) == MOST_ROWS
    assert shown["models"][0]["model"] == "m106"
    assert (shown["omitted_models"], shown["omitted_providers"]) == (7, 7)
    assert shown["requests"] == MOST_ROWS + 8


@pytest.mark.parametrize(
    ("times", "share", "expected"),
    [
        # Ten in the first bucket, up to 10 ms: spread evenly.
        ([0.005] * 10, 0.5, 0.005),
        ([0.005] * 10, 1.0, 0.01),
        ([0.005] * 9 + [0.3], 0.95, 0.375),
        ([0.3], 0.0, 0.25),
        # Above the last bound nothing is known.
        ([1000.0] * 4, 0.5, 600.0),
        ([], 0.5, 600.0),
    ],
)
def test_quantiles_are_those_of_prometheus(times: list[float], share: float, expected: float) -> None:
    bounds = [*REQUEST_DURATION.buckets, float("inf")]
    buckets = [0.0] * len(bounds)
    for time in times:
        buckets[next(place for place, bound in enumerate(bounds) if time <= bound)] += 1
    assert quantile(buckets, share) == pytest.approx(expected)
