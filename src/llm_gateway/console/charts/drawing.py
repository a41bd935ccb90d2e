"""The geometry of charts: values become paths in a box of WIDTH by HEIGHT, with y downwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 600
HEIGHT: Final = 120
# Of the space of a bar; the rest separates it from the next one.
_BAR_SHARE: Final = 0.8
_STEPS: Final = (1, 2, 5, 10)
# Length of the stroke that a line begins with.
_STROKE: Final = 4


def axis_end(most: float) -> float:
    """Return the end of an axis for values up to `most`: 1, 2 or 5 times a power of ten."""
    if not most > 0:
        return 1
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in _STEPS if step * power >= most or step == _STEPS[-1])


def bars(heights: Sequence[float], floors: Sequence[float], end: float) -> str:
    """Return the path of bars, each on top of its floor."""
    step = WIDTH / max(len(heights), 1)
    gap = step * (1 - _BAR_SHARE) / 2
    width = step * _BAR_SHARE
    return "".join(
        f"M{at * step + gap:.2f} {_y(floor, end):.2f}h{width:.2f}V{_y(floor + height, end):.2f}h{-width:.2f}z"
        for at, (height, floor) in enumerate(zip(heights, floors, strict=True))
        if height > 0
    )


def line(values: Sequence[float | None], end: float) -> str:
    """Return the path of a line through the middles of the buckets, interrupted where there is no value."""
    step = WIDTH / max(len(values), 1)
    pieces = []
    is_drawing = False
    for at, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        point = f"{(at + 0.5) * step:.2f} {_y(value, end):.2f}"
        # The short stroke shows a value without neighbours.
        pieces.append(
            f"L{point}"
            if is_drawing
            else f"M{(at + 0.5) * step - _STROKE:.2f} {_y(value, end):.2f}h{_STROKE}"
        )
        is_drawing = True
    return "".join(pieces)


def slots(count: int) -> list[tuple[str, str]]:
    """Return the left border and the width of each of `count` buckets."""
    step = WIDTH / max(count, 1)
    return [(f"{at * step:.2f}", f"{step:.2f}") for at in range(count)]


def _y(value: float, end: float) -> float:
    return HEIGHT * (1 - min(max(value / end, 0.0), 1.0)) if end else HEIGHT
