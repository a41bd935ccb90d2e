"""Prometheus metrics from usage facts: S4's names and labels, exact with any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.cache import CacheResult
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count
from llm_gateway.infra.metrics.shared_counters import CounterCells

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OTHER = "other"
# Names that only wildcard providers serve come from clients: this many become labels.
_WILDCARD_LABELS = 100
_OK = range(200, 300)
_DEAD_REASONS = frozenset({"connect", "timeout"})
_UNHEALTHY_STATUS = frozenset({401, 500, 502, 503, 504})


class Metrics:
    """The `Observer` that counts; `render` gives what Prometheus scrapes."""

    def __init__(self, is_configured: Callable[[str], bool]) -> None:
        """Make the metrics; `is_configured` tells whether a model name stands in the catalog."""
        # A second series for each counter that only says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._is_configured = is_configured
        directory = multiprocess_directory()
        # Another worker may have said otherwise of a provider since.
        self._shared = directory is not None
        self._requests = RequestMetrics(Path(directory) if directory else None)
        self._rows: dict[tuple[str, str, str | None, str | None, int], CounterCells] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self._requests)
        common: dict[str, Any] = {"registry": self.registry}
        self._health = Gauge(
            "llm_proxy_provider_health", "1 when the provider answered last time, 0 when it did not.",
            ("provider",), multiprocess_mode="mostrecent", **common,
        )  # fmt: skip
        self._failed_attempts = Counter(
            "llm_gateway_failed_attempts", "Attempts that led to no reply, by what went wrong.",
            ("provider", "reason"), **common,
        )  # fmt: skip
        self._recovery_steps = Counter(
            "llm_gateway_recovery_steps",
            "What was done after a failed attempt.",
            ("provider", "step"),
            **common,
        )
        self._breaker_openings = Counter(
            "llm_gateway_breaker_openings",
            "Times that a deployment's breaker opened.",
            ("provider",),
            **common,
        )
        self._open_breakers = Gauge(
            "llm_gateway_open_breakers", "Breakers that are open or half-open now, of all workers.",
            ("provider",), multiprocess_mode="livesum", **common,
        )  # fmt: skip
        self._lost_facts = Counter(
            "llm_gateway_journal_lost_records", "Usage facts that could not be written.", **common
        )
        self._rejected_facts = Counter(
            "llm_gateway_journal_rejected_records", "Usage facts set aside as unreadable.", **common
        )
        self._cache_requests = Counter(
            "llm_gateway_cache_requests", "Requests that kept replies had a part in, by what came of it.",
            ("result",), **common,
        )  # fmt: skip
        self._cache_failures = Counter(
            "llm_gateway_cache_failures", "Lookups and stores of replies that Redis did not do.", **common
        )
        self._told_lost = self._told_rejected = 0
        self._with_open_breakers: set[str] = set()
        self._wildcard_models: set[str] = set()
        self._healthy: dict[str, bool] = {}

    def finished(self, record: UsageRecord) -> None:
        """Count one request."""
        # A kept reply says nothing of the provider that gave it once.
        provider = None if record.cache_hit else record.provider
        key = (record.method, record.endpoint, record.model, provider, record.status_code)
        row = self._rows.get(key)
        if row is None:
            row = self._row(record, provider)
        count(row, record, called=provider is not None)
        if provider is not None and record.outcome == "ok":
            self.provider_answered(provider, True)

    def attempt_failed(self, failed: AttemptEnded) -> None:
        """Count a failed attempt, and remember who does not answer."""
        self._failed_attempts.labels(failed.provider, failed.reason).inc()
        self._recovery_steps.labels(failed.provider, failed.next_step).inc()
        if failed.reason in _DEAD_REASONS or failed.status in _UNHEALTHY_STATUS:
            self.provider_answered(failed.provider, False)

    def provider_answered(self, provider: str, healthy: bool) -> None:
        """Note how a provider's last answer, or probe, went."""
        if self._healthy.get(provider) is not healthy or self._shared:
            self._healthy[provider] = healthy
            self._health.labels(provider).set(1.0 if healthy else 0.0)

    def cache_answered(self, result: CacheResult) -> None:
        """Count a request that kept replies had a part in."""
        self._cache_requests.labels(result).inc()

    def cache_failed(self) -> None:
        """Count a lookup or a store that was not done."""
        self._cache_failures.inc()

    def breaker_opened(self, provider: str) -> None:
        """Count a breaker that has opened."""
        self._breaker_openings.labels(provider).inc()

    def show_open_breakers(self, numbers: Mapping[str, int]) -> None:
        """Take over how many breakers of each provider are not closed in this process now."""
        for provider in self._with_open_breakers - numbers.keys():
            self._open_breakers.labels(provider).set(0)
        for provider, number in numbers.items():
            self._open_breakers.labels(provider).set(number)
        self._with_open_breakers = set(numbers)

    def count_losses(self, lost: int, rejected: int) -> None:
        """Take over what this process' journal and shipper have counted since their start."""
        self._lost_facts.inc(lost - self._told_lost)
        self._rejected_facts.inc(rejected - self._told_rejected)
        self._told_lost, self._told_rejected = lost, rejected

    def render(self, now: Iterable[Metric]) -> bytes:
        """Return the text of all workers' metrics, with the gauges that are read at this moment."""
        registry = CollectorRegistry()
        if multiprocess_directory() is None:
            registry.register(_Relay(self.registry.collect))
        else:
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            registry.register(self._requests)
        registry.register(_Relay(lambda: now))
        return generate_latest(registry)

    def _row(self, record: UsageRecord, provider: str | None) -> CounterCells:
        model = self._model_label(record)
        row = self._requests.row(record.method, record.endpoint, model, provider or NONE, record.status_code)
        if model != _OTHER or record.model == _OTHER:
            key = (record.method, record.endpoint, record.model, provider, record.status_code)
            self._rows[key] = row
        return row

    def _model_label(self, record: UsageRecord) -> str:
        model = record.model
        if model is None:
            return NONE
        if self._is_configured(model) or model in self._wildcard_models:
            return model
        if record.status_code in _OK and len(self._wildcard_models) < _WILDCARD_LABELS:
            self._wildcard_models.add(model)
            return model
        return _OTHER


class _Relay(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        yield from self._collect()


def multiprocess_directory() -> str | None:
    """Return where the workers of this boot share their metrics, None when there is one process."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or None


def gauge(name: str, meaning: str, value: float) -> Metric:
    """Return a gauge that was read just now."""
    return GaugeMetricFamily(name, meaning, value=value)
