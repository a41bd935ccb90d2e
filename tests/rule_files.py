"""Prometheus' rule files, as tests read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "prometheus"
RUNBOOKS = ROOT / "docs/runbooks"


@dataclass(frozen=True)
class AlertRule:
    """One alert rule; several may have the same name."""

    name: str
    expression: str
    waits: str | None
    labels: dict[str, str]
    annotations: dict[str, str]
    group: str = field(compare=False)


def _rules(file: str) -> list[tuple[str, dict[str, Any]]]:
    groups = yaml.safe_load((FOLDER / "rules" / file).read_text())["groups"]
    return [(group["name"], rule) for group in groups for rule in group["rules"]]


def recording_rules() -> dict[str, str]:
    """Return the expressions of the recording rules by name, in the order of the file."""
    return {rule["record"]: rule["expr"] for _, rule in _rules("recording.yml")}


def alert_rules() -> list[AlertRule]:
    """Return the alert rules in the order of the file."""
    return [
        AlertRule(
            rule["alert"], rule["expr"], rule.get("for"), rule["labels"], rule["annotations"], group=group
        )
        for group, rule in _rules("alerts.yml")
    ]
