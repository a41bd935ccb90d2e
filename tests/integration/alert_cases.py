"""When each alert fires and when it stays quiet: series as promtool writes them, one sample a minute.

`0+80x20` begins at 0 and grows by 80 each minute, 20 times. A case whose `fires` is empty stays quiet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Labels = Mapping[str, str]
_JOB = 'job="llm-gateway"'
_HERE = f'{_JOB},instance="a:18000"'
_THERE = f'{_JOB},instance="b:18000"'
HERE = {"job": "llm-gateway", "instance": "a:18000"}


@dataclass(frozen=True)
class AlertCase:
    """`fires` has the labels of each alert that fires at minute `at`, and the value that its description shows."""

    alert: str
    what: str
    series: Mapping[str, str]
    at: int
    fires: Sequence[tuple[Labels, str]] = ()


def _requests(good: float, bad: float, minutes: int) -> dict[str, str]:
    """Return served requests with so many good and bad ones a minute, and twice as many refused ones."""
    return {
        f'llm_proxy_requests_total{{{_HERE},status_code="{status}",provider="p",model="m"}}': f"0+{number}x{minutes}"
        for status, number in (("200", good), ("503", bad), ("401", 2 * (good + bad)))
    }


def _slow(fast: float, slow: float, minutes: int) -> dict[str, str]:
    name = "llm_proxy_request_duration_seconds"
    labels = f'{_HERE},provider="p",model="m"'
    refused = f'{_HERE},provider="none",model="m"'
    return _requests(fast + slow, 0, minutes) | {
        f'{name}_bucket{{{labels},le="30.0"}}': f"0+{fast}x{minutes}",
        f"{name}_count{{{labels}}}": f"0+{fast + slow}x{minutes}",
        f'{name}_bucket{{{refused},le="30.0"}}': f"0+100x{minutes}",
        f"{name}_count{{{refused}}}": f"0+100x{minutes}",
    }


def _windows(long: str, short: str, severity: str) -> dict[str, str]:
    return {"job": "llm-gateway", "long_window": long, "short_window": short, "severity": severity}


_FASTEST = _windows("1h", "5m", "critical")
_FAST = _windows("6h", "30m", "critical")
_SLOW = _windows("1d", "2h", "warning")
_SLOWEST = _windows("3d", "6h", "warning")


def _burns() -> list[AlertCase]:
    cases = []
    for name, of, budget in (
        ("LLMGatewayErrorBudgetBurn", _requests, 1),
        ("LLMGatewayLatencyBudgetBurn", _slow, 5),
    ):
        for what, burn, at, labels in (
            ("burns 15 times too fast", 15, 10, _FASTEST),
            ("burns 7 times too fast", 7, 25, _FAST),
            ("burns 4 times too fast", 4, 75, _SLOW),
            ("burns twice too fast", 2, 200, _SLOWEST),
        ):
            bad = burn * budget
            cases += [
                AlertCase(name, what, of(100 - bad, bad, at), at, [(labels, f"{bad}%")]),
                # Not yet for long enough.
                AlertCase(name, f"{what}, but not for long", of(100 - bad, bad, 1), 1),
            ]
        if name == "LLMGatewayErrorBudgetBurn":
            broken = f'llm_gateway_broken_streams_total{{{_HERE},provider="p",model="m"}}'
            cases.append(
                AlertCase(
                    name,
                    "streams break after they have begun",
                    of(100, 0, 10) | {broken: "0+15x10"},
                    10,
                    [(_FASTEST, "15%")],
                )
            )
        cases += [
            AlertCase(name, "just below 14.4", of(100 - 14.3 * budget, 14.3 * budget, 10), 10),
            AlertCase(name, "just below 6", of(100 - 5.9 * budget, 5.9 * budget, 25), 25),
            AlertCase(name, "just below 3", of(100 - 2.9 * budget, 2.9 * budget, 75), 75),
            AlertCase(name, "just below the objective", of(100 - 0.9 * budget, 0.9 * budget, 200), 200),
            AlertCase(name, "all bad, but few", of(0, 1, 75), 75),
            # The short window of the fastest one knows it first: only the slower one still fires.
            AlertCase(
                name, "all bad, and good again", _then(of(0, 100, 30), of(100, 0, 6)), 36, [(_FAST, "83.33%")]
            ),
        ]
    return cases


def _then(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Return counters that grow as in `first`, and from there on as in `second`."""

    def rate(values: str) -> tuple[int, int]:
        step, _, minutes = values.removeprefix("0+").partition("x")
        return int(step), int(minutes)

    joined = {}
    for series, values in first.items():
        (step, minutes), (then, more) = rate(values), rate(second[series])
        joined[series] = f"0+{step}x{minutes} {step * minutes + then}+{then}x{more - 1}"
    return joined


