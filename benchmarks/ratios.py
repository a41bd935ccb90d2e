"""Compares the gateway's figures with those of the fastest compiled router in the same run, and with the budgets.

Microseconds do not travel between machines; what one costs as a multiple of another, in one run, does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from benchmarks.guard import SUBJECT
from benchmarks.report import Failure, Figures

PEER = "sglang-router"


@dataclass(frozen=True)
class Budget:
    """The most that one figure may be, as a multiple of the peer's; `stretch` is what would be better still."""

    scenario: str
    figure: Literal["cpu_us", "added_p50_us", "added_first_p99_ms"]
    title: str
    ratio: float
    stretch: float


BUDGETS = (
    Budget("unary", "cpu_us", "unary, 400-byte reply: CPU", 0.80, 0.65),
    Budget("burst", "cpu_us", "stream of 50 chunks, sent at once: CPU", 0.50, 0.45),
    Budget("paced", "cpu_us", "a paced chunk, 500 streams: CPU", 0.90, 0.75),
    Budget("big", "cpu_us", "unary, 60 KB request: CPU", 0.65, 0.50),
    Budget("alone", "added_p50_us", "1 connection: added latency, p50", 0.90, 0.70),
    Budget("held", "added_first_p99_ms", "1,000 streams: added to the first token, p99", 1.00, 0.70),
)


def ratio_table(rows: Iterable[Figures | Failure]) -> str:
    """Return the ratios beside their budgets; "" if the run has not measured both this gateway and the peer."""
    measured = {(row.target, row.scenario): row for row in rows if isinstance(row, Figures)}
    lines = []
    for budget in BUDGETS:
        ours, theirs = (measured.get((target, budget.scenario)) for target in (SUBJECT, PEER))
        if ours is None or theirs is None:
            continue
        cost, other = getattr(ours, budget.figure), getattr(theirs, budget.figure)
        if cost is None or not other:
            continue
        ratio = cost / other
        verdict = "within" if ratio <= budget.ratio else "over"
        lines.append(f"{budget.title:<48}{ratio:>8.2f}{budget.ratio:>9.2f}{budget.stretch:>9.2f}  {verdict}")
    head = f"{f'{SUBJECT} / {PEER}':<48}{'ratio':>8}{'budget':>9}{'stretch':>9}"
    return "\n".join([head, *lines]) if lines else ""
