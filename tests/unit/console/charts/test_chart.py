"""A chart says in words what it draws."""

from __future__ import annotations

from collections.abc import Sequence

from llm_gateway.console.charts.chart import Series, Subject, bar_chart, line_chart


def subject(*series: tuple[str, Sequence[float | None]]) -> Subject:
    return Subject(
        id="requests",
        title="Requests",
        buckets=["10:00", "10:15"],
        series=[Series(name=name, style=name, values=values, total="all") for name, values in series],
        write=lambda value: f"{value:g}",
        summary="9 in all",
    )


def test_bars_are_stacked_and_the_axis_holds_the_highest_stack() -> None:
    chart = bar_chart(subject(("good", [4, 1]), ("bad", [3, None])))
    assert (chart.kind, chart.end, chart.middle) == ("bars", "10", "5")
    assert [mark.path.count("M") for mark in chart.marks] == [2, 1]
    # The second series begins where the first ends: at 4 of 10.
    assert chart.marks[1].path.startswith("M30.00 72.00")
    assert [slot.text for slot in chart.slots] == ["10:00: good 4, bad 3", "10:15: good 1, bad none"]
    assert chart.label == "Requests, 10:00 to 10:15: 9 in all. Highest at 10:00: good 4, bad 3."


def test_lines_share_an_axis() -> None:
    chart = line_chart(subject(("p50", [1, 2]), ("p99", [None, 40])))
    assert (chart.kind, chart.end) == ("line", "50")
    assert [mark.style for mark in chart.marks] == ["p50", "p99"]


def test_a_chart_without_values_says_no_highest_one() -> None:
    for chart in (bar_chart(subject(("good", [0, 0]))), line_chart(subject(("p50", [None, None])))):
        assert chart.label == "Requests, 10:00 to 10:15: 9 in all."
        assert chart.marks[0].path == ""
        assert len(chart.slots) == 2
