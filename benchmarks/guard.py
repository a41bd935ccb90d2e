"""Compares the gateway's cost, as a multiple of nginx's in the same run, with bounds in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.report import Failure, Figures

BOUNDS = Path(__file__).with_name("guard.json")
SUBJECT = "llm-gateway"
FLOOR = "nginx"


def read_bounds() -> dict[str, float]:
    """Return the highest allowed ratio of processor time for each load: the measured ratio plus headroom."""
    bounds = json.loads(BOUNDS.read_text())
    return {load: ratio * (1 + bounds["head_room"]) for load, ratio in bounds["measured"].items()}


def verdicts(rows: Iterable[Figures | Failure], bounds: dict[str, float]) -> list[tuple[str, bool]]:
    """Return a sentence for each load, and whether the load is within its bound. A failed load is not."""
    rows = list(rows)
    results = []
    for load, bound in bounds.items():
        found = {row.target: row for row in rows if row.scenario == load}
        subject, floor = found.get(SUBJECT), found.get(FLOOR)
        if subject is None or floor is None:
            continue
        if isinstance(subject, Failure):
            results.append((f"{load}: {subject.target} failed: {subject.failed}", False))
            continue
        if isinstance(floor, Failure):
            results.append((f"{load}: no comparison, since {floor.target} failed: {floor.failed}", False))
            continue
        ratio = subject.cpu_us / floor.cpu_us if floor.cpu_us else float("inf")
        is_within = ratio <= bound
        verdict = "within" if is_within else "BEYOND"
        results.append((f"{load}: {ratio:.2f} times {FLOOR}, {verdict} the bound of {bound:.1f}", is_within))
    return results
