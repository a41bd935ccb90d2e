"""Variables are filled in as Grafana does; drawn panels are well-formed whatever their data."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest

from monitoring.drawing import Box, draw
from monitoring.model import Panel, Query, Shape, Unit
from monitoring.reading import Line, TimeRange, filled, legend_of
from monitoring.units import shown

TIMES = TimeRange(start=1000.0, end=1600.0, step=10.0, scrape=15.0)
BOX = Box(0, 0, 600, 240)


@pytest.mark.parametrize(
    ("choices", "matcher"),
    [
        ({}, 'provider=~".*"'),
        ({"provider": []}, 'provider=~".*"'),
        ({"provider": ["openai"]}, 'provider=~"openai"'),
        ({"provider": ["a", "b"]}, 'provider=~"(a|b)"'),
        ({"provider": ["127.0.0.1:1"]}, r'provider=~"127\\.0\\.0\\.1:1"'),
        ({"provider": ["a|b", "c\\d"]}, r'provider=~"(a\\|b|c\\\\d)"'),
    ],
)
def test_choices_are_filled_in(choices: dict[str, list[str]], matcher: str) -> None:
    assert filled('sum(up{provider=~"$provider"})', TIMES, choices) == f"sum(up{{{matcher}}})"


@pytest.mark.parametrize(("step", "window"), [(10.0, "60000ms"), (60.0, "75000ms")])
def test_a_rate_spans_four_scrapes_and_leaves_none_out(step: float, window: str) -> None:
    times = TimeRange(start=0.0, end=3600.0, step=step, scrape=15.0)
    assert filled("rate(x[$__rate_interval])", times) == f"rate(x[{window}])"
    assert filled("increase(x[$__range])", times) == "increase(x[3600000ms])"


def test_a_legend_names_labels() -> None:
    assert legend_of(Query("x", "{{a}}: {{b}} at {{c}}"), {"a": "1", "b": "2"}) == "1: 2 at "


def panel(shape: Shape) -> Panel:
    return Panel(
        title="Costs & <more>",
        description="-",
        unit="currencyUSD",
        queries=(),
        shape=shape,
        no_value="nothing < 1",
        warn_from=1.0,
    )


def texts(svg: str) -> list[str]:
    root = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{svg}</svg>')
    return [each.text for each in root.iter("{http://www.w3.org/2000/svg}text") if each.text]


@pytest.mark.parametrize("shape", ["lines", "stack", "number", "bars"])
@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.0],
        [1e-9, 5.0],
        [3.0],
        [1.0, math.nan, math.inf, 2.0],
    ],
)
def test_a_panel_is_drawn(shape: Shape, values: list[float]) -> None:
    points = tuple((1000.0 + 30 * place, value) for place, value in enumerate(values))
    svg = draw(panel(shape), [Line('"a" & <b>', points)], TIMES, BOX)
    assert "nan" not in svg
    assert "inf" not in svg
    found = " ".join(texts(svg))
    assert "Costs & <more>" in found
    assert (shape == "number") or '"a" & <b>' in found
    assert shown(values[-1], "currencyUSD") in found


@pytest.mark.parametrize("lines", [[], [Line("a", ((1000.0, math.nan),))]])
def test_a_panel_without_data_says_so(lines: list[Line]) -> None:
    assert "nothing < 1" in texts(draw(panel("lines"), lines, TIMES, BOX))


def test_series_beyond_the_first_are_counted() -> None:
    lines = [Line(f"series {number}", ((1000.0, float(number)),)) for number in range(12)]
    found = texts(draw(panel("lines"), lines, TIMES, BOX))
    assert "and 4 more" in found
    assert not any(text.startswith("series 3 ") for text in found)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.25, "s", "250 ms"),
        (0.00025, "s", "250 µs"),
        (90.0, "s", "90 s"),
        (0.0123, "percentunit", "1.23 %"),
        (1234567.0, "short", "1.23 M"),
        (3 * 2**20, "bytes", "3 MiB"),
        (12.0, "bytes", "12 B"),
        (2.5, "reqps", "2.5 req/s"),
        (0.5, "currencyUSD", "$0.5"),
    ],
)
def test_units_are_shown(value: float, unit: Unit, text: str) -> None:
    assert shown(value, unit) == text
