"""Draws the dashboards with the data of a running Prometheus: `python -m monitoring.pictures --help`.

The pictures show what the panels' own queries return, so that they can be trusted; Grafana is not needed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from monitoring.dashboards import DASHBOARDS
from monitoring.drawing import Box, draw, text
from monitoring.grid import laid_out
from monitoring.model import GRID, Dashboard, Row
from monitoring.reading import PrometheusReader, TimeRange

FOLDER: Final = Path(__file__).parents[1] / "docs" / "pictures"
_POINTS: Final = 60
# Pixels.
_COLUMN, _LINE, _GAP, _HEAD = 50, 30, 8, 44


def picture(source: Dashboard, reader: PrometheusReader, times: TimeRange) -> str:
    """Return the SVG of a dashboard."""
    places = list(laid_out(source))
    height = _HEAD + max(place.top + place.height for _, place in places) * _LINE + _GAP
    width = GRID * _COLUMN + _GAP
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica,Arial,sans-serif">',
        f"<title>{escape(source.title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#f6f8fa"/>',
        text(source.title, _GAP + 4, 28, size=18, bold=True),
    ]
    for part, place in places:
        x, y = place.left * _COLUMN + _GAP, place.top * _LINE + _HEAD
        if isinstance(part, Row):
            parts.append(text(part.title, x + 4, y + 20, size=14, bold=True, colour="#57606a"))
            continue
        lines = [line for query in part.queries for line in reader.lines(query, times)]
        box = Box(x, y, place.width * _COLUMN - _GAP, place.height * _LINE - _GAP)
        parts.append(draw(part, lines, times, box))
    return "\n".join([*parts, "</svg>", ""])


def draw_all(reader: PrometheusReader, times: TimeRange, folder: Path) -> list[Path]:
    """Write a picture of each dashboard, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for source in DASHBOARDS:
        path = folder / f"{source.uid}.svg"
        path.write_text(picture(source, reader, times), encoding="utf-8")
        files.append(path)
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what a Prometheus has of the last minutes."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.pictures", description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="its address (%(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="how far back to look (%(default)s)")
    parser.add_argument("--scrape", type=float, default=15, help="seconds between two scrapes (%(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write (%(default)s)")
    given = parser.parse_args(arguments)
    end = time.time()
    seconds = given.minutes * 60
    times = TimeRange(start=end - seconds, end=end, step=max(seconds / _POINTS, 1.0), scrape=given.scrape)
    for path in draw_all(PrometheusReader(given.prometheus), times, given.folder):
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
