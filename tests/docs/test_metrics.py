"""Every metric is documented with its labels, and nothing is documented that is not exported."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from llm_gateway.infra.metrics.prometheus import Metrics
from llm_gateway.infra.metrics.requests import RequestMetrics

ROOT = Path(__file__).parents[2]
# What the reference system's dashboards read (S4.50 to S4.55): names, and labels where it names them.
REFERENCE_LABELS = {
    "llm_proxy_requests_total": ("method", "endpoint", "model", "provider", "status_code"),
    "llm_proxy_tokens_total": ("model", "provider", "token_type"),
}
REFERENCE_NAMES = {
    *REFERENCE_LABELS,
    "llm_proxy_request_duration_seconds",
    "llm_proxy_active_requests",
    "llm_proxy_provider_health",
    "llm_proxy_provider_latency_seconds",
}


def _documented() -> dict[str, tuple[str, ...]]:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(llm_\w+)` \| \w+ \| ([^|]*) \| [^|]+ \|$", page, re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def _exported() -> dict[str, tuple[str, ...]]:
    """Return the labels of every metric that is counted, and of every gauge that is read when scraped."""
    found: dict[str, tuple[str, ...]] = {}
    collectors: list[Any] = list(Metrics(lambda _: True).registry._collector_to_names)
    for collector in collectors:
        if isinstance(collector, RequestMetrics):
            for family in collector.collect():
                suffix = "_total" if family.type == "counter" else ""
                found[family.name + suffix] = tuple(family._labelnames)  # type: ignore[attr-defined]
            continue
        suffix = "_total" if isinstance(collector, Counter) else ""
        found[collector._name + suffix] = tuple(collector._labelnames)
    for module in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func).rsplit(".", 1)[-1] != "gauge":
                continue
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"{module}: write the gauge's name where it is made"
            found[str(name.value)] = ()
    return found


def test_every_metric_is_documented_and_every_documented_one_exported() -> None:
    assert _documented() == _exported()


def test_s4_50_to_s4_55_reference_metrics_keep_names_and_labels() -> None:
    exported = _exported()
    assert REFERENCE_NAMES - exported.keys() == set()
    assert {name: exported[name] for name in REFERENCE_LABELS} == REFERENCE_LABELS
