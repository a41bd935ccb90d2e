"""Where rows and panels lie on Grafana's grid: lines of panels are as high as their highest one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from monitoring.model import GRID, Dashboard, Panel, Row

_ROW_HEIGHT: Final = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A rectangle in columns and rows of the grid."""

    left: int
    top: int
    width: int
    height: int


def laid_out(source: Dashboard) -> Iterator[tuple[Row | Panel, Place]]:
    """Yield each row and its panels, from the top down."""
    top = 0
    for row in source.rows:
        yield row, Place(0, top, GRID, _ROW_HEIGHT)
        top += _ROW_HEIGHT
        left = height = 0
        for panel in row.panels:
            if left + panel.width > GRID:
                top, left, height = top + height, 0, 0
            yield panel, Place(left, top, panel.width, panel.height)
            left, height = left + panel.width, max(height, panel.height)
        top += height
