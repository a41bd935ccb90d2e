"""A real Prometheus scrapes a gateway of two workers: the numbers of the rules are those of the load."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.metric_catalogue import CATALOGUE
from tests.e2e.gateway_process import GatewayProcess, accepted, accepted_text, eventually
from tests.e2e.panel_numbers import quantile_ms
from tests.e2e.scene import Load, Scene, called
from tests.fakes.prometheus_server import PrometheusServer, extrapolation
from tests.fakes.upstream import FakeUpstream
from tests.rule_files import alert_rules, recording_rules

_WINDOWS = {
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "6h": 21600,
    "1d": 86400,
    "3d": 259200,
}
_TARGET = re.compile(r"^(?P<level>\w+):(?P<metric>\w+):(?P<operation>\w*?)rate(?P<window>\d+[mhd])$")


@pytest.fixture(scope="module")
def scene(fake: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("scene"), WORKERS=2)
    try:
        made = Scene(gateway.start(), fake)
        yield made
        made.close()
        assert gateway.distress() == [], gateway.log()
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def prometheus(
    scene: Scene, prometheus_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    # Every series exists before the first scrape, so that Prometheus sees all that is counted from then on.
    scene.send()
    targets = {"llm-gateway": [scene.gateway.origin]}
    with PrometheusServer(prometheus_folder, tmp_path_factory.mktemp("prometheus"), targets) as server:
        server.wait_until_up()
        yield server


def test_the_recording_rules_equal_the_load(scene: Scene, prometheus: PrometheusServer) -> None:
    prometheus.scraped()
    load = scene.send()
    at = prometheus.scraped()
    recorded = recording_rules()
    assert [name for name in recorded if _expected(name, load) is None] == []
    for name in recorded:
        found = {
            tuple(value for _, value in labels): value
            for labels, value in prometheus.query(name, at).items()
            if value and not math.isnan(value)
        }
        [evaluated] = set(prometheus.query(f"timestamp({name})", at).values()) or {at}
        # A scrape that takes too long leaves a sample of `up` and none of the metrics.
        samples = prometheus.samples("llm_gateway_workers[5m]", evaluated)
        # The last scrape has the time at which it began: the rule may have been evaluated before it ended.
        faults = [_faults(name, load, found, seen, evaluated) for seen in (samples, samples[:-1])]
        assert [] in faults, (name, faults)


def _faults(
    name: str,
    load: Load,
    found: Mapping[tuple[str, ...], float],
    samples: list[tuple[float, float]],
    evaluated: float,
) -> list[object]:
    """Return what is wrong in the values of a rule that saw these samples; Prometheus extrapolates from them."""
    factor = extrapolation(samples, evaluated)
    # A counter that was 0 at first is not extrapolated to the time before, others are: so the buckets of a
    # histogram may differ by as much, and the quantile lies higher.
    most_ignored = (samples[1][0] - samples[0][0]) / (samples[-1][0] - samples[0][0])
    # A rank that is a whole number may fall into the bucket above, because Prometheus computes it from rates.
    least, most = (
        _expected(name, load, lambda quantile: quantile * (1 - 1e-9)),
        _expected(name, load, lambda quantile: min(1.0, quantile * (1 + most_ignored))),
    )
    assert least is not None
    assert most is not None
    shown = {labels: value / factor if ":rate" in name else value for labels, value in found.items()}
    wanted = {
        tuple(sorted_labels(name, ("llm-gateway", *labels))): (value, most[labels])
        for labels, value in least.items()
        if value
    }
    if shown.keys() != wanted.keys():
        return [shown.keys() ^ wanted.keys()]
    return [
        (labels, shown[labels], low, high)
        for labels, (low, high) in wanted.items()
        if not low * (1 - 1e-6) <= shown[labels] <= high * (1 + 1e-6)
    ]


def sorted_labels(name: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values in the order of the names of the labels, as queries return them."""
    names = re.findall(r"job|model|provider|token_type", name.partition(":")[0].replace("type", "token_type"))
    return tuple(value for _, value in sorted(zip(names, labels, strict=True)))


