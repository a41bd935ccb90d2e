"""Draws panels as SVG: plain strings, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from monitoring.model import Panel
from monitoring.reading import Line, TimeRange
from monitoring.units import shown

_COLOURS: Final = (
    "#3274d9", "#56a64b", "#e0752d", "#a352cc", "#e02f44", "#0f9d9f", "#c4a000", "#8f3bb8", "#6e7f8d", "#b5651d",
)  # fmt: skip
_TEXT: Final = "#24292f"
_FAINT: Final = "#6e7781"
_BORDER: Final = "#d0d7de"
# Series beyond these are counted in the legend, and not drawn: a picture shows what a panel is like.
_MOST: Final = 8
_LEGEND_LINE: Final = 15
_WIDE: Final = 330
_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float


def draw(panel: Panel, lines: Sequence[Line], times: TimeRange, box: Box) -> str:
    """Return the SVG of a panel with its data."""
    inner = Box(box.x + 12, box.y + 30, box.width - 24, box.height - 38)
    frame = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="4"'
    parts = [
        f'<rect {frame} fill="#fff" stroke="{_BORDER}"/>',
        text(panel.title, box.x + 12, box.y + 20, size=13, bold=True),
    ]
    series = [line for line in (_finite(line) for line in lines) if line.points]
    if not series:
        parts.append(_middle(panel.no_value, inner))
    elif panel.shape == "number":
        parts += _number(panel, series[0], times, inner)
    elif panel.shape == "bars":
        parts += _bars(panel, series, inner)
    else:
        parts += _chart(panel, series, times, inner)
    return "\n".join(parts)


def text(
    content: str,
    x: float,
    y: float,
    *,
    size: int = 11,
    bold: bool = False,
    colour: str = _TEXT,
    end: bool = False,
) -> str:
    """Return a text that begins at x, or ends there."""
    weight = ' font-weight="600"' if bold else ""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}"{weight}{anchor}>{escape(content)}</text>'


def _finite(line: Line) -> Line:
    return Line(line.legend, tuple(point for point in line.points if math.isfinite(point[1])))


def _middle(content: str, box: Box) -> str:
    return (
        f'<text x="{box.x + box.width / 2:g}" y="{box.y + box.height / 2:g}" font-size="13" fill="{_FAINT}" '
        f'text-anchor="middle">{escape(content)}</text>'
    )


def _number(panel: Panel, line: Line, times: TimeRange, box: Box) -> Iterator[str]:
    value = line.points[-1][1]
    colour = "#2da44e"
    for limit, warning in ((panel.warn_from, "#d4760a"), (panel.alarm_from, "#cf222e")):
        if limit is not None and value >= limit:
            colour = warning
    low = Box(box.x, box.y + box.height * 0.55, box.width, box.height * 0.45)
    yield _path(line.points, times, low, _top([line], panel), colour, area=True)
    yield text(shown(value, panel.unit), box.x, box.y + 24, size=24, bold=True, colour=colour)


def _bars(panel: Panel, series: Sequence[Line], box: Box) -> Iterator[str]:
    ranked = sorted(series, key=lambda line: -line.points[-1][1])
    kept = ranked[:_MOST]
    most = max(kept[0].points[-1][1], 1.0 if panel.unit == "percentunit" else 0.0) or 1.0
    height = min(26.0, box.height / len(kept))
    for place, line in enumerate(kept):
        value = line.points[-1][1]
        y = box.y + place * height
        width = max(box.width * 0.5 * min(value / most, 1.0), 1.0)
        yield text(line.legend, box.x, y + 15)
        yield (
            f'<rect x="{box.x + box.width * 0.32:g}" y="{y + 4:g}" width="{width:.0f}" height="{height - 10:g}" '
            f'fill="{_COLOURS[0]}" fill-opacity="0.8"/>'
        )
        yield text(shown(value, panel.unit), box.x + box.width, y + 15, end=True, bold=True)


def _chart(panel: Panel, series: Sequence[Line], times: TimeRange, box: Box) -> Iterator[str]:
    ranked = sorted(series, key=lambda line: -sum(value for _, value in line.points))
    kept, left_out = sorted(ranked[:_MOST], key=lambda line: line.legend), len(ranked) - _MOST
    columns = 2 if len(kept) > 1 and box.width >= _WIDE else 1
    below = math.ceil((len(kept) + (left_out > 0)) / columns) * _LEGEND_LINE
    plot = Box(box.x + 58, box.y + 8, box.width - 58, box.height - below - 28)
    drawn = _stacked(kept) if panel.shape == "stack" else [(line, line.points) for line in kept]
    most = max((value for _, points in drawn for _, value in points), default=0.0) or 1.0
    top = 2.0 ** math.ceil(math.log2(most)) if panel.unit == "bytes" else _nice(most)
    for part in (0.0, 0.5, 1.0):
        level = round(plot.y + plot.height * (1 - part))
        yield f'<path d="M{plot.x:g} {level}h{plot.width:g}" stroke="{_BORDER}" stroke-width="0.5"/>'
        yield text(shown(top * part, panel.unit), plot.x - 6, level + 4, size=10, colour=_FAINT, end=True)
    yield text(_ago(times), plot.x, plot.y + plot.height + 14, size=10, colour=_FAINT)
    yield text("now", plot.x + plot.width, plot.y + plot.height + 14, size=10, colour=_FAINT, end=True)
    # The topmost of a stack first, so that the areas below it lie over it.
    for place in reversed(range(len(drawn))):
        yield _path(drawn[place][1], times, plot, top, _COLOURS[place], area=panel.shape == "stack")
    y = plot.y + plot.height + 30
    for place, line in enumerate(kept):
        x, line_y = box.x + place % columns * box.width / columns, y + place // columns * _LEGEND_LINE
        yield f'<rect x="{x:g}" y="{line_y - 8:g}" width="10" height="3" fill="{_COLOURS[place]}"/>'
        yield text(f"{line.legend}  {shown(line.points[-1][1], panel.unit)}", x + 15, line_y - 3, size=10)
    if left_out > 0:
        x, line_y = box.x + len(kept) % columns * box.width / columns, y + len(kept) // columns * _LEGEND_LINE
        yield text(f"and {left_out} more", x + 15, line_y - 3, size=10, colour=_FAINT)


def _stacked(series: Sequence[Line]) -> list[tuple[Line, tuple[tuple[float, float], ...]]]:
    sums: dict[float, float] = {}
    found = []
    for line in series:
        points = []
        for at, value in line.points:
            sums[at] = sums.get(at, 0.0) + value
            points.append((at, sums[at]))
        found.append((line, tuple(points)))
    return found


def _path(
    points: Sequence[tuple[float, float]], times: TimeRange, box: Box, top: float, colour: str, *, area: bool
) -> str:
    span = times.end - times.start
    places = [
        (
            round(box.x + box.width * (at - times.start) / span),
            round(box.y + box.height * (1 - min(value / top, 1.0))),
        )
        for at, value in points
    ]
    runs = list(_runs(places, points, times.step))
    d = "".join("M" + " ".join(f"{x} {y}" for x, y in _thinned(run)) for run in runs)
    if len(places) == 1:
        d += "h2"
    drawn = f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>'
    if not area:
        return drawn
    floor = round(box.y + box.height)
    filled = "".join(
        f"M{run[0][0]} {floor}L" + " ".join(f"{x} {y}" for x, y in _thinned(run)) + f"V{floor}Z"
        for run in runs
    )
    return f'<path d="{filled}" fill="{_pale(colour)}"/>{drawn}'


def _pale(colour: str) -> str:
    """Return the colour mixed with white: what lies below does not shine through."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{255 - (255 - part) // 3:02x}" for part in parts)


def _runs(
    places: Sequence[tuple[int, int]], points: Sequence[tuple[float, float]], step: float
) -> Iterator[list[tuple[int, int]]]:
    """Yield the parts between which points are missing."""
    run = [places[0]]
    for place, (before, _), (at, _) in zip(places[1:], points, points[1:], strict=False):
        if at - before > 1.5 * step:
            yield run
            run = []
        run.append(place)
    yield run


def _thinned(run: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a run without the points inside of level stretches."""
    return [
        place
        for number, place in enumerate(run)
        if number in {0, len(run) - 1} or not run[number - 1][1] == place[1] == run[number + 1][1]
    ]


def _top(series: Sequence[Line], panel: Panel) -> float:
    most = max(value for line in series for _, value in line.points)
    return most or panel.alarm_from or 1.0


def _nice(value: float) -> float:
    """Return the next number that reads well on an axis."""
    size: float = 10.0 ** math.floor(math.log10(value))
    return next(
        size * step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if size * step >= value * 0.9999
    )


def _ago(times: TimeRange) -> str:
    seconds = times.end - times.start
    return f"{seconds / _MINUTE:.0f} min ago" if seconds >= 2 * _MINUTE else f"{seconds:.0f} s ago"
