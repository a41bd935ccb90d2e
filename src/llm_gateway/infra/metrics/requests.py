"""Metrics of finished requests: counted in plain arrays of numbers, turned into Prometheus families on a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.served import ServedRequest
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.core.money import NANO_USD
from llm_gateway.core.pricing.cost import UnknownCost
from llm_gateway.infra.metrics.credentials import COST_CELL, OUTCOME_CELLS
from llm_gateway.infra.metrics.shared_counters import CounterCells, SharedCounters

_OK = 200
# The value of a label that does not apply.
NONE = "none"
# The labels of a set of cells, in the order of its key: those of the metric that has all of them.
_LABELS = catalogue.REQUESTS.labels
_PROVIDER = _LABELS.index("provider")
_MODEL = _LABELS.index("model")
# All three histograms have the same buckets, so that one layout serves for each.
_SECONDS = catalogue.REQUEST_DURATION.buckets
_BOUNDS = (*map(str, _SECONDS), "+Inf")
# In the unit of the record: whole numbers. The first bound stands for the cell of the sum, so that the index found is
# an offset.
_UP_TO_MS = (-1.0, *(seconds * 1000 for seconds in _SECONDS))
# What `bisect_left` finds for each whole number of milliseconds up to a minute, and thereby for all that are rounded
# up to it: a third of the work.
_TABLE_MS = 60_000.0
_TABLE_US = 60_000_000
_OFFSETS = b"".join(
    bytes((offset,)) * (int(min(bound, _TABLE_MS)) - int(below))
    for offset, (below, bound) in enumerate(pairwise(_UP_TO_MS), 1)
)
# The layout of the cells. A histogram is its sum, then the count of each bucket (not cumulative). Each request has a
# duration, so that its buckets add up to the number of requests.
_BUCKETS = len(_BOUNDS)
_DURATION = 0
_LATENCY = _DURATION + 1 + _BUCKETS
_FIRST_TOKEN = _LATENCY + 1 + _BUCKETS
_TOKENS = _FIRST_TOKEN + 1 + _BUCKETS
_PROMPT, _COMPLETION, _CACHED, _REASONING = range(_TOKENS, _TOKENS + 4)
_TOKEN_TYPES = ("prompt", "completion", "cached", "reasoning")
# In nano-USD: sums of whole numbers are exact up to 9 million USD, where sums of fractions would not be.
_COST = _TOKENS + len(_TOKEN_TYPES)
_UNPRICED = _COST + 1
_REASONS: tuple[str, ...] = get_args(UnknownCost)
_REASON_CELLS = {reason: _UNPRICED + place for place, reason in enumerate(_REASONS)}
_BROKEN = _UNPRICED + len(_REASONS)
_CELLS = _BROKEN + 1
_OK_CELL = OUTCOME_CELLS["ok"]

Counted = Iterable[tuple[tuple[str, ...], CounterCells]]


class TimeSums(NamedTuple):
    """A histogram of times: their sum in seconds, and how many are in each bucket of REQUEST_DURATION, +Inf last."""

    seconds: float
    buckets: list[float]


class RequestSums(NamedTuple):
    """What finished requests add up to. `duration` is theirs, `latency` that of the providers' whole replies."""

    requests: float
    duration: TimeSums
    latency: TimeSums
    # By type, as in the metric.
    tokens: dict[str, float]
    cost_usd: float
    unpriced: float


def sums_by(counted: Counted, labels: tuple[str, ...]) -> dict[tuple[str, ...], RequestSums]:
    """Return the sums for each combination of these labels of REQUESTS."""
    return {key: _named(sums) for key, sums in _sums(counted, labels, range(_CELLS)).items()}


def _named(sums: list[float]) -> RequestSums:
    return RequestSums(
        requests=sum(sums[_DURATION + 1 : _LATENCY]),
        duration=TimeSums(sums[_DURATION], sums[_DURATION + 1 : _LATENCY]),
        latency=TimeSums(sums[_LATENCY], sums[_LATENCY + 1 : _FIRST_TOKEN]),
        tokens=dict(zip(_TOKEN_TYPES, sums[_TOKENS:_COST], strict=True)),
        cost_usd=sums[_COST] / NANO_USD,
        unpriced=sum(sums[_UNPRICED:_BROKEN]),
    )


