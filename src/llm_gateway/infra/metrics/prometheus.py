"""Prometheus metrics of requests, providers and the journal, exact with any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.flow.ports.cache import CacheResult
from llm_gateway.flow.ports.ledger import Observer
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count
from llm_gateway.infra.metrics.shared_counters import CounterCells

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OTHER = "other"
# Clients choose the model names that only wildcard providers serve: this many of them become labels.
_WILDCARD_LABELS = 100
_OK = range(200, 300)
_UNREACHABLE_REASONS = frozenset({"connect", "timeout"})
_UNHEALTHY_STATUS = frozenset({401, 500, 502, 503, 504})


class Metrics(Observer):
    """Counts requests and provider events; `render` returns the text that Prometheus scrapes."""

    def __init__(self, is_configured: Callable[[str], bool]) -> None:
        """`is_configured` tells whether the catalog names a model."""
        # Drops the `_created` series that would double the number of series.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._is_configured = is_configured
        directory = multiprocess_directory()
        # Another worker may have set a provider's health in the meantime.
        self._is_shared = directory is not None
        self._requests = RequestMetrics(Path(directory) if directory else None)
        self._cells: dict[tuple[str, str, str | None, str | None, int], CounterCells] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self._requests)
        self._health = self._gauge(catalogue.PROVIDER_HEALTH, "mostrecent")
        self._failed_attempts = self._counter(catalogue.FAILED_ATTEMPTS)
        self._recovery_steps = self._counter(catalogue.RECOVERY_STEPS)
        self._breaker_openings = self._counter(catalogue.BREAKER_OPENINGS)
        self._open_breakers = self._gauge(catalogue.OPEN_BREAKERS, "livesum")
        self._lost_records = self._counter(catalogue.LOST_RECORDS)
        self._rejected_records = self._counter(catalogue.REJECTED_RECORDS)
        self._cache_requests = self._counter(catalogue.CACHE_REQUESTS)
        self._cache_failures = self._counter(catalogue.CACHE_FAILURES)
        self._counted_lost = self._counted_rejected = 0
        self._with_open_breakers: set[str] = set()
        self._wildcard_models: set[str] = set()
        self._healthy: dict[str, bool] = {}

    def _counter(self, metric: Metric) -> prometheus_client.Counter:
        return prometheus_client.Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _gauge(self, metric: Metric, mode: Literal["livesum", "mostrecent"]) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(
            metric.name, metric.help, metric.labels, registry=self.registry, multiprocess_mode=mode
        )

    def finished(self, record: UsageRecord) -> None:
        # A cached reply says nothing about the provider that once gave it.
        provider = None if record.cache_hit else record.provider
        key = (record.method, record.endpoint, record.model, provider, record.status_code)
        cells = self._cells.get(key)
        if cells is None:
            cells = self._cells_of(record, provider)
        count(cells, record, called=provider is not None)
        if provider is not None and record.outcome == "ok":
            self.provider_answered(provider, True)

    def attempt_failed(self, failed: AttemptEnded) -> None:
        self._failed_attempts.labels(failed.provider, failed.reason).inc()
        self._recovery_steps.labels(failed.provider, failed.next_step).inc()
        if failed.reason in _UNREACHABLE_REASONS or failed.status in _UNHEALTHY_STATUS:
            self.provider_answered(failed.provider, False)

    def provider_answered(self, provider: str, healthy: bool) -> None:
        """Set a provider's health from its last answer or probe."""
        if self._healthy.get(provider) is not healthy or self._is_shared:
            self._healthy[provider] = healthy
            self._health.labels(provider).set(1.0 if healthy else 0.0)

    def cache_answered(self, result: CacheResult) -> None:
        """Count a request that the reply cache applied to."""
        self._cache_requests.labels(result).inc()

    def cache_failed(self) -> None:
        """Count a lookup or a write that Redis did not do."""
        self._cache_failures.inc()

    def breaker_opened(self, provider: str) -> None:
        self._breaker_openings.labels(provider).inc()

    def set_open_breakers(self, numbers: Mapping[str, int]) -> None:
        """Set how many breakers of each provider are open or half-open in this process now."""
        for provider in self._with_open_breakers - numbers.keys():
            self._open_breakers.labels(provider).set(0)
        for provider, number in numbers.items():
            self._open_breakers.labels(provider).set(number)
        self._with_open_breakers = set(numbers)

    def set_record_losses(self, lost: int, rejected: int) -> None:
        """Set how many records the journal and the shipper of this process have given up since they started."""
        self._lost_records.inc(lost - self._counted_lost)
        self._rejected_records.inc(rejected - self._counted_rejected)
        self._counted_lost, self._counted_rejected = lost, rejected

    def render(self, readings: Mapping[Metric, float]) -> bytes:
        """Return the metrics of all workers as text; `readings` are the gauges read for this scrape."""
        registry = CollectorRegistry()
        if multiprocess_directory() is None:
            registry.register(_Families(self.registry.collect))
        else:
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            registry.register(self._requests)
        gauges = [
            GaugeMetricFamily(metric.name, metric.help, value=value) for metric, value in readings.items()
        ]
        registry.register(_Families(lambda: gauges))
        return generate_latest(registry)

    def _cells_of(self, record: UsageRecord, provider: str | None) -> CounterCells:
        model = self._model_label(record)
        cells = self._requests.cells(
            record.method, record.endpoint, model, provider or NONE, record.status_code
        )
        if model != _OTHER or record.model == _OTHER:
            key = (record.method, record.endpoint, record.model, provider, record.status_code)
            self._cells[key] = cells
        return cells

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


class _Families(Collector):
    def __init__(self, collect: Callable[[], Iterable[Family]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Family]:
        yield from self._collect()


def multiprocess_directory() -> str | None:
    """Return the folder in which the workers share their metrics; None if there is only one process."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or None
