"""Writes grafana/dashboards: `python -m monitoring`."""

from __future__ import annotations

import sys
from pathlib import Path

from monitoring.dashboards import DASHBOARDS
from monitoring.grafana import dashboard_json

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"


def main() -> None:
    """Write each dashboard's file, and delete those of dashboards that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = {FOLDER / f"{one.uid}.json": dashboard_json(one) for one in DASHBOARDS}
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path.name}: {len(text)} bytes\n")
    for path in set(FOLDER.glob("*.json")) - files.keys():
        path.unlink()


if __name__ == "__main__":
    main()
