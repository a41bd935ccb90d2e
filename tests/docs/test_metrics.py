"""docs/metrics.md holds exactly the catalogue of metrics."""

from __future__ import annotations

import re
from pathlib import Path

from llm_gateway.core.metric_catalogue import CATALOGUE

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
HEADING = "| metric | type | labels | unit | meaning |"


def _plain(cell: str) -> str:
    """Return a cell without its code marks and link targets."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell).replace("`", "").strip()


def _documented() -> list[tuple[str, ...]]:
    table = PAGE.read_text().partition(HEADING)[2].partition("\n\n")[0]
    return [tuple(map(_plain, line.strip("|").split("|"))) for line in table.strip().splitlines()[1:]]


def test_the_page_holds_exactly_the_catalogue() -> None:
    expected = [
        (metric.name, metric.type, ", ".join(metric.labels), metric.unit, metric.help) for metric in CATALOGUE
    ]
    assert _documented() == expected


def test_the_page_names_no_other_metric() -> None:
    suffixes = r"(?:_bucket|_count|_sum)?\b"
    names = set(re.findall(rf"\b(llm_(?:proxy|gateway)_\w+?){suffixes}", PAGE.read_text()))
    names.discard("llm_proxy_")
    assert names == {metric.name for metric in CATALOGUE}
