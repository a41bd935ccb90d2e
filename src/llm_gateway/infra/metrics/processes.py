"""Metrics of the worker processes: each sets its own, and a scrape adds up those of the live workers."""

from __future__ import annotations

import gc
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.metric_catalogue import Metric
from llm_gateway.infra.metrics.shared_counters import Key, SharedCounters

# The supervisor removes the files of this name of a worker that has exited.
FILES = "process"
_SUMMED = (catalogue.WORKERS, catalogue.MEMORY, catalogue.OPEN_FILES, catalogue.UPSTREAM_CONNECTIONS)
_HIGHEST = (catalogue.LOOP_LAG, catalogue.OPEN_FILES_USED, catalogue.DATABASE_POOL_USED)
# The value, and the monotonic time at which the worker is to set the next one, 0 if it does not matter.
_VALUE, _DUE = 0, 1
# Counting open files takes milliseconds if there are thousands: once in this many seconds.
_FILES_SECONDS = 10.0


class ProcessGauges(Collector):
    """Gauges of the live workers: the sum of some, the highest of others.

    A worker whose event loop is blocked sets nothing: its lag grows at a scrape by the time that it is overdue.
    """

    def __init__(self, directory: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Share with every process that names the same `directory`; `clock` is the same in all of them."""
        self._clock = clock
        self._counters = SharedCounters(2, directory, FILES)

    @property
    def unreadable(self) -> int:
        """Return how many files of other workers the last collection could not read."""
        return self._counters.unreadable

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        self._counters.cells((metric.name, *labels))[_VALUE] = value

    def set_lag(self, lag: float, due: float) -> None:
        """Set how late the event loop of this worker was, and when it is to set this again."""
        cells = self._counters.cells((catalogue.LOOP_LAG.name,))
        cells[_VALUE] = lag
        cells[_DUE] = due

    def collect(self) -> Iterator[Family]:
        """Return the current values."""
        values = self._values()
        for metric in (*_SUMMED, *_HIGHEST):
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for (name, *labels), value in values.items():
                if name == metric.name and len(labels) == len(metric.labels):
                    family.add_metric(labels, value)
            yield family

    def highest(self) -> Mapping[Metric, float]:
        """Return the gauges of which the worst worker counts."""
        values = self._values()
        return {metric: values.get((metric.name,), 0.0) for metric in _HIGHEST}

    def _values(self) -> dict[Key, float]:
        now = self._clock()
        highest = {metric.name for metric in _HIGHEST}
        values: dict[Key, float] = {}
        for key, cells in self._counters.all():
            value = cells[_VALUE]
            if not key:
                continue
            if key[0] in highest:
                overdue = now - cells[_DUE] if cells[_DUE] else 0.0
                values[key] = max(values.get(key, 0.0), value, overdue)
            else:
                values[key] = values.get(key, 0.0) + value
        return values


class LoopWatch:
    """Measures how late the event loop wakes a task that sleeps for a second, again and again."""

    def __init__(self, seconds: float = 1.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        """The task sleeps for `seconds`; the worst of the last 15 sleeps counts."""
        self._seconds = seconds
        self._clock = clock
        self._lags: deque[float] = deque([0.0], maxlen=15)
        self.due = clock() + seconds

    @property
    def lag(self) -> float:
        """Return how late it was at worst, in seconds."""
        return max(self._lags)

    def begin(self) -> float:
        """Note that the sleep begins now, and return for how long."""
        self.due = self._clock() + self._seconds
        return self._seconds

    def end(self) -> None:
        """Note that the sleep is over."""
        self._lags.append(max(self._clock() - self.due, 0.0))


class OpenFilesWatch:
    """Counts the open files of this process, now and then."""

    def __init__(
        self, folder: Path = Path("/proc/self/fd"), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._again_at = 0.0
        self.number = 0

    @property
    def used_ratio(self) -> float:
        """Return the part of the limit of this process that is used; 0 without a limit."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return 0.0 if soft <= 0 else self.number / soft

    def look(self) -> None:
        """Count them, unless they were counted a moment ago."""
        now = self._clock()
        if now < self._again_at:
            return
        self._again_at = now + _FILES_SECONDS
        try:
            self.number = sum(1 for _ in self._folder.iterdir())
        except OSError:
            # Not Linux.
            self.number = 0


def resident_bytes(statm: Path = Path("/proc/self/statm")) -> int:
    """Return the resident memory of this process; where /proc does not tell, the most that it ever had."""
    try:
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def full_collections() -> int:
    """Return how many full garbage collections this process has done."""
    return int(gc.get_stats()[-1]["collections"])