def _gauge(
    alert: str,
    metric: str,
    severity: str,
    fires: Sequence[tuple[float, str]],
    quiet: Sequence[float],
    at: int,
    labels: Labels = HERE,
    series_labels: str = _HERE,
) -> list[AlertCase]:
    """Return the cases of an alert on one gauge: at these values it fires and shows this, at others it is quiet."""
    series = f"{metric}{{{series_labels}}}"
    shown = [
        AlertCase(
            alert, f"is {value}", {series: f"{value}x{at}"}, at, [({**labels, "severity": severity}, text)]
        )
        for value, text in fires
    ]
    shown += [AlertCase(alert, f"is {value}", {series: f"{value}x{at}"}, at) for value in quiet]
    if at > 1:
        shown.append(AlertCase(alert, "has been so for a moment only", {series: f"{fires[0][0]}x1"}, 0))
    return shown


def _counter(
    alert: str,
    metric: str,
    severity: str,
    at: int,
    *,
    least: int = 1,
    labels: Labels = HERE,
    more: str = _HERE,
) -> list[AlertCase]:
    """Return the cases of an alert on a counter that fires once it grew by `least`, and not before."""
    series = f"{metric}{{{more}}}"
    fired = {**labels, "severity": severity}
    # Prometheus extrapolates the growth to the edges of the window: the value shown is a little higher.
    rest = f"0x{at} "
    return [
        AlertCase(alert, "grew", {series: f"{rest}{10 * least}x3"}, at + 3, [(fired, "")]),
        AlertCase(alert, "does not grow", {series: f"{10 * least}x{at + 3}"}, at + 3),
        *([AlertCase(alert, "grew by less", {series: f"{rest}{least // 2}x3"}, at + 3)] if least > 1 else []),
    ]