NO_REQUESTS = _named([0.0] * _CELLS)


def count(
    cells: CounterCells, of_credential: CounterCells | None, record: UsageRecord, provider: str | None
) -> None:
    """Add one finished request to the cells of its labels, and to those of its credential, if it has any.

    `provider` took part in it, None = none did. There is no function for each histogram, because a call costs more
    than what it would do.
    """
    outcome, cost = record.outcome, record.cost_nano_usd
    if of_credential is not None:
        of_credential[OUTCOME_CELLS[outcome]] += 1.0
        if cost:
            of_credential[COST_CELL] += cost
    ms = record.latency_ms
    cells[_DURATION] += ms / 1000.0
    cells[_DURATION + (_OFFSETS[ceil(ms)] if ms <= _TABLE_MS else bisect_left(_UP_TO_MS, ms))] += 1.0
    if provider is None:
        return
    if outcome == "ok":
        latency = record.upstream_latency_ms
        if latency is not None:
            offset = _OFFSETS[ceil(latency)] if latency <= _TABLE_MS else bisect_left(_UP_TO_MS, latency)
            cells[_LATENCY] += latency / 1000.0
            cells[_LATENCY + offset] += 1.0
    elif outcome == "error" and record.status_code == _OK:
        cells[_BROKEN] += 1.0
    ttft = record.ttft_ms
    if ttft is not None:
        cells[_FIRST_TOKEN] += ttft / 1000.0
        offset = _OFFSETS[ceil(ttft)] if ttft <= _TABLE_MS else bisect_left(_UP_TO_MS, ttft)
        cells[_FIRST_TOKEN + offset] += 1.0
    prompt = record.prompt_tokens
    if prompt is not None:
        cells[_PROMPT] += prompt
        cells[_COMPLETION] += record.completion_tokens or 0
        if record.cached_tokens or record.reasoning_tokens:
            cells[_CACHED] += record.cached_tokens or 0
            cells[_REASONING] += record.reasoning_tokens or 0
    if cost:
        cells[_COST] += cost
    elif record.unpriced is not None:
        cells[_REASON_CELLS[record.unpriced]] += 1.0


