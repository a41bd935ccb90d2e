"""Turns samples into medians, and medians into a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from benchmarks.scenarios import Scenario
from benchmarks.tools import Sample


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The medians of one target under one load; `cpu_us` is for one `unit`."""

    target: str
    scenario: str
    title: str
    unit: str
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    rounds: int
    # The time that the target added to the provider's, and its memory per stream; None where not measured.
    added_p50_us: float | None = None
    added_first_p99_ms: float | None = None
    kib_per_stream: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A load that failed on a target, and how."""

    target: str
    scenario: str
    title: str
    failed: str


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory (MB) and start time (seconds) of one target."""

    target: str
    version: str
    idle_mb: float
    loaded_mb: float
    start_seconds: float | None


def figures(
    target: str,
    scenario: Scenario,
    samples: list[Sample],
    direct: list[Sample] | None = None,
    kib_per_stream: float | None = None,
) -> Figures:
    """Return the medians of all rounds; `direct` has the samples of the provider itself, round by round."""
    pairs = list(zip(samples, direct or [], strict=bool(direct)))
    added = [sample.p50_us - own.p50_us for sample, own in pairs]
    added_first = [(sample.first_p99_us - own.first_p99_us) / 1000 for sample, own in pairs]

    def count(sample: Sample) -> int:
        return sample.events if scenario.unit == "chunk" else sample.requests

    return Figures(
        target=target,
        scenario=scenario.name,
        title=scenario.title,
        unit=scenario.unit,
        cpu_us=statistics.median(sample.cpu_seconds * 1e6 / max(count(sample), 1) for sample in samples),
        per_second=statistics.median(count(sample) / sample.seconds for sample in samples),
        p50_ms=statistics.median(sample.p50_us for sample in samples) / 1000,
        p99_ms=statistics.median(sample.p99_us for sample in samples) / 1000,
        rounds=len(samples),
        added_p50_us=statistics.median(added) if added and not scenario.stream else None,
        added_first_p99_ms=statistics.median(added_first) if added_first and scenario.stream else None,
        kib_per_stream=kib_per_stream,
    )


def table(rows: Iterable[Figures | Failure], footprints: Iterable[Footprint]) -> str:
    """Return everything as text."""
    lines = [
        f"{'target':<15}{'load':<36}{'CPU us':>9} {'per':<8}{'per second':>11}{'p50 ms':>10}{'p99 ms':>10}"
    ]
    rows = list(rows)
    lines += [_line(row) for row in rows]
    lines += _added(row for row in rows if isinstance(row, Figures))
    lines += [
        "",
        f"{'target':<15}{'version':<12}{'memory idle':>12}{'loaded':>12}{'start to first answer':>24}",
    ]
    for print_ in footprints:
        start = f"{print_.start_seconds:.2f} s" if print_.start_seconds is not None else "-"
        lines.append(
            f"{print_.target:<15}{print_.version:<12}{print_.idle_mb:>9.0f} MB{print_.loaded_mb:>9.0f} MB{start:>24}"
        )
    return "\n".join(lines)


def _added(rows: Iterable[Figures]) -> list[str]:
    lines = []
    for row in rows:
        if row.added_p50_us is not None:
            lines.append(f"{row.target:<15}{row.title:<36}{row.added_p50_us:>9.0f} us added, p50")
        if row.added_first_p99_ms is not None:
            lines.append(
                f"{row.target:<15}{row.title:<36}{row.added_first_p99_ms:>9.1f} ms added to the first token, p99"
            )
        if row.kib_per_stream is not None:
            lines.append(f"{row.target:<15}{row.title:<36}{row.kib_per_stream:>9.1f} KiB of memory for each")
    return ["", *lines] if lines else []


def _line(row: Figures | Failure) -> str:
    named = f"{row.target:<15}{row.title:<36}"
    if isinstance(row, Failure):
        return f"{named}{'failed':>9} {row.failed}"
    return f"{named}{row.cpu_us:>9.1f} {row.unit:<8}{row.per_second:>11,.0f}{row.p50_ms:>10.2f}{row.p99_ms:>10.2f}"


def as_json(rows: Iterable[Figures | Failure], footprints: Iterable[Footprint]) -> dict[str, object]:
    """Return everything as JSON-ready values."""
    rows = list(rows)
    return {
        "figures": [asdict(row) for row in rows if isinstance(row, Figures)],
        "failures": [asdict(row) for row in rows if isinstance(row, Failure)],
        "footprints": [asdict(one) for one in footprints],
    }
