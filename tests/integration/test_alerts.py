"""Every alert fires when it should, stays quiet otherwise, and is exact at its boundary: by promtool."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.alert_cases import CASES, AlertCase
from tests.rule_files import FOLDER, AlertRule, alert_rules

RULES = alert_rules()
NAMES = list(dict.fromkeys(rule.name for rule in RULES))


def promtool(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "promtool", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=110
    )


def rule_of(case: AlertCase, labels: dict[str, str]) -> AlertRule:
    [rule] = [rule for rule in RULES if rule.name == case.alert and rule.labels.items() <= labels.items()]
    return rule


def rendered(text: str, labels: dict[str, str], value: str) -> str:
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)
    return re.sub(r"\{\{ \$value[^}]*\}\}", value, text)


def as_test(case: AlertCase) -> dict[str, Any]:
    """Return the test of one case as promtool reads it."""
    test: dict[str, Any] = {
        "name": f"{case.alert} {case.what}",
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
    }
    name = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    fired = [dict(labels) for labels, _ in case.fires]
    test["promql_expr_test"] = [
        {
            "expr": name,
            "eval_time": f"{case.at}m",
            "exp_samples": [
                {
                    "labels": "ALERTS{"
                    + ",".join(
                        f"{key}={json.dumps(value)}"
                        for key, value in {"alertname": case.alert, "alertstate": "firing", **labels}.items()
                    )
                    + "}",
                    "value": 1,
                }
                for labels in fired
            ],
        }
    ]
    if case.fires and all(text or "$value" not in _description(case) for _, text in case.fires):
        test["alert_rule_test"] = [
            {
                "alertname": case.alert,
                "eval_time": f"{case.at}m",
                "exp_alerts": [
                    {
                        "exp_labels": dict(labels),
                        "exp_annotations": {
                            key: rendered(value, dict(labels), text)
                            for key, value in rule_of(case, dict(labels)).annotations.items()
                        },
                    }
                    for labels, text in case.fires
                ],
            }
        ]
    return test


def as_file(tests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a file of tests; groups are evaluated in the order of the rule files, recording rules first."""
    files = [FOLDER / "rules" / name for name in ("recording.yml", "alerts.yml")]
    groups = [group["name"] for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {
        "rule_files": [str(file) for file in files],
        "evaluation_interval": "1m",
        "group_eval_order": groups,
        "tests": tests,
    }


def _description(case: AlertCase) -> str:
    return rule_of(case, dict(case.fires[0][0])).annotations["description"]


@pytest.mark.parametrize("name", NAMES)
def test_the_alert_fires_and_stays_quiet(name: str, tmp_path: Path, prometheus_folder: Path) -> None:
    cases = [case for case in CASES if case.alert == name]
    file = tmp_path / "tests.yml"
    # JSON is YAML.
    file.write_text(json.dumps(as_file([as_test(case) for case in cases])))
    done = promtool(prometheus_folder, "test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_firing_and_quiet() -> None:
    fired = {(case.alert, dict(labels)["severity"]) for case in CASES for labels, _ in case.fires}
    assert fired == {(rule.name, rule.labels["severity"]) for rule in RULES}
    windows = [rule.labels for rule in RULES if "long_window" in rule.labels]
    seen = [dict(labels) for case in CASES for labels, _ in case.fires]
    assert [labels for labels in windows if not any(labels.items() <= each.items() for each in seen)] == []
    assert {case.alert for case in CASES if not case.fires} == set(NAMES)


def test_a_case_that_is_wrong_fails(tmp_path: Path, prometheus_folder: Path) -> None:
    """Otherwise the tests above could be green for any rules."""
    [case] = [case for case in CASES if case.alert == "LLMGatewayEventLoopLag" and case.what == "is 0.5"]
    wrong = as_test(case)
    wrong["input_series"][0]["values"] = "0.51x6"
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps(as_file([wrong])))
    assert promtool(prometheus_folder, "test", "rules", file).returncode == 1


def test_promtool_accepts_the_configuration_and_the_rules(prometheus_folder: Path) -> None:
    done = promtool(prometheus_folder, "check", "config", FOLDER / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout
    done = promtool(
        prometheus_folder, "check", "rules", "--lint=all", "--lint-fatal", *(FOLDER / "rules").glob("*.yml")
    )
    assert done.returncode == 0, done.stdout + done.stderr
