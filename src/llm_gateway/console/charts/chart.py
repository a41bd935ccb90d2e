"""Charts of values over time: stacked bars or lines, and what both say in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llm_gateway.console.charts.drawing import HEIGHT, WIDTH, axis_end, bars, line, slots

Kind = Literal["bars", "line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values over time, one for each bucket; None = there is none. `style` ends the name of a CSS class."""

    name: str
    style: str
    values: Sequence[float | None]
    # What the legend says of all of them together.
    total: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A series as it is drawn."""

    name: str
    style: str
    total: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The place of one bucket, and what a pointer that rests there is told."""

    x: str
    width: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart as templates show it."""

    id: str
    title: str
    kind: Kind
    # The whole chart in words.
    label: str
    marks: Sequence[Mark]
    slots: Sequence[Slot]
    # What the axis says at its end and in its middle; nothing if there are no values.
    end: str
    middle: str
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a chart is about, before it is drawn."""

    id: str
    title: str
    # What each bucket is called, in order.
    buckets: Sequence[str]
    series: Sequence[Series]
    # Writes a value of the axis, or of a bucket.
    write: Callable[[float], str]
    # All values together, in words.
    summary: str


def bar_chart(subject: Subject) -> Chart:
    """Return a chart of bars that stand on one another."""
    floors = [0.0] * len(subject.buckets)
    heights = [[value or 0 for value in one.values] for one in subject.series]
    end = axis_end(max((sum(parts) for parts in zip(*heights, strict=True)), default=0))
    paths = []
    for own in heights:
        paths.append(bars(own, floors, end))
        floors = [floor + height for floor, height in zip(floors, own, strict=True)]
    return _chart("bars", subject, paths, end)


def line_chart(subject: Subject) -> Chart:
    """Return a chart of lines."""
    known = [value for one in subject.series for value in one.values if value is not None]
    end = axis_end(max(known, default=0))
    return _chart("line", subject, [line(one.values, end) for one in subject.series], end)


def _chart(kind: Kind, subject: Subject, paths: Sequence[str], end: float) -> Chart:
    columns = list(zip(*(one.values for one in subject.series), strict=True))
    has_values = any(any(column) for column in columns)
    texts = [
        f"{bucket}: {_in_words(subject, column)}"
        for bucket, column in zip(subject.buckets, columns, strict=True)
    ]
    return Chart(
        id=subject.id,
        title=subject.title,
        kind=kind,
        label=_label(subject, columns, texts),
        marks=[
            Mark(name=one.name, style=one.style, total=one.total, path=path)
            for one, path in zip(subject.series, paths, strict=True)
        ],
        slots=[
            Slot(x=x, width=width, text=text)
            for (x, width), text in zip(slots(len(texts)), texts, strict=True)
        ],
        end=subject.write(end) if has_values else "",
        middle=subject.write(end / 2) if has_values else "",
    )


def _in_words(subject: Subject, column: Sequence[float | None]) -> str:
    return ", ".join(
        f"{one.name} {'none' if value is None else subject.write(value)}"
        for one, value in zip(subject.series, column, strict=True)
    )


def _label(subject: Subject, columns: Sequence[Sequence[float | None]], texts: Sequence[str]) -> str:
    """Return the numbers of a chart in words: all together, and of the highest bucket."""
    first, last = subject.buckets[0], subject.buckets[-1]
    label = f"{subject.title}, {first} to {last}: {subject.summary}."
    heights = [sum(value or 0 for value in column) for column in columns]
    if any(heights):
        label += f" Highest at {texts[heights.index(max(heights))]}."
    return label
