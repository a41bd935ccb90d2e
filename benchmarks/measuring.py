"""Runs the same loads on several targets in turn, round by round, so that disturbances affect all alike."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import Cores, await_quiet, free_ports, highest_memory, resident_mb
from benchmarks.report import Failure, Figures, Footprint, figures
from benchmarks.scenarios import PACE_US, PACED_CHUNKS, Scenario
from benchmarks.targets.base import WEIGHTS, Running, Target
from benchmarks.tools import BenchmarkFailed, LoadFailed, Sample, Tools
from tests.services import ServiceMissing, find_postgres, fresh_database

# The share of the provider's chunks that must arrive, or the streams count as failed.
_PACE_KEPT = 0.9
# Seconds that a target may take to become idle after a load.
_REST = 30.0


@dataclass(frozen=True)
class Plan:
    """How often and how long to measure."""

    rounds: int
    seconds: float
    warm: float
    connections: int | None
    scenarios: tuple[Scenario, ...]

    def press(self, scenario: Scenario, tools: Tools, port: int, request: bytes, pids: list[int]) -> Sample:
        """Run a load once, on a target whose processes are `pids`."""
        warm, seconds = self.times(scenario)
        connections = self.connections or scenario.connections
        return tools.measure(port, request, pids, connections=connections, warm=warm, seconds=seconds)

    def times(self, scenario: Scenario) -> tuple[float, float]:
        """Return how long a load warms up and is measured, in seconds."""
        if self.seconds < 1:
            return self.warm, self.seconds
        return max(self.warm, scenario.least_warm), max(self.seconds, scenario.least_seconds)


@dataclass
class _Subject:
    """One running target and its samples so far."""

    target: Target
    running: Running
    idle_mb: float
    loaded_mb: float = 0.0
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    # The same loads on the provider directly, measured just before.
    direct: dict[str, list[Sample]] = field(default_factory=dict)
    # By how many MB it grew under the streams of a load, when that was the first since its start.
    grown_mb: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def row(self, scenario: Scenario, connections: int) -> Figures | Failure:
        """Return the row of the table."""
        name = self.target.name
        fault = self.failed.get(scenario.name)
        if fault is None:
            fault = _pace_fault(scenario, self.samples[scenario.name], connections)
        if fault is not None:
            return Failure(target=name, scenario=scenario.name, title=scenario.title, failed=fault)
        grown = self.grown_mb.get(scenario.name)
        kib = None if grown is None else grown * 1e6 / 1024 / connections
        return figures(name, scenario, self.samples[scenario.name], self.direct.get(scenario.name), kib)

    def footprint(self) -> Footprint:
        """Return the target's memory and start time."""
        return Footprint(
            target=self.target.name,
            version=self.target.version,
            idle_mb=self.idle_mb,
            loaded_mb=self.loaded_mb,
            start_seconds=self.running.start_seconds,
        )


def measure_targets(
    targets: Iterable[Target], plan: Plan, tools: Tools, cores: Cores, ports: list[int]
) -> tuple[list[Figures | Failure], list[Footprint]]:
    """Start all targets, run every load on each in turn, and return the results.

    A load that a target fails is not asked of it again. One that does not start is left out with a line, the
    first one excepted: without it there is nothing to compare, and BenchmarkFailed is raised.
    """
    subjects: list[_Subject] = []
    with ExitStack() as started:
        for target in targets:
            try:
                subjects.append(started.enter_context(_started(target, cores, ports)))
            except BenchmarkFailed as fault:
                if not subjects:
                    raise
                print(f"{target.name} is left out: {fault}", file=sys.stderr)
        for scenario in plan.scenarios:
            if scenario.shows_memory:
                for subject in subjects:
                    _measure_memory(subject, scenario, plan, tools)
        # Rounds outside, loads inside: a temporary disturbance affects all targets alike.
        for _ in range(plan.rounds):
            for scenario in plan.scenarios:
                for subject in subjects:
                    _measure(subject, scenario, plan, tools, ports)
        for subject in subjects:
            subject.loaded_mb = max(subject.loaded_mb, resident_mb(subject.running.pids()))
    rows = [
        subject.row(scenario, plan.connections or scenario.connections)
        for scenario in plan.scenarios
        for subject in subjects
    ]
    return rows, [subject.footprint() for subject in subjects]


