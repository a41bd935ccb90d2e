"""Values become paths that stay within their box, in proportion."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.console.charts.drawing import HEIGHT, WIDTH, axis_end, bars, line, slots

VALUES = st.floats(0, 1e15)


@pytest.mark.parametrize(
    ("most", "end"),
    [(0, 1), (0.03, 0.05), (1, 1), (1.1, 2), (7, 10), (10, 10), (11, 20), (4_037_894, 5_000_000)],
)
def test_an_axis_ends_at_a_round_number(most: float, end: float) -> None:
    assert axis_end(most) == pytest.approx(end)


@given(st.floats(1e-9, 1e18))
def test_an_axis_holds_its_values_and_is_used(most: float) -> None:
    assert most <= axis_end(most) * (1 + 1e-9) <= most * 10.0001


def test_bars_stand_on_their_floors_and_have_their_heights() -> None:
    assert bars([5, 0], [0, 0], 10) == "M30.00 120.00h240.00V60.00h-240.00z"
    assert bars([5], [5], 10) == "M60.00 60.00h480.00V0.00h-480.00z"


def test_a_line_is_interrupted_where_there_is_no_value() -> None:
    assert line([0, 10, None, 5], 10) == "M71.00 120.00h4L225.00 0.00M521.00 60.00h4"
    assert line([None, None], 10) == ""


@given(st.lists(st.one_of(st.none(), VALUES), min_size=1, max_size=50))
def test_nothing_is_drawn_outside_the_box(values: list[float | None]) -> None:
    known = [value for value in values if value is not None]
    path = line(values, axis_end(max(known, default=0)))
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", path)
    assert len(points) == len(known)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in points)


def test_slots_cover_the_width() -> None:
    assert slots(3) == [("0.00", "200.00"), ("200.00", "200.00"), ("400.00", "200.00")]
    assert slots(0) == []
