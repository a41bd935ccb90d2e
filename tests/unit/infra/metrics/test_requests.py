"""Finished requests become the families of the catalogue, with cumulative buckets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.core import Metric as Family

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.pricing.cost import UnknownCost
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count
from tests.fakes.usage_records import record

HISTOGRAMS = (catalogue.REQUEST_DURATION, catalogue.PROVIDER_LATENCY, catalogue.TIME_TO_FIRST_TOKEN)


def families(metrics: RequestMetrics) -> dict[str, Family]:
    return {family.name: family for family in metrics.collect()}


def value(metrics: RequestMetrics, sample: str, **labels: str) -> float:
    found = [
        one.value
        for family in metrics.collect()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert len(found) == 1, found
    return found[0]


def test_one_layout_of_cells_serves_all_histograms() -> None:
    assert {metric.buckets for metric in HISTOGRAMS} == {catalogue.REQUEST_DURATION.buckets}


@pytest.mark.parametrize(
    ("ms", "first"), [(0.0, "0.01"), (10.0, "0.01"), (10.1, "0.025"), (600_000.0, "600.0"), (1e9, "+Inf")]
)
def test_a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed(ms: float, first: str) -> None:
    metrics = RequestMetrics(None)
    count(metrics.cells("POST", "/e", "m", "p", 200), None, record("r", latency_ms=ms), "p")
    bounds = [*map(str, catalogue.REQUEST_DURATION.buckets), "+Inf"]
    name = catalogue.REQUEST_DURATION.name
    for bound in bounds:
        expected = float(bounds.index(bound) >= bounds.index(first))
        assert value(metrics, f"{name}_bucket", le=bound) == expected, bound
    assert value(metrics, f"{name}_sum") == ms / 1000


def shown(metrics: RequestMetrics, metric: catalogue.Metric) -> dict[tuple[str, ...], float]:
    family = families(metrics)[metric.name.removesuffix("_total")]
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for sample in family.samples
        if sample.name == metric.name
    }


def test_costs_are_summed_by_model_and_provider_without_loss() -> None:
    metrics = RequestMetrics(None)
    for status in (200, 499):
        cells = metrics.cells("POST", "/e", "m", "p", status)
        for _ in range(1000):
            count(cells, None, record("r", cost_nano_usd=123_456_789), "p")
    count(metrics.cells("POST", "/e", "m", "q", 200), None, record("r", cost_nano_usd=1), "p")
    # A sum of 2,000 floats of 0.123456789 is 246.91357800000188.
    assert shown(metrics, catalogue.COST) == {("m", "p"): 246.913578, ("m", "q"): 1e-9}


def test_unpriced_requests_are_counted_by_reason() -> None:
    metrics = RequestMetrics(None)
    cells = metrics.cells("POST", "/e", "m", "p", 200)
    for reason in get_args(UnknownCost):
        count(cells, None, record("r", unpriced=reason), "p")
    count(cells, None, record("r", unpriced="no_price"), "p")
    assert shown(metrics, catalogue.UNPRICED_REQUESTS) == {
        ("m", "p", reason): 2.0 if reason == "no_price" else 1.0 for reason in get_args(UnknownCost)
    }
    assert shown(metrics, catalogue.COST) == {}


def test_a_request_without_tokens_or_without_a_price_to_pay_adds_no_series() -> None:
    metrics = RequestMetrics(None)
    cells = metrics.cells("POST", "/e", "m", "p", 200)
    count(cells, None, record("r", prompt_tokens=None), "p")
    count(cells, None, record("r", cost_nano_usd=0, cost_source="override"), "p")
    count(metrics.cells("POST", "/e", "m", NONE, 200), None, record("r", cost_nano_usd=0), None)
    assert shown(metrics, catalogue.COST) == shown(metrics, catalogue.UNPRICED_REQUESTS) == {}


def test_a_request_without_provider_counts_no_tokens_and_no_latency() -> None:
    metrics = RequestMetrics(None)
    cached = record("r", cache_hit=True, upstream_latency_ms=5.0, ttft_ms=1.0)
    count(metrics.cells("POST", "/e", "m", NONE, 200), None, cached, None)
    found = families(metrics)
    assert value(metrics, catalogue.REQUESTS.name, provider=NONE) == 1
    for metric in (catalogue.TOKENS, catalogue.PROVIDER_LATENCY, catalogue.TIME_TO_FIRST_TOKEN):
        assert found[metric.name.removesuffix("_total")].samples == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"upstream_latency_ms": 20.0}, 1),
        ({"upstream_latency_ms": None}, 0),
        ({"upstream_latency_ms": 20.0, "outcome": "error"}, 0),
    ],
)
def test_only_whole_replies_count_for_a_providers_latency(changes: dict[str, Any], expected: int) -> None:
    metrics = RequestMetrics(None)
    count(metrics.cells("POST", "/e", "m", "p", 200), None, record("r", **changes), "p")
    assert value(metrics, f"{catalogue.PROVIDER_LATENCY.name}_count", provider="p") == expected


def test_the_counts_of_all_processes_are_summed_over_the_labels_that_a_metric_leaves_out(
    tmp_path: Path,
) -> None:
    workers = [RequestMetrics(tmp_path), RequestMetrics(tmp_path)]
    for worker in workers:
        for status in (200, 500):
            count(worker.cells("POST", "/e", "m", "p", status), None, record("r"), "p")
    assert value(workers[0], catalogue.REQUESTS.name, status_code="500") == 2
    assert value(workers[0], f"{catalogue.REQUEST_DURATION.name}_count", model="m") == 4
    assert value(workers[1], catalogue.TOKENS.name, token_type="prompt") == 12


def test_streams_that_broke_after_their_first_content_are_counted() -> None:
    metrics = RequestMetrics(None)
    cells = metrics.cells("POST", "/v1", "m", "p", 200)
    for outcome in ("ok", "error", "error", "aborted"):
        count(cells, None, record("r", outcome=outcome), "p")
    refused = metrics.cells("POST", "/v1", "m", "p", 502)
    count(refused, None, record("r", outcome="error", status_code=502), "p")
    [family] = [one for one in metrics.collect() if one.name == "llm_gateway_broken_streams"]
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ({"model": "m", "provider": "p"}, 2)
    ]
