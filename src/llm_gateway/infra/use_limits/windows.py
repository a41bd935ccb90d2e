"""A sliding window of counts, as a row of integers: one for each sixtieth of the window.

A count leaves the window between 60 and 61 cells after it was added, so that no more than the limit is ever admitted
in any window of that length. Every change is single stores, in an order that leaves a usable row wherever a killed
process stops.
"""

from __future__ import annotations

from typing import Final, Protocol

# The row: the number of its newest cell since the machine's start, then the cells, as a ring.
CELLS: Final = 61
ROW: Final = 1 + CELLS
_EMPTY: Final = memoryview(bytes(8 * CELLS)).cast("q")
# Nanoseconds of a cell.
SECOND_CELL: Final = 1_000_000_000 // 60
MINUTE_CELL: Final = 1_000_000_000


class Row(Protocol):
    """Signed 64-bit integers, zero at first; each is stored in a single write."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


def advance(row: memoryview[int], at: int, cell: int) -> None:
    """Make `cell` the newest one of the row that begins `at`; what is older than the window is forgotten."""
    newest = row[at]
    if cell == newest:
        return
    first = at + 1
    if cell - newest >= CELLS or newest - cell >= CELLS:
        # Too long ago, or the rest of a clock that is not this one.
        row[first : first + CELLS] = _EMPTY
    elif cell < newest:
        return
    else:
        for passed in range(newest + 1, cell + 1):
            row[first + passed % CELLS] = 0
    # Only now: a process that is killed before leaves cells that the next one clears again.
    row[at] = cell


def used(row: memoryview[int], at: int) -> int:
    """Return the sum of the window, as of the latest `advance`."""
    return sum(row[at + 1 : at + 1 + CELLS].tolist())


def used_at(row: memoryview[int], at: int, cell: int) -> int:
    """Return the sum of the window at `cell`, without changing the row."""
    newest = row[at]
    return sum(
        row[at + 1 + past % CELLS] for past in range(max(cell - CELLS, newest - CELLS) + 1, newest + 1)
    )


def add(row: memoryview[int], at: int, amount: int) -> int:
    """Add to the newest cell, and return its number."""
    newest = row[at]
    row[at + 1 + newest % CELLS] += amount
    return newest


def subtract(row: memoryview[int], at: int, cell: int, amount: int) -> None:
    """Take back what was added at `cell`, unless it has left the window."""
    if 0 <= row[at] - cell < CELLS:
        index = at + 1 + cell % CELLS
        row[index] = max(row[index] - amount, 0)


def until_free(row: memoryview[int], at: int, amount: int, now: int, cell_ns: int) -> float:
    """Return the seconds until `amount` has left the window; that of the whole window if there is less in it."""
    newest = row[at]
    for past in range(newest - CELLS + 1, newest + 1):
        amount -= row[at + 1 + past % CELLS]
        if amount <= 0:
            return max((past + CELLS) * cell_ns - now, 0) / 1e9
    return CELLS * cell_ns / 1e9
