"""Starts a fast fake provider, a gateway and a load generator, and prints the cost of a request."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.guard import FLOOR, SUBJECT, read_bounds, verdicts
from benchmarks.machine import Cores, allow_open_files
from benchmarks.measuring import Plan, make_tools, measure_targets, providers, store
from benchmarks.ratios import ratio_table
from benchmarks.report import Failure, as_json, table
from benchmarks.scaling import PARTS, print_scaling
from benchmarks.scenarios import SCENARIOS
from benchmarks.targets.base import Target
from benchmarks.targets.known import NAMES, PEERS, targets
from benchmarks.tools import BenchmarkFailed


def run(options: argparse.Namespace) -> bool:
    """Measure and print the selected loads; return whether this gateway passed every load within its bounds."""
    plan = _plan(options)
    cores = Cores()
    with tempfile.TemporaryDirectory(prefix="llm-gateway-bench-") as folder, store(options.store) as db_url:
        tools = make_tools(Path(folder), cores)
        chosen = _choose(options, db_url)
        with providers(tools) as ports:
            rows, footprints = measure_targets(chosen, plan, tools, cores, ports)
    where = "PostgreSQL" if db_url else "SQLite"
    print(f"One worker on one core, {where}; medians of {plan.rounds} x {plan.seconds:g} s.\n")
    print(table(rows, footprints))
    if ratios := ratio_table(rows):
        print(f"\n{ratios}")
    if options.json:
        Path(options.json).write_text(json.dumps(as_json(rows, footprints), indent=2) + "\n")
    if not options.guard:
        return not any(isinstance(row, Failure) and row.target == SUBJECT for row in rows)
    judged = verdicts(rows, read_bounds())
    print("\n" + "\n".join(sentence for sentence, _ in judged))
    return bool(judged) and all(is_within for _, is_within in judged)


def _plan(options: argparse.Namespace) -> Plan:
    wanted = options.scenario or (list(read_bounds()) if options.guard else [one.name for one in SCENARIOS])
    return Plan(
        rounds=options.rounds or (1 if options.quick else 3),
        seconds=options.seconds or (1.0 if options.quick else 4.0),
        warm=options.warm if options.warm is not None else (0.5 if options.quick else 1.5),
        connections=options.connections,
        scenarios=tuple(one for one in SCENARIOS if one.name in wanted),
    )


def _choose(options: argparse.Namespace, db_url: str | None) -> list[Target]:
    """Return the selected targets that are installed; print which are missing."""
    wanted = {SUBJECT, FLOOR} if options.guard else set(options.target or NAMES)
    found: list[Target] = []
    for target in targets(db_url):
        if target.name not in wanted:
            continue
        missing = target.missing()
        if missing is None:
            found.append(target)
        elif options.guard:
            raise BenchmarkFailed(f"the guard compares with {target.name}: {missing}")
        else:
            print(f"{target.name} is left out; {missing}", file=sys.stderr)
    if not found:
        raise BenchmarkFailed("none of the targets is there")
    return found


def install_peers(names: list[str] | None) -> bool:
    """Install the named peers (all if None) that are missing; return whether all are installed afterwards."""
    is_whole = True
    for peer in PEERS:
        if (names and peer.name not in names) or peer.missing() is None:
            continue
        print(f"Installing {peer.name} {peer.version} ...", flush=True)
        try:
            peer.install()
        except BenchmarkFailed as fault:
            print(fault, file=sys.stderr)
            is_whole = False
    return is_whole


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, for rough figures")
    parser.add_argument("--rounds", type=int, help="rounds, of which the median is taken (3)")
    parser.add_argument("--seconds", type=float, help="measured seconds of each round (4)")
    parser.add_argument("--warm", type=float, help="warm-up seconds before them (1.5)")
    parser.add_argument("--connections", type=int, help="connections instead of each load's own number")
    parser.add_argument("--scenario", action="append", choices=[one.name for one in SCENARIOS])
    parser.add_argument(
        "--target", action="append", choices=NAMES, help="measure only this target; may be repeated"
    )
    parser.add_argument("--store", choices=["auto", "sqlite", "postgresql"], default="auto")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--install-peers",
        action="store_true",
        help="install other gateways into a cache folder and exit; later runs measure them",
    )
    modes.add_argument(
        "--guard",
        action="store_true",
        help="compare with nginx, and fail above the bounds of benchmarks/guard.json",
    )
    modes.add_argument(
        "--scaling",
        nargs="*",
        choices=PARTS,
        metavar="PART",
        help=f"how cost grows with {', '.join(PARTS)}; all of them by default",
    )
    options = parser.parse_args()
    allow_open_files()
    try:
        if options.install_peers:
            is_good = install_peers(options.target)
        elif options.scaling is not None:
            is_good = print_scaling(
                options.scaling or list(PARTS), _plan(options), options.store, options.quick
            )
        else:
            is_good = run(options)
    except BenchmarkFailed as failed:
        sys.exit(f"Nothing was measured: {failed}")
    sys.exit(0 if is_good else 1)
