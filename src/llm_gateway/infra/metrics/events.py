"""Metrics of events and states: one number for each set of labels, shared by all workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.infra.metrics.shared_counters import Key, SharedCounters

# A key is the name of the metric and the values of its labels.
_NAME, _LABELS = 0, slice(1, None)
_VALUE, _TIME = 0, 1


class EventMetrics(Collector):
    """Counters: each worker adds to its own, and a scrape sums them."""

    def __init__(
        self,
        metrics: Sequence[Metric],
        directory: Path | None,
        providers: Callable[[], Collection[str]] | None = None,
    ) -> None:
        """Expose `metrics`, from the start if they have no labels; share with all that name the same `directory`.

        `providers` returns those of which anything is shown, None = all.
        """
        self._providers = providers
        self._metrics = metrics
        self._first = tuple((metric.name,) for metric in metrics if not metric.labels)
        self._counters = SharedCounters(1, directory, "events")

    @property
    def unreadable(self) -> int:
        """Return how many files of other workers the last collection could not read."""
        return self._counters.unreadable

    def add(self, metric: Metric, *labels: str, number: float = 1) -> None:
        self._counters.cells((metric.name, *labels))[_VALUE] += number

    def collect(self) -> Iterator[Family]:
        """Return the current values."""
        sums: dict[Key, float] = dict.fromkeys(self._first, 0.0)
        for key, cells in self._counters.all():
            sums[key] = sums.get(key, 0.0) + cells[_VALUE]
        providers = self._providers() if self._providers is not None else None
        for metric in self._metrics:
            family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            place = metric.labels.index("provider") if "provider" in metric.labels else None
            for labels, value in _of(metric, sums.items()):
                if providers is None or place is None or labels[place] in providers:
                    family.add_metric(labels, value)
            yield family


class ProviderGauges(Collector):
    """Gauges with a provider as their label, shown for the enabled providers only.

    The value of `latest` is the one that any worker set last; it outlives the worker. That of `summed` is the sum
    over the live workers: the supervisor removes the file of one that has exited.
    """

    def __init__(
        self,
        latest: Metric,
        summed: Metric,
        enabled: Callable[[], Collection[str]],
        directory: Path | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`enabled` returns the keys of the providers to show; `clock` is the same in every process of a boot."""
        self._latest_metric = latest
        self._summed_metric = summed
        self._enabled = enabled
        self._clock = clock
        self._latest = SharedCounters(2, directory, "gauges")
        self._summed = SharedCounters(1, directory, "live")

    @property
    def unreadable(self) -> int:
        """Return how many files of other workers the last collection could not read."""
        return self._latest.unreadable + self._summed.unreadable

    def set_latest(self, provider: str, value: float) -> None:
        cells = self._latest.cells((self._latest_metric.name, provider))
        cells[_VALUE] = value
        cells[_TIME] = self._clock()

    def set_summed(self, provider: str, value: float) -> None:
        self._summed.cells((self._summed_metric.name, provider))[_VALUE] = value

    def latest(self) -> dict[str, bool]:
        """Return the latest values as flags, by provider."""
        return {labels[0]: value > 0 for labels, value in self._latest_values()}

    def forget_others(self) -> list[str]:
        """Forget the latest values of providers that are not enabled, whichever worker set them; return their keys.

        A provider that is enabled again has no value until it answers.
        """
        enabled = self._enabled()
        gone = [labels[0] for labels, _ in self._latest_values() if labels[0] not in enabled]
        for provider in gone:
            self.set_latest(provider, math.nan)
        return gone

    def collect(self) -> Iterator[Family]:
        """Return the values of the enabled providers."""
        enabled = self._enabled()
        sums: dict[Key, float] = {}
        for key, cells in self._summed.all():
            sums[key] = sums.get(key, 0.0) + cells[_VALUE]
        for metric, values in (
            (self._latest_metric, self._latest_values()),
            (self._summed_metric, _of(self._summed_metric, sums.items())),
        ):
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in values:
                if labels[0] in enabled:
                    family.add_metric(labels, value)
            yield family

    def _latest_values(self) -> list[tuple[Key, float]]:
        newest: dict[Key, tuple[float, float]] = {}
        for key, cells in self._latest.all():
            at = cells[_TIME]
            if key not in newest or at > newest[key][0]:
                newest[key] = (at, cells[_VALUE])
        values = ((key, value) for key, (_, value) in newest.items() if not math.isnan(value))
        return list(_of(self._latest_metric, values))


def _of(metric: Metric, values: Iterable[tuple[Key, float]]) -> Iterator[tuple[Key, float]]:
    """Return the labels and values of one metric, without keys that a damaged file holds."""
    return (
        (key[_LABELS], value)
        for key, value in values
        if len(key) == 1 + len(metric.labels) and key[_NAME] == metric.name
    )