@contextmanager
def _started(target: Target, cores: Cores, ports: list[int]) -> Iterator[_Subject]:
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-", ignore_cleanup_errors=True) as folder:
        running = target.start(ports, Path(folder), cores)
        try:
            await_quiet(running.pids(), _REST)
            yield _Subject(target, running, resident_mb(running.pids()))
        finally:
            running.stop()


def _measure_memory(subject: _Subject, scenario: Scenario, plan: Plan, tools: Tools) -> None:
    """Measure by how much a target that has just started grows under a load.

    What an earlier load has used and freed would be used again, and not show. The end of the load, where all streams
    break off, does not count.
    """
    running = subject.running
    pids = running.pids()
    # A load that fails does so again where that is reported.
    with suppress(LoadFailed), highest_memory(pids, sum(plan.times(scenario))) as highest:
        plan.press(scenario, tools, running.port, scenario.request(running.headers), pids)
        subject.grown_mb[scenario.name] = highest() - subject.idle_mb
    _rest(subject, scenario)


def _measure(subject: _Subject, scenario: Scenario, plan: Plan, tools: Tools, ports: list[int]) -> None:
    if scenario.name in subject.failed:
        return
    running = subject.running
    try:
        own = plan.press(scenario, tools, ports[0], scenario.request({}), []) if scenario.compared else None
        sample = plan.press(scenario, tools, running.port, scenario.request(running.headers), running.pids())
        subject.samples.setdefault(scenario.name, []).append(sample)
        if own is not None:
            subject.direct.setdefault(scenario.name, []).append(own)
    except LoadFailed as fault:
        subject.failed[scenario.name] = str(fault)
    subject.loaded_mb = max(subject.loaded_mb, resident_mb(running.pids()))
    _rest(subject, scenario)


def _rest(subject: _Subject, scenario: Scenario) -> None:
    # Remaining work for this load must neither count for the next load nor disturb the next target.
    if not await_quiet(subject.running.pids(), _REST):
        print(f"{subject.target.name} did not come to rest after {scenario.title}", file=sys.stderr)


def _pace_fault(scenario: Scenario, samples: list[Sample], connections: int) -> str | None:
    """Return by how much the streams fell behind the provider's pace; None if they did not."""
    due = scenario.chunks_due(connections)
    # Shorter windows have too few chunks to judge.
    if due is None or samples[0].seconds < 1:
        return None
    kept = statistics.median(sample.events / sample.seconds for sample in samples) / due
    return (
        None
        if kept >= _PACE_KEPT
        else f"chunks came as for {int(kept * connections)} of {connections} streams"
    )


def make_tools(folder: Path, cores: Cores) -> Tools:
    """Build the fake provider and the load generator, and warn if only the slow versions are available."""
    tools = Tools(folder, cores)
    if not tools.native:
        print("No C compiler: the fake provider and the load are Python, and slower.", file=sys.stderr)
    return tools


@contextmanager
def providers(tools: Tools, pace_us: int = PACE_US, chunks: int = PACED_CHUNKS) -> Iterator[list[int]]:
    """Run the fake provider, and yield its ports, one for each weight."""
    ports = free_ports(len(WEIGHTS))
    upstream = tools.start_upstream(ports, pace_us, chunks)
    try:
        yield ports
    finally:
        upstream.kill()
        upstream.wait()
        if upstream.stdout is not None:
            upstream.stdout.close()


@contextmanager
def store(wanted: str) -> Iterator[str | None]:
    """Yield the URL of a fresh PostgreSQL database, or None for SQLite."""
    if wanted == "sqlite":
        yield None
        return
    try:
        server = find_postgres()
    except ServiceMissing as missing:
        if wanted == "postgresql":
            raise BenchmarkFailed(str(missing)) from None
        print(f"On SQLite: {missing}", file=sys.stderr)
        yield None
        return
    try:
        with fresh_database(server.url) as url:
            yield url
    finally:
        server.stop()
