"""The overview's charts show the numbers of its report, and say them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llm_gateway.console.overview.charts import (
    charts,
    cost_in_words,
    error_share,
    rounded_usd,
    unpriced_in_words,
)
from llm_gateway.console.overview.ranges import RANGES
from llm_gateway.console.overview.report import Report, Sums, sums_of
from llm_gateway.core.calendar import Period, read_zone
from llm_gateway.core.ledger.totals import UsageTotals
from llm_gateway.flow.ports.usage import UseTotals
from tests.fakes.usage_records import record


def sums(name: str | None, *rows: dict[str, object]) -> Sums:
    totals = UsageTotals()
    for number, row in enumerate(rows):
        totals.add(record(f"{number}", **row))
    return sums_of(name, totals)


OK: dict[str, object] = {"cost_nano_usd": 1_500_000_000, "latency_ms": 100.0, "ttft_ms": 10.0}
FAILED: dict[str, object] = {"outcome": "error", "latency_ms": 900.0, "prompt_tokens": 30_000}


def report(*points: Sums, total: Sums) -> Report:
    return Report(
        range=RANGES["1h"],
        window=Period(0, 1),
        zone=read_zone("UTC"),
        time_zone="UTC",
        points=points,
        total=total,
        ranked={},
        recent=UseTotals(0, 0, 0, 0, 0, 0, 0, None),
        in_flight=0,
        failing=(),
        is_complete=True,
        has_any=True,
    )


def test_six_charts_say_their_numbers() -> None:
    shown = charts(
        report(sums("10:00", OK, OK), sums("10:15", FAILED), sums("10:30"), total=sums(None, OK, OK, FAILED))
    )
    labels = {chart.id: chart.label for chart in shown}
    assert list(labels) == ["requests", "errors", "tokens", "cost", "latency", "ttft"]
    assert labels["requests"] == (
        "Requests, 10:00 to 10:30: 3 in all, 2 succeeded, 0 refused, 0 aborted by clients, 1 failed. "
        "Highest at 10:00: succeeded 2, refused 0, aborted by clients 0, failed 0."
    )
    assert "1 of 3 requests failed, 33.3 %" in labels["errors"]
    assert "30,012 in all, 30,006 of prompts and 6 of replies" in labels["tokens"]
    assert "Highest at 10:15: of prompts 30k, of replies 2" in labels["tokens"]
    assert "$3.00, 1 request unpriced" in labels["cost"]
    assert "Highest at 10:00: known cost $3.00" in labels["cost"]
    assert labels["latency"].startswith("Latency, 10:00 to 10:30: p50 1")
    for chart in shown:
        assert [slot.text.partition(": ")[0] for slot in chart.slots] == ["10:00", "10:15", "10:30"]


def test_what_has_no_value_is_not_drawn_as_nothing() -> None:
    shown = {chart.id: chart for chart in charts(report(sums("10:00", FAILED), total=sums(None, FAILED)))}
    # A cost that is not known, and a first token that never came, are no zeros.
    assert shown["cost"].slots[0].text == "10:00: known cost none"
    assert shown["ttft"].slots[0].text == "10:00: p50 none, p95 none, p99 none"
    assert shown["cost"].marks[0].total == "unknown"
    assert shown["ttft"].marks[0].total == "\N{EN DASH}"


def test_costs_in_words_name_what_they_lack() -> None:
    assert cost_in_words(sums(None, OK)) == "$1.50"
    assert cost_in_words(sums(None, OK, FAILED, FAILED)) == "$1.50, 2 requests unpriced"
    assert cost_in_words(sums(None, FAILED)) == "no known cost, 1 request unpriced"
    assert unpriced_in_words(sums(None, OK)) == ""


def test_the_share_of_errors_leaves_out_what_was_refused_or_aborted() -> None:
    assert error_share(sums(None)) is None
    rows: list[dict[str, object]] = [OK, FAILED, {"outcome": "rejected"}, {"outcome": "aborted"}]
    assert error_share(sums(None, *rows)) == 0.25


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unknown"), ("0", "$0.00"), ("12.2347563", "$12.23"), ("1234567.891", "$1,234,567.89"),
        ("0.999", "$0.999"), ("0.0123456", "$0.0123"), ("0.000000001", "$0.000000001"), (Decimal("0.5"), "$0.50"),
    ],
)  # fmt: skip
def test_money_is_rounded_to_what_is_read_at_a_glance(amount: Decimal | str | None, text: str) -> None:
    assert rounded_usd(amount) == text
