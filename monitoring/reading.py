"""Asks a Prometheus what Grafana would ask it for a dashboard, with the variables filled in as Grafana does."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monitoring.model import Query

# What Grafana puts in for "All".
ALL: Final = ".*"
_SPECIAL: Final = re.compile(r"[$^*{}\[\]'+?.()|]")
_VARIABLE: Final = re.compile(r"\$(\w+)")
_LEGEND_LABEL: Final = re.compile(r"\{\{(\w+)\}\}")
_PATIENCE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """What a dashboard shows, in Unix seconds: a point each `step`; `scrape` is the data source's interval."""

    start: float
    end: float
    step: float
    scrape: float = 15.0

    @property
    def rate_interval(self) -> float:
        """Return $__rate_interval: wide enough for four scrapes, and no scrape is left out between two points."""
        return max(self.step + self.scrape, 4 * self.scrape)


@dataclass(frozen=True, slots=True)
class Line:
    """One series as a panel shows it: its legend, and points of Unix seconds and values."""

    legend: str
    points: tuple[tuple[float, float], ...]


def filled(expr: str, times: TimeRange, choices: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return an expression without variables; a variable without chosen values shows all."""
    chosen = choices or {}

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "__rate_interval":
            return f"{round(times.rate_interval * 1000)}ms"
        if name == "__range":
            return f"{round((times.end - times.start) * 1000)}ms"
        values = [_escaped(one) for one in chosen.get(name, ())]
        if not values:
            return ALL
        return values[0] if len(values) == 1 else f"({'|'.join(values)})"

    return _VARIABLE.sub(value, expr)


def legend_of(query: Query, labels: Mapping[str, str]) -> str:
    """Return the legend of a series."""
    return _LEGEND_LABEL.sub(lambda found: labels.get(found[1], ""), query.legend)


class PrometheusReader:
    """Reads series from a Prometheus by its HTTP API."""

    def __init__(self, url: str) -> None:
        """`url` is such as http://127.0.0.1:9090."""
        self._url = url.rstrip("/")
        # Prometheus is named by its address: no proxy stands before it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def lines(
        self, query: Query, times: TimeRange, choices: Mapping[str, Sequence[str]] | None = None
    ) -> list[Line]:
        """Return what a query shows over a range of times."""
        parameters = {
            "query": filled(query.expr, times, choices),
            "start": f"{times.start:.3f}",
            "end": f"{times.end:.3f}",
            "step": f"{times.step:.3f}",
        }
        with self._opener.open(
            f"{self._url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}", timeout=_PATIENCE_SECONDS
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return [
            Line(
                legend_of(query, series["metric"]),
                tuple((float(at), float(value)) for at, value in series["values"]),
            )
            for series in found
        ]


def _escaped(value: str) -> str:
    """Escape a value for a regular expression inside a string of PromQL."""
    return _SPECIAL.sub(r"\\\\\g<0>", value.replace("\\", "\\\\\\\\"))
