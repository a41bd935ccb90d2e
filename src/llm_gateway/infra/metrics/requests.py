"""The metrics of finished requests: counted in rows of numbers, made into Prometheus' families when it asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.metrics.shared_counters import CounterCells, SharedCounters

# The label where there is nothing to name.
NONE = "none"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_BOUNDS = (*map(str, _SECONDS), "+Inf")
# In the record's unit; the first stands in the place of the sum, so that an index counts from there.
_UP_TO_MS = (-1.0, *(seconds * 1000 for seconds in _SECONDS))
# What is where in a row: a histogram is its sum, then its buckets, each without those below it.
_BUCKETS = len(_BOUNDS)
_REQUESTS = 0
_DURATION = 1
_LATENCY = _DURATION + 1 + _BUCKETS
_FIRST_TOKEN = _LATENCY + 1 + _BUCKETS
_TOKENS = _FIRST_TOKEN + 1 + _BUCKETS
_PROMPT, _COMPLETION, _CACHED, _REASONING = range(_TOKENS, _TOKENS + 4)
_TOKEN_TYPES = ("prompt", "completion", "cached", "reasoning")
_CELLS = _TOKENS + len(_TOKEN_TYPES)


def count(row: CounterCells, record: UsageRecord, *, called: bool) -> None:
    """Add one finished request to the row of its labels; `called` = a provider had a part in it."""
    row[_REQUESTS] += 1
    _observe(row, _DURATION, record.latency_ms)
    if not called:
        return
    if record.upstream_latency_ms is not None and record.outcome == "ok":
        _observe(row, _LATENCY, record.upstream_latency_ms)
    if record.ttft_ms is not None:
        _observe(row, _FIRST_TOKEN, record.ttft_ms)
    if record.prompt_tokens is not None:
        row[_PROMPT] += record.prompt_tokens
        row[_COMPLETION] += record.completion_tokens or 0
        if record.cached_tokens:
            row[_CACHED] += record.cached_tokens
        if record.reasoning_tokens:
            row[_REASONING] += record.reasoning_tokens


def _observe(row: CounterCells, first: int, ms: float) -> None:
    row[first] += ms / 1000
    row[first + bisect_left(_UP_TO_MS, ms)] += 1


class RequestMetrics(Collector):
    """The rows of all workers, and the families that they add up to."""

    def __init__(self, directory: Path | None) -> None:
        """Share with all who name the same `directory`; None = there is one process."""
        self._tallies = SharedCounters(_CELLS, directory)

    def row(self, method: str, endpoint: str, model: str, provider: str, status: int) -> CounterCells:
        """Return where to count requests with these labels."""
        return self._tallies.row((method, endpoint, model, provider, str(status)))

    def collect(self) -> Iterator[Metric]:
        """Return the families as they stand now."""
        rows = list(self._tallies.all())
        requests = CounterMetricFamily(
            "llm_proxy_requests",
            "Finished requests.",
            labels=("method", "endpoint", "model", "provider", "status_code"),
        )
        for labels, (total,) in _sums(rows, (0, 1, 2, 3, 4), range(_REQUESTS, _REQUESTS + 1)).items():
            requests.add_metric(labels, total)
        yield requests
        yield _histogram(
            "llm_proxy_request_duration_seconds",
            "From a request's first byte to its reply's last.",
            {"method": 0, "endpoint": 1, "model": 2, "provider": 3},
            (rows, _DURATION),
        )
        called = [(key, row) for key, row in rows if key[3] != NONE]
        tokens = CounterMetricFamily(
            "llm_proxy_tokens",
            "Tokens used; cached is a part of prompt, reasoning a part of completion.",
            labels=("model", "provider", "token_type"),
        )
        for labels, totals in _sums(called, (2, 3), range(_TOKENS, _CELLS)).items():
            for kind, total in zip(_TOKEN_TYPES, totals, strict=True):
                tokens.add_metric((*labels, kind), total)
        yield tokens
        yield _histogram(
            "llm_proxy_provider_latency_seconds",
            "Time a provider took for its whole reply.",
            {"provider": 3},
            (called, _LATENCY),
        )
        yield _histogram(
            "llm_gateway_time_to_first_token_seconds",
            "From a streamed request's first byte to its first content.",
            {"model": 2, "provider": 3},
            (called, _FIRST_TOKEN),
        )


def _sums(
    rows: Iterable[tuple[tuple[str, ...], CounterCells]], labels: tuple[int, ...], cells: range
) -> dict[tuple[str, ...], list[float]]:
    """Add up these cells of all rows whose keys have the same texts at `labels`."""
    sums: dict[tuple[str, ...], list[float]] = {}
    for key, row in rows:
        known = sums.setdefault(tuple(key[index] for index in labels), [0.0] * len(cells))
        for position, cell in enumerate(cells):
            known[position] += row[cell]
    return sums


def _histogram(
    name: str,
    meaning: str,
    labels: dict[str, int],
    counted: tuple[Iterable[tuple[tuple[str, ...], CounterCells]], int],
) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=tuple(labels))
    rows, first = counted
    for values, (total, *buckets) in _sums(
        rows, tuple(labels.values()), range(first, first + 1 + _BUCKETS)
    ).items():
        so_far = 0.0
        shown = []
        for bound, more in zip(_BOUNDS, buckets, strict=True):
            so_far += more
            shown.append((bound, so_far))
        family.add_metric(values, shown, total)
    return family