def _expected(
    name: str, load: Load, bound: Callable[[float], float] = lambda quantile: quantile
) -> Mapping[tuple[str, ...], float] | None:
    """Return what a recording rule must show, by its labels without the job; None for a rule that has no test.

    `bound` says which quantile is looked up for one that the rule asks for.
    """
    parts = _TARGET.match(name)
    assert parts is not None, name
    seconds = _WINDOWS[parts["window"]]
    rates: dict[str, Callable[[], Mapping[Any, float]]] = {
        "job:llm_gateway_requests": load.count,
        "job:llm_gateway_served_requests": lambda: load.count(
            where=lambda row: row["status_code"] // 100 != 4
        ),
        "job_model:llm_gateway_requests": lambda: _by_label(load.count("model")),
        "job_provider:llm_gateway_requests": lambda: load.count("provider", where=called),
        "job_provider:llm_gateway_first_tokens": lambda: load.count(
            "provider", where=lambda row: row["ttft_ms"] is not None
        ),
        "job_model_type:llm_gateway_tokens": lambda: _tokens(load),
        "job_provider:llm_gateway_cost_usd": lambda: _costs(load, "provider"),
        "job_model:llm_gateway_cost_usd": lambda: _costs(load, "model"),
    }
    served = sum(load.count(where=lambda row: row["status_code"] // 100 != 4).values())
    reached = sum(load.count(where=called).values())
    shares: dict[str, Callable[[], float]] = {
        "job:llm_gateway_request_errors": lambda: (
            _number(load, lambda row: row["status_code"] >= 500) / served
        ),
        "job:llm_gateway_slow_requests": lambda: (
            _number(load, lambda row: row["latency_ms"] > 30_000) / reached
        ),
        "job:llm_gateway_failovers": lambda: _number(load, lambda row: row["attempts"] > 1) / reached,
        "job:llm_gateway_unpriced_requests": lambda: (
            _number(load, lambda row: row["unpriced"] is not None) / reached
        ),
    }
    target = f"{parts['level']}:{parts['metric']}"
    if parts["operation"] == "" and target in rates:
        return {labels: number / seconds for labels, number in rates[target]().items()}
    if parts["operation"] == "ratio_" and target in shares:
        return {(): shares[target]()}
    if quantile := re.fullmatch(r"p(\d+)_", parts["operation"]):
        return _quantiles(load, target, bound(int(quantile[1]) / 100))
    return None


def _number(load: Load, where: Callable[[dict[str, Any]], bool]) -> int:
    return sum(load.count(where=where).values())


def _by_label(counts: Mapping[Any, float]) -> Mapping[Any, float]:
    """Models that nobody serves share a label."""
    shown: Counter[Any] = Counter()
    for (model,), number in counts.items():
        shown[("other" if model.startswith("nobody") else model,)] += int(number)
    return shown


def _tokens(load: Load) -> dict[tuple[str, str], float]:
    columns = {kind: f"{kind}_tokens" for kind in ("prompt", "completion", "cached", "reasoning")}
    sums: Counter[tuple[str, str]] = Counter()
    for row in filter(called, load.rows):
        for kind, column in columns.items():
            sums[row["model"], kind] += row[column] or 0
    return {key: float(value) for key, value in sums.items()}


def _costs(load: Load, label: str) -> dict[tuple[str], float]:
    sums: dict[tuple[str], float] = {}
    for row in load.rows:
        if row["cost_usd"] is not None:
            sums[row[label],] = sums.get((row[label],), 0.0) + float(row["cost_usd"])
    return sums


def _quantiles(load: Load, target: str, quantile: float) -> dict[tuple[str, ...], float] | None:
    """Return the quantile by provider, or of all, as Prometheus finds it in the buckets of the metric."""
    columns = {
        "job:llm_gateway_request_duration_seconds": ((), "latency_ms", lambda _: True),
        "job_provider:llm_gateway_latency_seconds": (
            ("provider",),
            "upstream_latency_ms",
            lambda row: called(row) and row["outcome"] == "ok",
        ),
        "job_provider:llm_gateway_time_to_first_token_seconds": (
            ("provider",),
            "ttft_ms",
            lambda row: row["ttft_ms"] is not None,
        ),
    }
    if target not in columns:
        return None
    labels, column, where = columns[target]
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in filter(where, load.rows):
        groups.setdefault(tuple(row[label] for label in labels), []).append(row[column])
    return {key: quantile_ms(values, quantile) for key, values in groups.items()}


def test_all_rules_work_and_all_metrics_are_scraped(scene: Scene, prometheus: PrometheusServer) -> None:
    at = prometheus.scraped()
    rules = prometheus.rules()
    assert len(rules) == len(recording_rules()) + len(alert_rules())
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    missing = [
        metric.name
        for metric in CATALOGUE
        if metric.appears_after is None and not prometheus.query(metric.name, at)
    ]
    assert missing == []
    assert prometheus.number("llm_gateway_workers", at) == 2
    assert prometheus.number("llm_gateway_resident_memory_bytes", at) > 10_000_000
    assert prometheus.number("llm_gateway_cpu_seconds_total", at) > 0
    assert 0 < prometheus.number("llm_gateway_open_files_used_ratio", at) < 1


def test_an_alert_fires(scene: Scene, prometheus: PrometheusServer) -> None:
    budget = {"name": "b", "scope": "all", "amount_usd": "0.0000001", "period": "total"}
    accepted(scene.gateway.admin.post("/budgets", json=budget))
    # Prometheus does not see the first increment of a new series.
    for _ in range(2):
        scene.chat(429, model="gpt-4o")
        prometheus.scraped()

    def firing() -> list[dict[str, str]]:
        return [alert["labels"] for alert in prometheus.alerts() if alert["state"] == "firing"]

    labels = {"job": "llm-gateway", "scope": "all", "severity": "warning"}
    expected = {"alertname": "LLMGatewayBudgetSpent", **labels}
    eventually(firing, lambda found: expected in found, 20)
    accepted_text(scene.gateway.admin.delete("/budgets/b"))


def test_what_is_deleted_is_gone_at_the_next_scrape(scene: Scene, prometheus: PrometheusServer) -> None:
    desk = scene.desk
    name = desk.provider("leaving", model_mapping={"leaving": "up"}).name
    scene.chat(200, model="leaving")
    counted = f'llm_proxy_requests_total{{provider="{name}",model="leaving"}}'
    assert prometheus.query(counted, prometheus.scraped())
    accepted_text(scene.gateway.admin.delete(f"/providers/{name}"))
    at = prometheus.scraped()
    assert prometheus.query(f'{{provider="{name}",__name__=~"llm_.*"}}', at) == {}
    assert prometheus.query('{model="leaving",__name__=~"llm_.*"}', at) == {}
    assert prometheus.query(f'llm_proxy_requests_total{{provider="{scene.good.name}"}}', at)
