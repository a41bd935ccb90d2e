"""The six charts of the overview."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from llm_gateway.console.charts.chart import Chart, Series, Subject, bar_chart, line_chart
from llm_gateway.console.formats import count, duration, percent, usd
from llm_gateway.console.overview.report import Report, Sums

_NANO: Final = 10**9
_THOUSANDS: Final = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
# Smaller numbers are written with all digits.
_LARGE: Final = 10_000
# In the order in which they are drawn, from the bottom.
_OUTCOMES: Final = (
    ("ok", "succeeded"),
    ("refused", "refused"),
    ("aborted", "aborted by clients"),
    ("errors", "failed"),
)
_PERCENTILES: Final = ("p50", "p95", "p99")


def charts(report: Report) -> list[Chart]:
    """Return the charts."""
    buckets = [point.name or "" for point in report.points]
    return [
        _requests(report, buckets),
        _errors(report, buckets),
        _tokens(report, buckets),
        _cost(report, buckets),
        _times(report, buckets, "latency", "Latency", "latency_ms"),
        _times(report, buckets, "ttft", "Time to first token", "ttft_ms"),
    ]


def _requests(report: Report, buckets: Sequence[str]) -> Chart:
    total = report.total.values
    return bar_chart(
        Subject(
            id="requests",
            title="Requests",
            buckets=buckets,
            series=[
                Series(name=name, style=key, values=_values(report.points, key), total=count(total[key]))
                for key, name in _OUTCOMES
            ],
            write=_count,
            summary=f"{count(total['requests'])} in all, "
            + ", ".join(f"{count(total[key])} {name}" for key, name in _OUTCOMES),
        )
    )


def _errors(report: Report, buckets: Sequence[str]) -> Chart:
    total, share = report.total.values, percent(error_share(report.total))
    return bar_chart(
        Subject(
            id="errors",
            title="Errors",
            buckets=buckets,
            series=[
                Series(
                    name="failed",
                    style="errors",
                    values=_values(report.points, "errors"),
                    total=f"{count(total['errors'])} ({share})",
                )
            ],
            write=_count,
            summary=f"{count(total['errors'])} of {count(total['requests'])} requests failed, {share}",
        )
    )


def _tokens(report: Report, buckets: Sequence[str]) -> Chart:
    total = report.total.values
    return bar_chart(
        Subject(
            id="tokens",
            title="Tokens",
            buckets=buckets,
            series=[
                Series(
                    name=name,
                    style=key,
                    values=_values(report.points, f"{key}_tokens"),
                    total=count(total[f"{key}_tokens"]),
                )
                for key, name in (("prompt", "of prompts"), ("completion", "of replies"))
            ],
            write=_count,
            summary=f"{count(total['tokens'])} in all, {count(total['prompt_tokens'])} of prompts and "
            f"{count(total['completion_tokens'])} of replies",
        )
    )


def _cost(report: Report, buckets: Sequence[str]) -> Chart:
    return bar_chart(
        Subject(
            id="cost",
            title="Cost",
            buckets=buckets,
            series=[
                Series(
                    name="known cost",
                    style="cost",
                    values=[_nano_usd(point) for point in report.points],
                    total=rounded_usd(report.total.values["cost_usd"]),
                )
            ],
            write=_usd,
            summary=cost_in_words(report.total),
        )
    )


def error_share(sums: Sums) -> float | None:
    """Return the share of requests that failed; None without requests."""
    requests: int = sums.values["requests"]
    return sums.values["errors"] / requests if requests else None


def cost_in_words(sums: Sums) -> str:
    """Return the known cost, and how many requests have an unknown one."""
    unpriced = sums.values["unpriced"]
    if not unpriced:
        return usd(sums.values["cost_usd"])
    known = "no known cost" if sums.values["cost_usd"] is None else usd(sums.values["cost_usd"])
    return f"{known}, {unpriced_in_words(sums)}"


def unpriced_in_words(sums: Sums) -> str:
    """Return how many requests have an unknown cost."""
    number: int = sums.values["unpriced"]
    return f"{count(number)} {'request' if number == 1 else 'requests'} unpriced" if number else ""


def _times(
    report: Report, buckets: Sequence[str], id_: str, title: str, key: Literal["latency_ms", "ttft_ms"]
) -> Chart:
    total = report.total.values[key]
    return line_chart(
        Subject(
            id=id_,
            title=title,
            buckets=buckets,
            series=[
                Series(
                    name=name,
                    style=name,
                    values=[point.values[key][name] for point in report.points],
                    total=duration(total[name]),
                )
                for name in _PERCENTILES
            ],
            write=duration,
            summary=", ".join(f"{name} {duration(total[name])}" for name in _PERCENTILES),
        )
    )


def _values(points: Sequence[Sums], key: str) -> list[Any]:
    return [point.values[key] for point in points]


def _nano_usd(point: Sums) -> int | None:
    cost = point.values["cost_usd"]
    return None if cost is None else int(Decimal(cost) * _NANO)


def _usd(nano_usd: float) -> str:
    return rounded_usd(Decimal(round(nano_usd)) / _NANO)


def rounded_usd(amount: Decimal | str | None) -> str:
    """Return money to the cent, and less than a dollar with three significant digits."""
    if amount is None:
        return "unknown"
    value = Decimal(amount)
    places = 2 if value >= 1 or not value else 2 - value.adjusted()
    return usd(format(round(value, places), "f"))


def _count(number: float) -> str:
    """Return 1234 as "1,234", and larger numbers as "12.3k"."""
    if number < _LARGE:
        return f"{number:,.1f}".removesuffix(".0")
    size, unit = next(one for one in _THOUSANDS if number >= one[0])
    return f"{number / size:.1f}".removesuffix(".0") + unit
