"""The committed dashboards are those that the source makes, and nothing in them is unreadable or wrong."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from llm_gateway.core.metric_catalogue import CATALOGUE, REQUESTS
from monitoring.__main__ import FOLDER
from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import dashboard_json
from monitoring.lint import findings
from monitoring.model import Dashboard
from tests.promql_check import Checker
from tests.rule_files import ROOT, AlertRule, alert_rules, recording_rules

ALL = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)


@ALL
def test_the_committed_file_is_what_the_source_makes(dashboard: Dashboard) -> None:
    committed = (FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8")
    assert committed == dashboard_json(dashboard), "`python -m monitoring` writes grafana/dashboards again"


def test_no_file_is_left_of_a_dashboard_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {one.uid for one in DASHBOARDS}


@ALL
def test_nothing_is_wrong_with_it(dashboard: Dashboard) -> None:
    assert findings(json.loads(dashboard_json(dashboard))) == []


@ALL
def test_every_metric_and_label_exists(dashboard: Dashboard) -> None:
    checker = Checker(recording_rules())
    for one in dashboard.panels():
        for query in one.queries:
            assert checker.faults(query.expr) == [], one.title
            named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
            assert named <= checker.labels(query.expr), one.title


def metrics(expression: str, recorded: dict[str, str]) -> set[str]:
    """Return the metrics behind an expression, without the suffixes of histograms."""
    names = set(re.findall(r"[\w:]+", expression))
    behind = (metrics(recorded[name], recorded) for name in names & recorded.keys())
    own = {re.sub(r"_(?:bucket|count|sum)$", "", name) for name in names if name.startswith("llm_")}
    return own.union(*behind)


def metrics_of(dashboard: Dashboard) -> set[str]:
    return {name for one in dashboard.panels() for query in one.queries for name in metrics(query.expr, {})}


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: f"{rule.name}-{rule.labels['severity']}")
def test_an_alert_leads_to_the_dashboard_that_shows_its_metric(rule: AlertRule) -> None:
    address = rule.annotations["dashboard_url"].removeprefix("http://localhost:3000/d/")
    boards = {one.uid: one for one in DASHBOARDS}
    assert address in boards
    used = metrics(rule.expression, recording_rules())
    # A gateway that is down has no metrics.
    assert used & metrics_of(boards[address]) or (rule.name, used) == ("LLMGatewayDown", set())


def test_the_page_names_the_metrics_that_no_dashboard_shows() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    told = page.partition("On no dashboard are ")[2].partition(".\n")[0]
    shown = {name for one in DASHBOARDS for name in metrics_of(one)}
    assert re.findall(r"`(llm_\w+)`", told) == [one.name for one in CATALOGUE if one.name not in shown]


def test_a_metric_that_is_renamed_in_the_code_is_found() -> None:
    renamed = [
        msgspec.structs.replace(metric, name="llm_proxy_calls_total")
        if metric.name == REQUESTS.name
        else metric
        for metric in CATALOGUE
    ]
    checker = Checker(catalogue=renamed)
    faults = [
        fault
        for dashboard in DASHBOARDS
        for one in dashboard.panels()
        for query in one.queries
        for fault in checker.faults(query.expr)
    ]
    assert f"there is no metric {REQUESTS.name}" in faults


Break = Callable[[dict[str, Any]], None]


def panel(dashboard: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in dashboard["panels"] if one["type"] == "timeseries")


def breaking(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Break:
    return lambda dashboard: change(dashboard, panel(dashboard))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (breaking(lambda d, p: d.update(uid="x" * 41)), "the uid has 41 characters"),
        (breaking(lambda d, p: d.update(description="")), "there is no description"),
        (breaking(lambda d, p: p.update(title="")), "there is no title"),
        (breaking(lambda d, p: p.update(description=None)), "there is no description"),
        (breaking(lambda d, p: p["fieldConfig"]["defaults"].pop("unit")), "there is no unit"),
        (breaking(lambda d, p: p["fieldConfig"]["defaults"].pop("noValue")), "no text for no value"),
        (breaking(lambda d, p: p.update(targets=[])), "it asks for nothing"),
        (breaking(lambda d, p: p.update(id=1)), "two panels have one id"),
        (breaking(lambda d, p: p.update(title="Status codes")), "two panels are called Status codes"),
        (breaking(lambda d, p: p["gridPos"].update(w=25)), "wider than the grid"),
        (breaking(lambda d, p: p["gridPos"].update(y=0, x=0)), "it lies on"),
        (breaking(lambda d, p: p.update(datasource={"type": "prometheus", "uid": "fixed"})), "data source"),
        (breaking(lambda d, p: p["targets"].append(p["targets"][0])), "refIds are not unique"),
        (breaking(lambda d, p: p["targets"][0].update(legendFormat="")), "no legend"),
        (breaking(lambda d, p: p["targets"][0].update(legendFormat="{{nobody}}")), "names nobody"),
        (breaking(lambda d, p: p["targets"][0].update(expr="sum(rate(x[5m]))")), r"the window [5m]"),
        (breaking(lambda d, p: p["targets"][0].update(expr="sum(rate(x_bucket[$__range]))")), "without le"),
        (breaking(lambda d, p: p["targets"][0].update(expr='sum(x{a="$nobody"})')), "$nobody is used"),
        (breaking(lambda d, p: d["templating"]["list"].pop(0)), "the data source is not the first variable"),
        (
            breaking(lambda d, p: d["templating"]["list"].append({"name": "unused", "type": "query"})),
            "the variable unused is not used",
        ),
    ],
)
def test_what_is_wrong_is_found(change: Break, finding: str) -> None:
    dashboard = copy.deepcopy(json.loads(dashboard_json(DASHBOARDS[0])))
    change(dashboard)
    assert any(finding in text for text in findings(dashboard)), findings(dashboard)
