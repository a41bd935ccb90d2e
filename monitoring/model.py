"""Dashboards as plain values: what is asked, what it is called, in which unit. `grafana` turns them into JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llm_gateway.core.metric_catalogue import Metric

# Grafana's names of units.
Unit = Literal[
    "reqps", "percentunit", "s", "short", "cps", "currencyUSD", "bytes", "bool_yes_no", "ops", "none", "wps"
]
Shape = Literal["lines", "stack", "number", "bars"]

# The columns of Grafana's grid.
GRID = 24


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and the legend of its series: text with labels as `{{provider}}`."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. `width` is in columns of the grid, `height` in its rows."""

    title: str
    # What it shows and when to worry, for whoever sees it at 3 a.m. for the first time.
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    shape: Shape = "lines"
    width: int = 12
    height: int = 8
    # What is shown where there is no sample, because nothing of the kind has happened.
    no_value: str = "none"
    # From here on the value is coloured as a warning, and as critical.
    warn_from: float | None = None
    alarm_from: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels below one heading, from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top of a dashboard: the values of a metric's label."""

    name: str
    label: str
    metric: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard. `uid` is part of its URL and never changes."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """Yield every panel."""
        for row in self.rows:
            yield from row.panels


def total(metric: Metric, *by: str, where: str = "") -> str:
    """Return the metric's value, added up by these labels; `where` holds label matchers."""
    return f"{_sum(by)}({metric.name}{_braces(where)})"


def rate(metric: Metric, *by: str, where: str = "") -> str:
    """Return a counter's increase per second, added up by these labels."""
    return f"{_sum(by)}(rate({metric.name}{_braces(where)}[$__rate_interval]))"


def increase(metric: Metric, window: str, *by: str, where: str = "") -> str:
    """Return a counter's increase over a window, added up by these labels."""
    return f"{_sum(by)}(increase({metric.name}{_braces(where)}[{window}]))"


def quantile(q: float, metric: Metric, *by: str, where: str = "") -> str:
    """Return a quantile of a histogram, by these labels; `le` is always kept."""
    buckets = f"rate({metric.name}_bucket{_braces(where)}[$__rate_interval])"
    return f"histogram_quantile({q:g}, {_sum(('le', *by))}({buckets}))"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)}) " if by else "sum"


def _braces(where: str) -> str:
    return f"{{{where}}}" if where else ""
