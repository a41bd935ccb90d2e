"""A summary of usage as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_COLUMNS: Final = (
    "requests",
    "errors",
    "refused",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "unpriced",
)
_TIMES: Final = (("latency_ms", "p50"), ("latency_ms", "p99"), ("ttft_ms", "p50"), ("ttft_ms", "p99"))


def summary_lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table, the total last."""
    names: Sequence[str] = shown["group_by"]
    head = [*names, *_COLUMNS, *(f"{name.removesuffix('_ms')} {share}" for name, share in _TIMES)]
    table = [head, *(_cells(row, names) for row in shown["data"])]
    if names:
        table.append(["total", *[""] * (len(names) - 1), *_cells(shown["total"], ())])
    else:
        table = [head, _cells(shown["total"], ())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            cell.ljust(width) if place < len(names) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    if shown["total"]["unpriced"]:
        yield f"The cost lacks {shown['total']['unpriced']} requests of unknown cost."
    if not shown["is_complete"]:
        yield "Rows from before there were summaries are still being added up; `llm-gateway usage rollup` does it."


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cells = ["-" if row[name] is None else str(row[name]) for name in (*names, *_COLUMNS)]
    for name, share in _TIMES:
        value = row[name][share]
        cells.append("-" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms")
    return cells