def count_served(cells: CounterCells, of_credential: CounterCells | None, request: ServedRequest) -> None:
    """Do what `count` does with the record of a served request."""
    usage, cost = request.usage, request.cost_nano_usd
    if of_credential is not None:
        of_credential[_OK_CELL] += 1.0
        if cost:
            of_credential[COST_CELL] += cost
    us = request.latency_us
    cells[_DURATION] += us / 1e6
    cells[
        _DURATION + (_OFFSETS[-(-us // 1000)] if us <= _TABLE_US else bisect_left(_UP_TO_MS, us / 1000))
    ] += 1.0
    us = request.upstream_us
    cells[_LATENCY] += us / 1e6
    cells[
        _LATENCY + (_OFFSETS[-(-us // 1000)] if us <= _TABLE_US else bisect_left(_UP_TO_MS, us / 1000))
    ] += 1.0
    first = request.first_token_us
    if first is not None:
        cells[_FIRST_TOKEN] += first / 1e6
        offset = _OFFSETS[-(-first // 1000)] if first <= _TABLE_US else bisect_left(_UP_TO_MS, first / 1000)
        cells[_FIRST_TOKEN + offset] += 1.0
    cells[_PROMPT] += usage.prompt_tokens
    cells[_COMPLETION] += usage.completion_tokens
    if usage.cached_tokens or usage.reasoning_tokens:
        cells[_CACHED] += usage.cached_tokens
        cells[_REASONING] += usage.reasoning_tokens
    if cost:
        cells[_COST] += cost
    elif request.cost.unpriced is not None:
        cells[_REASON_CELLS[request.cost.unpriced]] += 1.0


class RequestMetrics(Collector):
    """The cells of all workers, and the families that they add up to."""

    def __init__(
        self,
        directory: Path | None,
        providers: Callable[[], Collection[str]] | None = None,
        shows_model: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Share with every process that names the same `directory`; None if there is only one process.

        `providers` returns those of which anything is shown, None = all; `shows_model` tells it of a model.
        """
        self._counters = SharedCounters(_CELLS, directory)
        self._providers = providers
        self._shows_model = shows_model

    def cells(self, method: str, endpoint: str, model: str, provider: str, status: int) -> CounterCells:
        """Return where to count requests with these labels."""
        return self._counters.cells((method, endpoint, model, provider, str(status)))

    @property
    def unreadable(self) -> int:
        """Return how many files of other workers the last collection could not read."""
        return self._counters.unreadable

    def finished(self) -> list[tuple[tuple[str, ...], CounterCells]]:
        """Return the cells of all workers by the labels of REQUESTS; any thread may call it."""
        # A file that was damaged may hold keys of another shape.
        return [(key, cells) for key, cells in self._counters.all() if len(key) == len(_LABELS)]

    def collect(self) -> Iterator[Family]:
        """Return the current values."""
        finished = self.finished()
        providers = {NONE, *self._providers()} if self._providers is not None else None
        models = set(filter(self._shows_model, {key[_MODEL] for key, _ in finished}))
        finished = [
            (key, cells)
            for key, cells in finished
            if (providers is None or key[_PROVIDER] in providers) and key[_MODEL] in models
        ]
        called = [(key, cells) for key, cells in finished if key[_PROVIDER] != NONE]
        requests = CounterMetricFamily(
            catalogue.REQUESTS.name, catalogue.REQUESTS.help, labels=catalogue.REQUESTS.labels
        )
        durations = range(_DURATION + 1, _LATENCY)
        for labels, buckets in _sums(finished, catalogue.REQUESTS.labels, durations).items():
            requests.add_metric(labels, sum(buckets))
        yield requests
        yield _histogram(catalogue.REQUEST_DURATION, finished, _DURATION)
        tokens = CounterMetricFamily(
            catalogue.TOKENS.name, catalogue.TOKENS.help, labels=catalogue.TOKENS.labels
        )
        # Its last label is the token type, which the cells tell apart.
        for labels, totals in _sums(called, catalogue.TOKENS.labels[:-1], range(_TOKENS, _COST)).items():
            for token_type, total in zip(_TOKEN_TYPES, totals, strict=True):
                tokens.add_metric((*labels, token_type), total)
        yield tokens
        yield from _costs(called)
        yield _broken_streams(called)
        yield _histogram(catalogue.PROVIDER_LATENCY, called, _LATENCY)
        yield _histogram(catalogue.TIME_TO_FIRST_TOKEN, called, _FIRST_TOKEN)


def _costs(counted: Counted) -> Iterator[Family]:
    """Return the metrics of costs and unpriced requests; labels without any have no sample."""
    sums = _sums(counted, catalogue.COST.labels, range(_COST, _BROKEN))
    cost = CounterMetricFamily(catalogue.COST.name, catalogue.COST.help, labels=catalogue.COST.labels)
    unpriced = CounterMetricFamily(
        catalogue.UNPRICED_REQUESTS.name,
        catalogue.UNPRICED_REQUESTS.help,
        labels=catalogue.UNPRICED_REQUESTS.labels,
    )
    for labels, (nano_usd, *requests) in sums.items():
        if nano_usd:
            cost.add_metric(labels, nano_usd / NANO_USD)
        for reason, number in zip(_REASONS, requests, strict=True):
            if number:
                unpriced.add_metric((*labels, reason), number)
    yield cost
    yield unpriced


def _broken_streams(counted: Counted) -> Family:
    metric = catalogue.BROKEN_STREAMS
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, (number,) in _sums(counted, metric.labels, range(_BROKEN, _CELLS)).items():
        if number:
            family.add_metric(labels, number)
    return family


def _sums(counted: Counted, labels: tuple[str, ...], cells: range) -> dict[tuple[str, ...], list[float]]:
    """Return the sums of a range of cells, grouped by these labels."""
    places = [_LABELS.index(label) for label in labels]
    sums: dict[tuple[str, ...], list[float]] = {}
    for key, values in counted:
        known = sums.setdefault(tuple(key[place] for place in places), [0.0] * len(cells))
        for position, cell in enumerate(cells):
            known[position] += values[cell]
    return sums


def _histogram(metric: Metric, counted: Counted, first: int) -> Family:
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
