"""Numbers, money, durations and times as pages write them."""

from __future__ import annotations

import pytest

from llm_gateway.console.formats import count, cut, duration, listed, percent, size, usd, when


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "$0.00"),
        (1, "$0.000000001"),
        (1_500_000_000, "$1.50"),
        ("1234567.89", "$1,234,567.89"),
        ("0.00123", "$0.00123"),
        ("-3", "-$3.00"),
        ("9007199254740993.123456789", "$9,007,199,254,740,993.123456789"),
    ],
)
def test_money_is_exact(amount: int | str | None, text: str) -> None:
    assert usd(amount) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.04, "0.0 ms"),
        (12.3, "12 ms"),
        (999.4, "999 ms"),
        (1234.5, "1.23 s"),
        (61_000, "1 min 1 s"),
    ],
)
def test_durations(milliseconds: float | None, text: str) -> None:
    assert duration(milliseconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (5_000_000, "5.0 MB")],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


def test_counts_and_shares() -> None:
    assert count(1234567) == "1,234,567"
    assert percent(0.1234) == "12.3 %"


def test_a_time_is_sent_in_utc_for_the_script_to_show_in_the_readers_zone() -> None:
    assert when(1_700_000_000_123_456) == (
        '<time datetime="2023-11-14T22:13:20.123Z">2023-11-14 22:13:20 UTC</time>'
    )
    assert (
        when("2023-11-14T22:13:20Z")
        == '<time datetime="2023-11-14T22:13:20.000Z">2023-11-14 22:13:20 UTC</time>'
    )
    assert when("<script>") == "<script>"
    assert when(10**30) == str(10**30)


def test_long_values_are_cut_and_say_so() -> None:
    assert cut("a" * 30, 10) == "aaaaaaaaaa… (20 more characters)"
    assert listed(["<b>", "c"], 1) == "<code>&lt;b&gt;</code> and 1 more"
    assert listed(["a" * 61]) == f'<code title="{"a" * 61}">{"a" * 60}…</code>'
