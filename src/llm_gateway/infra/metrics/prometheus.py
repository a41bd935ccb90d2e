"""Prometheus metrics of requests, providers and the journal, exact with any number of workers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.core.ledger.served import KnownFacts, ServedRequest
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.flow.ports.cache import CacheResult
from llm_gateway.flow.ports.ledger import Observer
from llm_gateway.flow.ports.listeners import listener_failed
from llm_gateway.infra.metrics.credentials import CredentialMetrics, Credentials
from llm_gateway.infra.metrics.events import EventMetrics, ProviderGauges
from llm_gateway.infra.metrics.processes import ProcessGauges, full_collections
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count, count_served
from llm_gateway.infra.metrics.shared_counters import CounterCells
from llm_gateway.infra.metrics.summary import encode_summary

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Set by the supervisor: the folder in which the workers share their metrics. Unset with one process.
DIRECTORY_VARIABLE: Final = "LLM_GATEWAY_METRICS_DIRECTORY"
_OTHER = "other"
# Clients choose the model names that only wildcard providers serve: this many of them become labels.
_WILDCARD_LABELS = 100
# What requests depend on in this many combinations is remembered; it takes microseconds to find it again.
_MOST_FOUND = 8192
_OK = range(200, 300)
_UNREACHABLE_REASONS = frozenset({"connect", "timeout"})
_UNHEALTHY_STATUS = frozenset({401, 500, 502, 503, 504})
_EVENTS = (
    catalogue.FAILED_ATTEMPTS,
    catalogue.RECOVERY_STEPS,
    catalogue.BREAKER_OPENINGS,
    catalogue.LOST_RECORDS,
    catalogue.REJECTED_RECORDS,
    catalogue.SYNC_FAILURES,
    catalogue.CACHE_REQUESTS,
    catalogue.CACHE_FAILURES,
    catalogue.DROPPED_LOG_LINES,
    catalogue.LIMIT_REFUSALS,
    catalogue.FULL_COLLECTIONS,
    catalogue.CPU_SECONDS,
)


# Method, endpoint, model, provider, status.
_Labels = tuple[str, str, str | None, str | None, int]


class Metrics(Observer):
    """Counts requests and provider events; `render` returns the text that Prometheus scrapes."""

    def __init__(
        self,
        is_configured: Callable[[str], bool],
        enabled_providers: Callable[[], Collection[str]],
        is_served: Callable[[str], bool] = lambda _: True,
        credentials: Callable[[], Credentials] = dict,
    ) -> None:
        """`is_configured` tells whether the catalog names a model, `is_served` whether some provider serves it.

        `enabled_providers` returns keys, `credentials` the names of credentials with their tenants. What is gone is
        not shown: neither its gauges nor what was counted of it.
        """
        self._is_configured = is_configured
        self._is_served = is_served
        directory = shared_directory()
        # Another worker may have set a provider's health in the meantime.
        self._is_shared = directory is not None
        self._started_at = _started_at(directory)
        self._requests = RequestMetrics(directory, enabled_providers, self._shows_model)
        self._events = EventMetrics(_EVENTS, directory, enabled_providers)
        self._gauges = ProviderGauges(
            catalogue.PROVIDER_HEALTH, catalogue.OPEN_BREAKERS, enabled_providers, directory
        )
        self._of_credentials = CredentialMetrics(credentials, directory)
        self.processes = ProcessGauges(directory)
        self._collectors = (
            self._requests,
            self._of_credentials,
            self._events,
            self._gauges,
            self.processes,
        )
        self._cells: dict[_Labels, CounterCells] = {}
        # One look at it finds all cells of a request: those of its labels, and those of its credential.
        self._found: dict[tuple[*_Labels, str | None], tuple[CounterCells, CounterCells | None]] = {}
        self._found_served: dict[KnownFacts, tuple[CounterCells, CounterCells | None]] = {}
        self.registry = CollectorRegistry()
        for collector in self._collectors:
            self.registry.register(collector)
        # How much of each total of this process is counted.
        self._counted: dict[Metric, float] = {}
        self._with_open_breakers: set[str] = set()
        self._wildcard_models: set[str] = set()
        self._healthy: dict[str, bool] = {}

    def finished(self, record: UsageRecord) -> None:
        # A cached reply says nothing about the provider that once gave it.
        provider = None if record.cache_hit else record.provider
        key = (record.method, record.endpoint, record.model, provider, record.status_code, record.credential)
        found = self._found.get(key)
        if found is None:
            found = self._find(record, provider)
        cells, of_credential = found
        count(cells, of_credential, record, provider)
        if (
            provider is not None
            and record.outcome == "ok"
            and (self._is_shared or self._healthy.get(provider) is not True)
        ):
            self.provider_answered(provider, True)

    def served(self, requests: Sequence[ServedRequest]) -> None:
        found, healthy, is_shared = self._found_served, self._healthy, self._is_shared
        for request in requests:
            try:
                known = request.known
                cells = found.get(known)
                if cells is None:
                    cells = self._find_served(request)
                count_served(*cells, request)
                if is_shared or healthy.get(known.provider) is not True:
                    self.provider_answered(known.provider, True)
            except Exception as error:  # noqa: BLE001 - those that follow are counted all the same
                listener_failed(self.served, error, request)

    def attempt_failed(self, failed: AttemptEnded) -> None:
        self._events.add(catalogue.FAILED_ATTEMPTS, failed.provider, failed.reason or NONE)
        self._events.add(catalogue.RECOVERY_STEPS, failed.provider, failed.next_step or NONE)
        if failed.reason in _UNREACHABLE_REASONS or failed.status in _UNHEALTHY_STATUS:
            self.provider_answered(failed.provider, False)

    def provider_answered(self, provider: str, healthy: bool) -> None:
        """Set a provider's health from its last answer or probe."""
        if self._healthy.get(provider) is not healthy or self._is_shared:
            self._healthy[provider] = healthy
            self._gauges.set_latest(provider, 1.0 if healthy else 0.0)

    def provider_health(self) -> Mapping[str, bool]:
        """Tell of each provider whether its last answer or probe, in any worker, was a good one."""
        return self._gauges.latest()

    def configuration_changed(self) -> None:
        """Forget the health of providers that are no longer enabled, and what was known of credentials."""
        self._found.clear()
        self._found_served.clear()
        for provider in self._gauges.forget_others():
            self._healthy.pop(provider, None)

    def cache_answered(self, result: CacheResult) -> None:
        """Count a request that the reply cache applied to."""
        self._events.add(catalogue.CACHE_REQUESTS, result)

    def cache_failed(self) -> None:
        """Count a lookup or a write that Redis did not do."""
        self._events.add(catalogue.CACHE_FAILURES)

    def limit_refused(self, scope: str, limit: str) -> None:
        """Count a request that a limit of use refused."""
        self._events.add(catalogue.LIMIT_REFUSALS, scope, limit)

    def breaker_opened(self, provider: str) -> None:
        self._events.add(catalogue.BREAKER_OPENINGS, provider)

    def set_open_breakers(self, numbers: Mapping[str, int]) -> None:
        """Set how many breakers of each provider are open or half-open in this process now."""
        for provider in self._with_open_breakers - numbers.keys():
            self._gauges.set_summed(provider, 0)
        for provider, number in numbers.items():
            self._gauges.set_summed(provider, number)
        self._with_open_breakers = set(numbers)

    def set_record_losses(self, lost: int, rejected: int) -> None:
        """Set how many records the journal and the shipper of this process have given up since they started."""
        self._count_up_to(lost, catalogue.LOST_RECORDS)
        self._count_up_to(rejected, catalogue.REJECTED_RECORDS)

    def set_sync_failures(self, failures: int) -> None:
        """Set how often the journal of this process could not be synced since it started."""
        self._count_up_to(failures, catalogue.SYNC_FAILURES)

    def set_dropped_log_lines(self, dropped: int) -> None:
        """Set how many lines of its logs this process has dropped since it started."""
        self._count_up_to(dropped, catalogue.DROPPED_LOG_LINES)

    def set_process_totals(self) -> None:
        """Count the CPU time and the garbage collections of this process up to now."""
        self._count_up_to(time.process_time(), catalogue.CPU_SECONDS)
        self._count_up_to(full_collections(), catalogue.FULL_COLLECTIONS)

    def _count_up_to(self, total: float, metric: Metric) -> None:
        known = self._counted.get(metric, 0)
        if total > known:
            self._events.add(metric, number=total - known)
            self._counted[metric] = total

    def render(
        self, readings: Mapping[Metric, float], labelled: Mapping[Metric, Mapping[str, float]] | None = None
    ) -> bytes:
        """Return the metrics of all workers as text; `readings` are the gauges read for this scrape.

        `labelled` are those with one label, by its values.
        Any thread may call it. A file of another worker that cannot be read is skipped and counted.
        """
        from prometheus_client import generate_latest  # noqa: PLC0415 - see the package's `__init__`

        registry = CollectorRegistry()
        # Collected first: only then it is known which files could not be read.
        families = list(self.registry.collect())
        unreadable = sum(collector.unreadable for collector in self._collectors)
        gauges = [
            GaugeMetricFamily(metric.name, metric.help, value=value)
            for metric, value in {**readings, catalogue.UNREADABLE_METRICS_FILES: unreadable}.items()
        ]
        for metric, values in (labelled or {}).items():
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for label, value in sorted(values.items()):
                family.add_metric([label], value)
            gauges.append(family)
        registry.register(_Families([*families, *gauges]))
        return generate_latest(registry)

    def summary(self, active: int) -> bytes:
        """Return the performance of all workers as JSON, with `active` requests in flight; any thread may call it."""
        uptime = max(time.time() - self._started_at, 0.0)
        return encode_summary(self._requests.finished(), active=active, uptime=uptime)

    def _find(self, record: UsageRecord, provider: str | None) -> tuple[CounterCells, CounterCells | None]:
        labels = (record.method, record.endpoint, record.model, provider, record.status_code)
        cells = self._cells.get(labels)
        if cells is None:
            cells = self._cells_of(record, provider)
        credential = record.credential
        of_credential = self._of_credentials.cells(credential)
        # Neither models that clients make up nor credentials that may come are remembered.
        if labels in self._cells and (credential is None or of_credential is not None):
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[*labels, credential] = cells, of_credential
        return cells, of_credential

    def _find_served(self, request: ServedRequest) -> tuple[CounterCells, CounterCells | None]:
        """Return what `_find` returns for its record, and remember it if that does."""
        record = request.record()
        cells = self._find(record, record.provider)
        if self._is_remembered(record):
            if len(self._found_served) >= _MOST_FOUND:
                self._found_served.clear()
            self._found_served[request.known] = cells
        return cells

    def _is_remembered(self, record: UsageRecord) -> bool:
        labels = (record.method, record.endpoint, record.model, record.provider, record.status_code)
        return (*labels, record.credential) in self._found

    def _cells_of(self, record: UsageRecord, provider: str | None) -> CounterCells:
        model = self._model_label(record)
        cells = self._requests.cells(
            record.method, record.endpoint, model, provider or NONE, record.status_code
        )
        if model != _OTHER or record.model == _OTHER:
            key = (record.method, record.endpoint, record.model, provider, record.status_code)
            self._cells[key] = cells
        return cells

    def _shows_model(self, model: str) -> bool:
        return model in {NONE, _OTHER} or self._is_served(model)

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


def shared_directory() -> Path | None:
    """Return the folder in which the workers share their metrics; None with one process."""
    name = os.environ.get(DIRECTORY_VARIABLE)
    return Path(name) if name else None


def _started_at(directory: Path | None) -> float:
    """Return when the gateway was started, in Unix seconds: this process, or the one that began the directory."""
    if directory is not None:
        # The supervisor makes it first of all, and writes nothing to it.
        with contextlib.suppress(OSError):
            return (directory / "in_use.lock").stat().st_mtime
    return time.time()


class _Families(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families
