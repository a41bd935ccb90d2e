"""Starts a fast fake provider, a gateway and a load, and prints what a request costs. Asserts no time."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Cores, free_ports, resident_mb
from benchmarks.report import Figures, Footprint, as_json, figures, table
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.targets.base import WEIGHTS, Target
from benchmarks.targets.gateway import GatewayTarget
from benchmarks.targets.nginx import NginxTarget
from benchmarks.tools import BenchmarkFailed, Sample, Tools
from tests.services import ServiceMissing, find_postgres, fresh_database


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    warm: float
    connections: int | None
    scenarios: tuple[Scenario, ...]


def measure_target(
    target: Target, plan: Plan, tools: Tools, cores: Cores, ports: list[int]
) -> tuple[list[Figures], Footprint]:
    """Start one target, put every load on it, and return what it showed; raise BenchmarkFailed."""
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder:
        running = target.start(ports, Path(folder), cores)
        try:
            idle = resident_mb(running.pids())
            samples: dict[str, list[Sample]] = {scenario.name: [] for scenario in plan.scenarios}
            # Rounds outside, loads inside: what disturbs the machine for a while disturbs all loads alike.
            for _ in range(plan.rounds):
                for scenario in plan.scenarios:
                    samples[scenario.name].append(
                        tools.measure(
                            running.port,
                            scenario.request(running.headers),
                            running.pids(),
                            connections=plan.connections or scenario.connections,
                            warm=plan.warm,
                            seconds=max(plan.seconds, scenario.least_seconds if plan.seconds >= 1 else 0.0),
                        )
                    )
            loaded = resident_mb(running.pids())
        finally:
            running.stop()
    rows = [figures(target.name, scenario, samples[scenario.name]) for scenario in plan.scenarios]
    print_ = Footprint(
        target=target.name, idle_mb=idle, loaded_mb=loaded, start_seconds=running.start_seconds
    )
    return rows, print_


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


def run(options: argparse.Namespace) -> None:
    """Measure what was asked for, and print it."""
    chosen = tuple(one for one in SCENARIOS if not options.scenario or one.name in options.scenario)
    plan = Plan(
        rounds=options.rounds or (1 if options.quick else 3),
        seconds=options.seconds or (1.0 if options.quick else 4.0),
        warm=options.warm if options.warm is not None else (0.5 if options.quick else 1.5),
        connections=options.connections,
        scenarios=chosen,
    )
    cores = Cores()
    rows: list[Figures] = []
    footprints: list[Footprint] = []
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder, store(options.store) as db_url:
        tools = Tools(Path(folder), cores)
        if not tools.native:
            print("No C compiler: the fake provider and the load are Python, and slower.", file=sys.stderr)
        ports = free_ports(len(WEIGHTS))
        upstream = tools.start_upstream(ports)
        try:
            for target in (GatewayTarget(db_url), NginxTarget()):
                if options.target and target.name not in options.target:
                    continue
                missing = target.missing()
                if missing is not None:
                    print(f"{target.name} is left out: {missing}", file=sys.stderr)
                    continue
                made, print_ = measure_target(target, plan, tools, cores, ports)
                rows += made
                footprints.append(print_)
        finally:
            upstream.kill()
            upstream.wait()
            if upstream.stdout is not None:
                upstream.stdout.close()
    where = "PostgreSQL" if db_url else "SQLite"
    print(f"One worker on one core, {where}; medians of {plan.rounds} x {plan.seconds:g} s.\n")
    print(table(rows, footprints))
    if options.json:
        Path(options.json).write_text(json.dumps(as_json(rows, footprints), indent=2) + "\n")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: a rough idea in half a minute")
    parser.add_argument("--rounds", type=int, help="rounds of which the median counts (3)")
    parser.add_argument("--seconds", type=float, help="seconds of each round that count (4)")
    parser.add_argument("--warm", type=float, help="seconds before those (1.5)")
    parser.add_argument("--connections", type=int, help="connections instead of each load's own number")
    parser.add_argument("--scenario", action="append", choices=[one.name for one in SCENARIOS])
    parser.add_argument("--target", action="append", choices=["llm-gateway", "nginx"])
    parser.add_argument("--store", choices=["auto", "sqlite", "postgresql"], default="auto")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    try:
        run(options)
    except BenchmarkFailed as failed:
        sys.exit(f"Nothing was measured: {failed}")
