"""The catalogue follows Prometheus' conventions, and keeps the names that dashboards of the reference system read."""

from __future__ import annotations

import re

import pytest

from llm_gateway.core.metric_catalogue import CATALOGUE, Metric

# What those dashboards read (S4.50 to S4.55): names, and labels where the requirement names them.
REFERENCE_LABELS = {
    "llm_proxy_requests_total": ("method", "endpoint", "model", "provider", "status_code"),
    "llm_proxy_tokens_total": ("model", "provider", "token_type"),
}
REFERENCE_NAMES = {
    *REFERENCE_LABELS,
    "llm_proxy_request_duration_seconds",
    "llm_proxy_active_requests",
    "llm_proxy_provider_health",
    "llm_proxy_provider_latency_seconds",
}

WITH_FIXED_LABELS = {"llm_gateway_upstream_connections"}


def test_a_name_stands_for_one_metric() -> None:
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_an_entry_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"llm_(proxy|gateway)_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") is (metric.type == "counter")
    assert bool(metric.buckets) is (metric.type == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)
    if metric.unit in {"seconds", "bytes"}:
        assert metric.name.removesuffix("_total").endswith(f"_{metric.unit}")
    assert re.fullmatch(r"[A-Z1][^\n|`]+\.", metric.help)
    # A metric with labels has no sample before its first event, unless the values of its labels are fixed.
    assert bool(metric.labels) is (metric.appears_after is not None) or metric.name in WITH_FIXED_LABELS


def test_s4_50_to_s4_55_reference_metrics_keep_names_and_labels() -> None:
    labels = {metric.name: metric.labels for metric in CATALOGUE}
    assert REFERENCE_NAMES - labels.keys() == set()
    assert {name: labels[name] for name in REFERENCE_LABELS} == REFERENCE_LABELS
