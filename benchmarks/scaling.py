"""Measures how this gateway's cost grows with its workers, its open streams and its catalog."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Cores, allow_open_files, await_quiet, highest_memory, resident_mb
from benchmarks.measuring import Plan, make_tools, providers, store
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.targets.base import Running
from benchmarks.targets.gateway import GatewayTarget, reload_seconds
from benchmarks.tools import BenchmarkFailed, LoadFailed, Sample, Tools

_WORKERS = (1, 2)
_STREAMS = (100, 1_000, 5_000)
_CATALOG = (10, 1_000, 10_000)
# Microseconds between two chunks of a stream, per open stream: together they send 4,000 chunks a second.
_GAP_US_PER_STREAM = 250
# No stream ends before the window: this measures open streams, not opening them.
_STREAM_SECONDS = 120
_OPENED_PER_SECOND = 1_000
_REST = 30.0
_LOADS = {scenario.name: scenario for scenario in SCENARIOS}


@dataclass(frozen=True)
class _Bench:
    """What all three measurements share."""

    plan: Plan
    tools: Tools
    store: str
    is_quick: bool

    def sizes(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Omit the largest size in a quick run."""
        return sizes[:2] if self.is_quick else sizes

    @contextmanager
    def gateway(
        self, ports: list[int], cores: Cores, *, workers: int = 1, others: int = 0
    ) -> Iterator[Running]:
        """Run a gateway on a separate store."""
        with (
            store(self.store) as db_url,
            tempfile.TemporaryDirectory(prefix="llm-gateway-bench-", ignore_cleanup_errors=True) as folder,
        ):
            running = GatewayTarget(db_url, workers=workers, others=others).start(ports, Path(folder), cores)
            try:
                await_quiet(running.pids(), _REST)
                yield running
            finally:
                running.stop()

    def measure(self, running: Running, scenario: Scenario) -> list[Sample]:
        """Return the samples of all rounds."""
        return [self._measure_once(running, scenario) for _ in range(self.plan.rounds)]

    def _measure_once(self, running: Running, scenario: Scenario) -> Sample:
        return self.tools.measure(
            running.port,
            scenario.request(running.headers),
            running.pids(),
            connections=self.plan.connections or scenario.connections,
            warm=self.plan.warm,
            seconds=self.plan.seconds,
        )


def print_scaling(parts: list[str], plan: Plan, wanted_store: str, is_quick: bool) -> bool:
    """Measure the named parts and print a table of each; return whether all loads passed."""
    is_whole = True
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder:
        bench = _Bench(plan, make_tools(Path(folder), Cores()), wanted_store, is_quick)
        for part in parts:
            try:
                for line in _PARTS[part](bench):
                    print(line, flush=True)
            except LoadFailed as fault:
                print(f"failed: {fault}")
                is_whole = False
            print()
    return is_whole


def _workers(bench: _Bench) -> Iterator[str]:
    yield "Workers, on all cores beside the load and the fake provider"
    yield f"{'workers':>10}{'unary CPU us':>15}{'burst CPU us':>15}{'unary per second':>19}"
    cores = Cores(spread=True)
    with providers(bench.tools) as ports:
        for count in _WORKERS:
            with bench.gateway(ports, cores, workers=count) as running:
                unary = bench.measure(running, _LOADS["unary"])
                burst = bench.measure(running, _LOADS["burst"])
            rate = statistics.median(sample.requests / sample.seconds for sample in unary)
            yield f"{count:>10}{_cpu_us(unary):>15.1f}{_cpu_us(burst):>15.1f}{rate:>19,.0f}"


def _streams(bench: _Bench) -> Iterator[str]:
    yield "Open streams, paced so that all together send 4,000 chunks a second"
    yield f"{'streams':>10}{'gap ms':>10}{'CPU us per chunk':>19}{'of the chunks due':>20}{'KiB per stream':>17}"
    for count in bench.sizes(_STREAMS):
        if allow_open_files() < 2 * count + 500:
            raise BenchmarkFailed(f"{count} streams need {2 * count + 500} open files: raise `ulimit -n`")
        gap_us = count * _GAP_US_PER_STREAM
        chunks = _STREAM_SECONDS * 1_000_000 // gap_us
        with providers(bench.tools, gap_us, chunks) as ports, bench.gateway(ports, Cores()) as running:
            # The first requests allocate memory that does not belong to the streams.
            bench.tools.measure(
                running.port,
                _LOADS["burst"].request(running.headers),
                running.pids(),
                connections=32,
                warm=0.5,
                seconds=0.5,
            )
            await_quiet(running.pids(), _REST)
            before = resident_mb(running.pids())
            with highest_memory(running.pids()) as highest:
                sample = bench.tools.measure(
                    running.port,
                    _LOADS["paced"].request(running.headers),
                    running.pids(),
                    connections=count,
                    warm=1 + 2 * count / _OPENED_PER_SECOND,
                    seconds=bench.plan.seconds,
                )
        cpu_us = sample.cpu_seconds * 1e6 / max(sample.events, 1)
        came = sample.events / sample.seconds / (count * 1e6 / gap_us)
        kib = (highest() - before) * 1e6 / 1024 / count
        yield f"{count:>10,}{gap_us / 1000:>10,.0f}{cpu_us:>19.1f}{came:>20.0%}{kib:>17.1f}"


def _catalog(bench: _Bench) -> Iterator[str]:
    yield "Catalog: so many providers and as many credentials, beside the ones that the load uses"
    yield f"{'each':>10}{'unary CPU us':>15}{'memory idle':>15}{'reload':>12}{'start to first answer':>25}"
    with providers(bench.tools) as ports:
        for count in bench.sizes(_CATALOG):
            with bench.gateway(ports, Cores(), others=count) as running:
                idle = resident_mb(running.pids())
                unary = bench.measure(running, _LOADS["unary"])
                reload = statistics.median(reload_seconds(running.port) for _ in range(3)) * 1000
            yield (
                f"{count:>10,}{_cpu_us(unary):>15.1f}{idle:>12.0f} MB{reload:>9,.0f} ms"
                f"{running.start_seconds or 0.0:>23.2f} s"
            )


def _cpu_us(samples: list[Sample]) -> float:
    return statistics.median(sample.cpu_seconds * 1e6 / max(sample.requests, 1) for sample in samples)


_PARTS: dict[str, Callable[[_Bench], Iterator[str]]] = {
    "workers": _workers,
    "streams": _streams,
    "catalog": _catalog,
}
PARTS = tuple(_PARTS)
