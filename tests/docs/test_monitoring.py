"""Rules use what the catalogue has; every alert has its runbook; docs/monitoring.md lists the alerts."""

from __future__ import annotations

import re

import msgspec
import pytest

from llm_gateway.core.metric_catalogue import CATALOGUE
from monitoring.dashboards import DASHBOARDS
from monitoring.model import Dashboard
from tests.promql_check import Checker, labels_in_template
from tests.rule_files import ROOT, RUNBOOKS, AlertRule, alert_rules, recording_rules

RULES = alert_rules()
NAMES = list(dict.fromkeys(rule.name for rule in RULES))
BOARDS = {f"http://localhost:3000/d/{board.uid}": board for board in DASHBOARDS}
ANNOTATIONS = ["dashboard_url", "description", "runbook_url", "summary"]
HEADINGS = ["## What it means", "## How to see it", "## What to do", "## How to confirm"]


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(recording_rules())


def test_recording_rules_use_what_the_catalogue_has(checker: Checker) -> None:
    assert checker.recorded_faults == []


@pytest.mark.parametrize("name", recording_rules())
def test_the_name_of_a_recording_rule_tells_its_labels(checker: Checker, name: str) -> None:
    level, metric, operation = name.split(":")
    named = {{"type": "token_type"}.get(label, label) for label in level.split("_")}
    assert checker.labels(name) == named
    assert metric.startswith("llm_gateway_")
    assert re.search(r"rate\d+[mhd]$", operation)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{rule.labels['severity']}")
def test_an_alert_uses_what_the_catalogue_has(checker: Checker, rule: AlertRule) -> None:
    assert checker.faults(rule.expression) == []
    shown = labels_in_template(" ".join(rule.annotations.values()))
    assert shown <= checker.labels(rule.expression)


def test_a_metric_that_is_renamed_is_missed() -> None:
    """What the checks above are for: each metric that a rule uses, renamed, makes them fail."""
    recorded = recording_rules()
    expressions = [*recorded.values(), *(rule.expression for rule in RULES)]
    words = set(re.findall(r"[\w:]+", " ".join(expressions)))
    used = {metric.name for metric in CATALOGUE if words & {metric.name, f"{metric.name}_bucket"}}
    assert len(used) > 20
    for name in used:
        renamed = [
            msgspec.structs.replace(metric, name=f"{name}_renamed") if metric.name == name else metric
            for metric in CATALOGUE
        ]
        checker = Checker(recorded, renamed)
        found = checker.recorded_faults + [
            fault for rule in RULES for fault in checker.faults(rule.expression)
        ]
        assert any(f"there is no metric {name}" in fault for fault in found), name


def test_a_label_that_is_renamed_is_missed() -> None:
    renamed = [
        msgspec.structs.replace(metric, labels=tuple(f"{label}_renamed" for label in metric.labels))
        for metric in CATALOGUE
    ]
    faults = Checker(recording_rules(), renamed).recorded_faults
    assert any("has no label provider" in fault for fault in faults)
    assert any("has no label status_code" in fault for fault in faults)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(llm_gateway_workers[5m])", "rate of llm_gateway_workers, which is no counter"),
        ("delta(llm_proxy_tokens_total[5m])", "delta of llm_proxy_tokens_total, which is a counter"),
        ("sum by (pod) (llm_gateway_workers)", "llm_gateway_workers has no label pod"),
        ('llm_proxy_provider_health{zone="x"}', "llm_proxy_provider_health has no label zone"),
        (
            'llm_proxy_provider_latency_seconds_bucket{le="45.0"}',
            "llm_proxy_provider_latency_seconds_bucket has no bucket 45.0",
        ),
        (
            "sum by (job) (up) / llm_gateway_workers",
            "sides with the labels ['job'] and ['instance', 'job'] never match",
        ),
        ("sum by (", "no PromQL"),
        ("rate(llm_gateway_nothing_total[$__rate_interval])", "there is no metric llm_gateway_nothing_total"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said(checker: Checker, expression: str, fault: str) -> None:
    assert fault in "\n".join(checker.faults(expression))


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ('sum without (instance) (llm_proxy_provider_health{provider=~"$provider"})', {"job", "provider"}),
        ("topk(3, llm_proxy_provider_health)", {"job", "instance", "provider"}),
        ("sum(llm_gateway_workers) > 1", set()),
        (
            "histogram_quantile(0.9, sum by (le) (rate(llm_proxy_provider_latency_seconds_bucket[$__range])))",
            set(),
        ),
        ("up * on (job, instance) group_right llm_proxy_provider_health", {"job", "instance", "provider"}),
        ('label_replace(up, "host", "$1", "instance", "(.*):.*")', {"job", "instance", "host"}),
    ],
)
def test_the_labels_of_a_result_are_known(checker: Checker, expression: str, labels: set[str]) -> None:
    assert checker.faults(expression) == []
    assert checker.labels(expression) == labels


# --- the conventions of mixins, and runbooks ---


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{rule.labels['severity']}")
def test_an_alert_has_its_labels_and_annotations(rule: AlertRule) -> None:
    assert rule.labels["severity"] in {"critical", "warning", "info"}
    assert rule.labels.keys() <= {"severity", "long_window", "short_window"}
    assert sorted(rule.annotations) == ANNOTATIONS
    assert rule.annotations["summary"].endswith(".")
    assert "{{" not in rule.annotations["summary"]
    assert rule.annotations["runbook_url"] == f"https://llm-gateway.example/docs/runbooks/{rule.name}.md"
    assert rule.annotations["dashboard_url"] in BOARDS


def test_burn_rate_alerts_have_two_windows_and_a_guard() -> None:
    burning = [rule for rule in RULES if rule.name.endswith("BudgetBurn")]
    assert len(burning) == 8
    for rule in burning:
        long, short = rule.labels["long_window"], rule.labels["short_window"]
        windows = re.findall(r"rate(\d+[mhd])\b", rule.expression)
        assert windows == [long, short, long]
        assert f"served_requests:rate{long} *" in rule.expression


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sorted(path.stem for path in RUNBOOKS.glob("*.md")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_has_its_parts_and_names_its_alert(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## .*$", text, re.MULTILINE) == HEADINGS
    seen = text.partition("## How to see it")[2].partition("## What to do")[0]
    assert "```" in seen


def alert_table() -> str:
    """Return the table of docs/monitoring.md, as it follows from the rules."""
    lines = ["| alert | severity | for | summary |", "|---|---|---|---|"]
    for rule in RULES:
        windows = rule.labels.get("long_window")
        shown = f" ({windows}, {rule.labels['short_window']})" if windows else ""
        lines.append(
            f"| [{rule.name}](runbooks/{rule.name}.md){shown} | {rule.labels['severity']} | {rule.waits or ''} "
            f"| {rule.annotations['summary']} |"
        )
    return "\n".join(lines)


def test_the_page_lists_the_alerts() -> None:
    assert alert_table() in (ROOT / "docs/monitoring.md").read_text()


def test_the_page_tells_of_every_metric() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    assert [metric.name for metric in CATALOGUE if f"`{metric.name}`" not in page] == []


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_the_page_shows_every_dashboard(board: Dashboard) -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    assert f"(pictures/{board.uid}.svg)" in page
    assert f"`{board.uid}`" in page
