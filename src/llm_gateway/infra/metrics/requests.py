"""Metrics of finished requests: counted in plain arrays of numbers, turned into Prometheus families on a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.infra.metrics.shared_counters import CounterCells, SharedCounters

# The value of a label that does not apply.
NONE = "none"
# The labels of a set of cells, in the order of its key: those of the metric that has all of them.
_LABELS = catalogue.REQUESTS.labels
_PROVIDER = _LABELS.index("provider")
# All three histograms have the same buckets, so that one layout serves for each.
_SECONDS = catalogue.REQUEST_DURATION.buckets
_BOUNDS = (*map(str, _SECONDS), "+Inf")
# In the unit of the record. The first bound stands for the cell of the sum, so that the index found is an offset.
_UP_TO_MS = (-1.0, *(seconds * 1000 for seconds in _SECONDS))
# The layout of the cells. A histogram is its sum, then the count of each bucket (not cumulative).
_BUCKETS = len(_BOUNDS)
_REQUESTS = 0
_DURATION = 1
_LATENCY = _DURATION + 1 + _BUCKETS
_FIRST_TOKEN = _LATENCY + 1 + _BUCKETS
_TOKENS = _FIRST_TOKEN + 1 + _BUCKETS
_PROMPT, _COMPLETION, _CACHED, _REASONING = range(_TOKENS, _TOKENS + 4)
_TOKEN_TYPES = ("prompt", "completion", "cached", "reasoning")
_CELLS = _TOKENS + len(_TOKEN_TYPES)

_Counted = Iterable[tuple[tuple[str, ...], CounterCells]]


def count(cells: CounterCells, record: UsageRecord, *, called: bool) -> None:
    """Add one finished request to the cells of its labels; `called` tells whether a provider took part."""
    cells[_REQUESTS] += 1
    _observe(cells, _DURATION, record.latency_ms)
    if not called:
        return
    if record.upstream_latency_ms is not None and record.outcome == "ok":
        _observe(cells, _LATENCY, record.upstream_latency_ms)
    if record.ttft_ms is not None:
        _observe(cells, _FIRST_TOKEN, record.ttft_ms)
    if record.prompt_tokens is not None:
        cells[_PROMPT] += record.prompt_tokens
        cells[_COMPLETION] += record.completion_tokens or 0
        if record.cached_tokens:
            cells[_CACHED] += record.cached_tokens
        if record.reasoning_tokens:
            cells[_REASONING] += record.reasoning_tokens


def _observe(cells: CounterCells, first: int, ms: float) -> None:
    cells[first] += ms / 1000
    cells[first + bisect_left(_UP_TO_MS, ms)] += 1


class RequestMetrics(Collector):
    """The cells of all workers, and the families that they add up to."""

    def __init__(self, directory: Path | None) -> None:
        """Share with every process that names the same `directory`; None if there is only one process."""
        self._counters = SharedCounters(_CELLS, directory)

    def cells(self, method: str, endpoint: str, model: str, provider: str, status: int) -> CounterCells:
        """Return where to count requests with these labels."""
        return self._counters.cells((method, endpoint, model, provider, str(status)))

    def collect(self) -> Iterator[Family]:
        """Return the current values."""
        finished = list(self._counters.all())
        called = [(key, cells) for key, cells in finished if key[_PROVIDER] != NONE]
        requests = CounterMetricFamily(
            catalogue.REQUESTS.name, catalogue.REQUESTS.help, labels=catalogue.REQUESTS.labels
        )
        for labels, (total,) in _sums(
            finished, catalogue.REQUESTS.labels, range(_REQUESTS, _REQUESTS + 1)
        ).items():
            requests.add_metric(labels, total)
        yield requests
        yield _histogram(catalogue.REQUEST_DURATION, finished, _DURATION)
        tokens = CounterMetricFamily(
            catalogue.TOKENS.name, catalogue.TOKENS.help, labels=catalogue.TOKENS.labels
        )
        # Its last label is the token type, which the cells tell apart.
        for labels, totals in _sums(called, catalogue.TOKENS.labels[:-1], range(_TOKENS, _CELLS)).items():
            for token_type, total in zip(_TOKEN_TYPES, totals, strict=True):
                tokens.add_metric((*labels, token_type), total)
        yield tokens
        yield _histogram(catalogue.PROVIDER_LATENCY, called, _LATENCY)
        yield _histogram(catalogue.TIME_TO_FIRST_TOKEN, called, _FIRST_TOKEN)


def _sums(counted: _Counted, labels: tuple[str, ...], cells: range) -> dict[tuple[str, ...], list[float]]:
    """Return the sums of a range of cells, grouped by these labels."""
    places = [_LABELS.index(label) for label in labels]
    sums: dict[tuple[str, ...], list[float]] = {}
    for key, values in counted:
        known = sums.setdefault(tuple(key[place] for place in places), [0.0] * len(cells))
        for position, cell in enumerate(cells):
            known[position] += values[cell]
    return sums


def _histogram(metric: Metric, counted: _Counted, first: int) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, (total, *buckets) in _sums(
        counted, metric.labels, range(first, first + 1 + _BUCKETS)
    ).items():
        cumulative = 0.0
        shown = []
        for bound, number in zip(_BOUNDS, buckets, strict=True):
            cumulative += number
            shown.append((bound, cumulative))
        family.add_metric(labels, shown, total)
    return family