def _quantile(name: str, seconds: float, each: float, minutes: int = 30) -> dict[str, str]:
    """Return a histogram with `each` observations a minute, all between `seconds` and the next bound."""
    bounds = (1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
    labels = f'{_HERE},provider="p"'
    series = {
        f'{name}_bucket{{{labels},le="{bound}"}}': f"0+{each if bound > seconds else 0}x{minutes}"
        for bound in bounds
    }
    series[f'{name}_bucket{{{labels},le="+Inf"}}'] = f"0+{each}x{minutes}"
    series[f"{name}_count{{{labels}}}"] = f"0+{each}x{minutes}"
    series[f'llm_proxy_requests_total{{{labels},status_code="200"}}'] = f"0+{each}x{minutes}"
    return series


_PROVIDER = {"job": "llm-gateway", "provider": "p"}
_LATENCY, _FIRST = "llm_proxy_provider_latency_seconds", "llm_gateway_time_to_first_token_seconds"


def _slow_providers() -> list[AlertCase]:
    cases = []
    for alert, name, limit, text in (
        ("LLMGatewayProviderSlow", _LATENCY, 60.0, "1m 57s"),
        ("LLMGatewayFirstTokenSlow", _FIRST, 10.0, "19.5s"),
    ):
        fired = {**_PROVIDER, "severity": "warning"}
        cases += [
            AlertCase(alert, "is slow", _quantile(name, limit, 2), 30, [(fired, text)]),
            AlertCase(alert, "is just fast enough", _quantile(name, limit - 1, 2), 30),
            AlertCase(alert, "is slow for a moment", _quantile(name, limit, 2, 8), 8),
            AlertCase(alert, "is slow, but hardly used", _quantile(name, limit, 1), 30),
        ]
    return cases


def _failovers(before: int, after: int) -> dict[str, str]:
    """Return 10 requests a minute, with so many failovers a minute for 120 minutes, and then for 30."""
    steps = f'llm_gateway_recovery_steps_total{{{_HERE},provider="p",step="failover"}}'
    return {
        f'llm_proxy_requests_total{{{_HERE},provider="p",status_code="200"}}': "0+10x150",
        f'llm_gateway_recovery_steps_total{{{_HERE},provider="p",step="give_up"}}': "0+9x150",
        steps: f"0+{before}x120 {before * 120 + after}+{after}x29",
    }


_BUDGET = f'{_JOB},budget="team"'
_OF_BUDGET = {"job": "llm-gateway", "budget": "team"}
_OLD = {**HERE, "severity": "warning"}


def _versions(here: str, there: str) -> dict[str, str]:
    name = "llm_gateway_config_version"
    return {f"{name}{{{_HERE}}}": here, f"{name}{{{_THERE}}}": there}


CASES: tuple[AlertCase, ...] = (
    *_burns(),
    *_gauge("LLMGatewayDown", "up", "critical", [(0, "")], [1], 3),
    AlertCase(
        "LLMGatewayDown", "is not scraped", {}, 3, [({"job": "llm-gateway", "severity": "critical"}, "")]
    ),
    *_gauge(
        "LLMGatewayProviderDown",
        "llm_proxy_provider_health",
        "warning",
        [(0, "")],
        [1],
        6,
        _PROVIDER,
        f'{_HERE},provider="p"',
    ),
    AlertCase(
        "LLMGatewayProviderDown",
        "another gateway reaches it",
        {
            f'llm_proxy_provider_health{{{_HERE},provider="p"}}': "0x6",
            f'llm_proxy_provider_health{{{_THERE},provider="p"}}': "1x6",
        },
        6,
    ),
    *_slow_providers(),
    *_counter(
        "LLMGatewayBreakerFlapping",
        "llm_gateway_breaker_openings_total",
        "warning",
        31,
        least=6,
        labels=_PROVIDER,
        more=f'{_HERE},provider="p"',
    ),
    AlertCase(
        "LLMGatewayFailoversRising",
        "rose from 0 to half of the requests",
        _failovers(0, 5),
        149,
        [({"job": "llm-gateway", "severity": "warning"}, "50%")],
    ),
    AlertCase("LLMGatewayFailoversRising", "was always half of the requests", _failovers(5, 5), 149),
    AlertCase("LLMGatewayFailoversRising", "rose to a tenth", _failovers(0, 1), 149),
    AlertCase("LLMGatewayFailoversRising", "rose a moment ago", _failovers(0, 5), 122),
    *_gauge(
        "LLMGatewayBudgetNearlySpent",
        "llm_gateway_budget_used_ratio",
        "info",
        [(0.8, "80%"), (0.94, "94%")],
        [0.79, 1],
        1,
        _OF_BUDGET,
        _BUDGET,
    ),
    *_gauge(
        "LLMGatewayBudgetNearlySpent",
        "llm_gateway_budget_used_ratio",
        "warning",
        [(0.95, "95%"), (0.99, "99%")],
        [],
        1,
        _OF_BUDGET,
        _BUDGET,
    ),
    *_gauge(
        "LLMGatewayBudgetSpent",
        "llm_gateway_budget_used_ratio",
        "warning",
        [(1, "")],
        [0.99],
        1,
        _OF_BUDGET,
        _BUDGET,
    ),
    *_counter(
        "LLMGatewayBudgetSpent",
        "llm_gateway_limit_refusals_total",
        "warning",
        11,
        labels={"job": "llm-gateway", "scope": "tenant"},
        more=f'{_HERE},limit="budget",scope="tenant"',
    ),
    AlertCase(
        "LLMGatewayBudgetSpent",
        "another limit refuses",
        {f'llm_gateway_limit_refusals_total{{{_HERE},limit="requests_per_day",scope="tenant"}}': "0+1x15"},
        15,
    ),
    *_gauge("LLMGatewayBudgetsAway", "llm_gateway_budgets_away", "warning", [(1, "")], [0], 6),
    *_counter(
        "LLMGatewayUnpricedUsage",
        "llm_gateway_unpriced_requests_total",
        "warning",
        61,
        least=11,
        labels={**_PROVIDER, "model": "m", "reason": "no_price"},
        more=f'{_HERE},provider="p",model="m",reason="no_price"',
    ),
    *_gauge("LLMGatewayUsageStoreAway", "llm_gateway_usage_store_down", "warning", [(1, "")], [0], 3),
    *_gauge("LLMGatewayUsageBackupInUse", "llm_gateway_usage_backup_in_use", "warning", [(1, "")], [0], 16),
    *_gauge(
        "LLMGatewayShipperStuck",
        "llm_gateway_journal_oldest_record_seconds",
        "warning",
        [(301, "5m 1s")],
        [300],
        6,
    ),
    AlertCase(
        "LLMGatewayJournalFilling",
        "is more than half full",
        {
            f"llm_gateway_journal_backlog_bytes{{{_HERE}}}": "510x2",
            f"llm_gateway_journal_limit_bytes{{{_HERE}}}": "1000x2",
        },
        1,
        [({**HERE, "severity": "critical"}, "51%")],
    ),
    AlertCase(
        "LLMGatewayJournalFilling",
        "is half full",
        {
            f"llm_gateway_journal_backlog_bytes{{{_HERE}}}": "500x2",
            f"llm_gateway_journal_limit_bytes{{{_HERE}}}": "1000x2",
        },
        1,
    ),
    *_counter("LLMGatewayUsageRecordsLost", "llm_gateway_journal_lost_records_total", "critical", 61),
    *_counter("LLMGatewayUsageRecordsRejected", "llm_gateway_journal_rejected_records_total", "warning", 61),
    *_counter("LLMGatewayJournalNotSynced", "llm_gateway_journal_sync_failures_total", "warning", 61),
    *_gauge("LLMGatewayConfigNotConverging", "llm_gateway_stale_workers", "warning", [(1, "1")], [0], 3),
    AlertCase(
        "LLMGatewayReplicaOnOldVersion", "is two versions behind", _versions("5x6", "7x6"), 6, [(_OLD, "2")]
    ),
    AlertCase("LLMGatewayReplicaOnOldVersion", "is not behind", _versions("7x6", "7x6"), 6),
    AlertCase("LLMGatewayReplicaOnOldVersion", "was behind for a moment", _versions("5x2 7x4", "7x6"), 6),
    *_gauge("LLMGatewayFaultyRows", "llm_gateway_config_faulty_rows", "warning", [(2, "2")], [0], 2),
    *_gauge("LLMGatewayDatabaseReplaced", "llm_gateway_database_replaced", "critical", [(1, "")], [0], 2),
    *_counter("LLMGatewayLogLinesDropped", "llm_gateway_dropped_log_lines_total", "warning", 16),
    *_gauge(
        "LLMGatewayMetricsUnreadable", "llm_gateway_unreadable_metrics_files", "warning", [(1, "1")], [0], 6
    ),
    *_gauge(
        "LLMGatewayEventLoopLag",
        "llm_gateway_event_loop_lag_seconds",
        "warning",
        [(0.75, "750ms")],
        [0.5],
        6,
    ),
    *_gauge(
        "LLMGatewayOpenFiles", "llm_gateway_open_files_used_ratio", "critical", [(0.81, "81%")], [0.8], 6
    ),
    *_gauge(
        "LLMGatewayDatabasePoolBusy",
        "llm_gateway_database_pool_used_ratio",
        "warning",
        [(0.9, "90%")],
        [0.8],
        6,
    ),
)
