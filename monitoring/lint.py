"""Finds what makes a dashboard unreadable or wrong; it reads the JSON that Grafana reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from monitoring.model import GRID

Json = Mapping[str, Any]

# Grafana's longest uid.
_LONGEST_UID: Final = 40
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WINDOW: Final = re.compile(r"\[([^\]]*)\]")
_RANGES: Final = frozenset({"$__rate_interval", "$__range"})
_LONG_WINDOW: Final = re.compile(r"[1-9][0-9]*[hd]")
_VARIABLE: Final = re.compile(r"\$(\w+)")
_BUILT_IN: Final = frozenset({"__rate_interval", "__range"})
_LEGEND_LABEL: Final = re.compile(r"\{\{(\w+)\}\}")
_BY: Final = re.compile(r"\bby \(([^)]*)\)")


def findings(dashboard: Json) -> list[str]:
    """Return everything that is wrong with a dashboard, each with the place where it is."""
    return [
        *_of_dashboard(dashboard),
        *(f"{_name(panel)}: {text}" for panel in dashboard["panels"] for text in _of_panel(panel)),
        *_of_grid(dashboard["panels"]),
    ]


def _of_dashboard(dashboard: Json) -> Iterator[str]:
    uid = dashboard.get("uid", "")
    if not 0 < len(uid) <= _LONGEST_UID:
        yield f"the uid has {len(uid)} characters, not 1 to {_LONGEST_UID}"
    for field in ("title", "description"):
        if not dashboard.get(field):
            yield f"there is no {field}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) < len(ids):
        yield "two panels have one id"
    titles = [panel.get("title") for panel in dashboard["panels"] if panel["type"] != "row"]
    for title in sorted({title for title in titles if title and titles.count(title) > 1}):
        yield f"two panels are called {title}"
    variables = dashboard["templating"]["list"]
    if not variables or variables[0]["type"] != "datasource":
        yield "the data source is not the first variable"
    used = set(_VARIABLE.findall(" ".join(_expressions(dashboard)))) - _BUILT_IN
    known = {variable["name"] for variable in variables if variable["type"] != "datasource"}
    for name in sorted(used - known):
        yield f"${name} is used, but no variable"
    for name in sorted(known - used):
        yield f"the variable {name} is not used"


def _of_panel(panel: Json) -> Iterator[str]:
    if panel["type"] == "row":
        return
    for field in ("title", "description"):
        if not panel.get(field):
            yield f"there is no {field}"
    defaults = panel["fieldConfig"]["defaults"]
    for field, meaning in (("unit", "unit"), ("noValue", "text for no value")):
        if not defaults.get(field):
            yield f"there is no {meaning}"
    targets: Sequence[Json] = panel.get("targets", ())
    if not targets:
        yield "it asks for nothing"
    names = [target.get("refId") for target in targets]
    if len(set(names)) < len(names) or None in names:
        yield "the refIds are not unique"
    for one in (panel, *targets):
        if one.get("datasource") != _SOURCE:
            yield "its data source is not the variable"
    for target in targets:
        yield from _of_query(target)


def _of_query(target: Json) -> Iterator[str]:
    expr, legend = target["expr"], target.get("legendFormat", "")
    if not legend or legend == "__auto":
        yield "a query has no legend"
    for window in _WINDOW.findall(expr):
        if window not in _RANGES and not _LONG_WINDOW.fullmatch(window):
            yield f"the window [{window}] does not follow the scrape interval: use $__rate_interval"
    if re.search(r"\b(rate|increase)\([^)]*_bucket\b", expr) and "le" not in _labels(expr):
        yield "a histogram is added up without le"
    grouped = _labels(expr)
    for label in _LEGEND_LABEL.findall(legend):
        if label not in grouped:
            yield f"the legend names {label}, which no series has"
    for label in sorted(grouped - {"le"} - set(_LEGEND_LABEL.findall(legend))):
        yield f"series differ by {label}, which the legend does not name"


def _of_grid(panels: Sequence[Json]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > GRID:
            yield f"{_name(panel)}: it is wider than the grid"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken:
                    yield f"{_name(panel)}: it lies on {taken[x, y]}"
                    return
                taken[x, y] = _name(panel)


def _labels(expr: str) -> set[str]:
    return {label.strip() for group in _BY.findall(expr) for label in group.split(",") if label.strip()}


def _expressions(dashboard: Json) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def _name(panel: Json) -> str:
    return f"panel {panel['id']} ({panel.get('title') or 'without title'})"
