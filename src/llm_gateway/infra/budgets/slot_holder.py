"""Holds an amount in slots whose places are known, as long as nothing about them is unusual."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from llm_gateway.flow.ports.budgets import OnSettled, TryHold
from llm_gateway.infra.budgets.request_hold import OWN_HOLDS, SlotReservation, own_cells
from llm_gateway.infra.budgets.share_file import (
    AMOUNT,
    BORROWED,
    HASH,
    HOLDS,
    LEASE_END,
    USED,
    USED_AT,
    WORKERS,
    ShareFile,
    Slot,
)
from llm_gateway.infra.shared_lock import FlockLock
from llm_gateway.infra.shared_memory import CellReader, cell_reader

try:
    from llm_gateway.infra.budgets import _slot_holder as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

if TYPE_CHECKING:
    from llm_gateway.infra._shared_lock import CellLock

# Of a slot; what all of its workers hold and have used comes behind them.
_CELLS: Final = (HASH, BORROWED, LEASE_END, AMOUNT)


class Place(msgspec.Struct, frozen=True, eq=False):
    """Where a window's numbers are, as long as its slot has the hash, and its budget the amount."""

    slot: Slot
    hash: int
    # The budget's amount, by the configuration.
    total: int
    # What must be left on hand.
    least: int


# Returns what holds an amount in all of the places, of which there is one at least, for requests that are settled
# with their records. It returns None, having done nothing, where anything is unusual: an amount of 0, another worker
# that has the lock, a slot that is another window's now, a new amount of the budget, a lease that has ended, too
# little on hand. What it has held lasts until it is settled or released, also after the end of the lease.
MakeHolder = Callable[[ShareFile, Sequence[Place], Callable[[], int], OnSettled, OnSettled], TryHold]


def python_holder(
    file: ShareFile,
    places: Sequence[Place],
    clock: Callable[[], int],
    on_settled: OnSettled,
    on_stated: OnSettled,
) -> TryHold:
    """Make it in Python."""
    head, try_lock, unlock = file.head, file.try_lock, file.unlock
    cells = tuple(own_cells(place.slot, file.worker) for place in places)
    workers, read = 1, _reader(1)

    def hold(amount: int) -> SlotReservation | None:
        nonlocal workers, read
        if amount <= 0 or not try_lock():
            return None
        try:
            now = clock()
            if head[WORKERS] != workers:
                workers = head[WORKERS]
                read = _reader(workers)
            for place in places:
                found, borrowed, lease_end, total, *taken = read(place.slot)
                if (
                    borrowed - sum(taken) - amount < place.least
                    or now >= lease_end
                    or found != place.hash
                    or total != place.total
                ):
                    return None
            for place, own in zip(places, cells, strict=True):
                own[OWN_HOLDS] += amount
                place.slot[USED_AT] = now
            return SlotReservation(cells, amount, on_settled, on_stated)
        finally:
            unlock()

    return hold


def compiled_holder(
    file: ShareFile,
    places: Sequence[Place],
    clock: Callable[[], int],
    on_settled: OnSettled,
    on_stated: OnSettled,
) -> TryHold:
    """Make it in C, for a file whose lock is a cell."""
    lock: CellLock = file.lock  # type: ignore[assignment]
    layout = (HASH, AMOUNT, LEASE_END, BORROWED, USED_AT, HOLDS, USED, file.worker)
    rows = tuple((place.slot, place.hash, place.total, place.least) for place in places)
    # It reads the usual clock itself.
    other = None if clock is time.monotonic_ns else clock
    return _compiled.holder(lock, file.head, WORKERS, layout, rows, other, on_settled, on_stated)


def make_holder(
    file: ShareFile,
    places: Sequence[Place],
    clock: Callable[[], int],
    on_settled: OnSettled,
    on_stated: OnSettled,
) -> TryHold:
    """Make it in C if both it and the lock are there in C."""
    make = python_holder if isinstance(file.lock, FlockLock) or not IS_COMPILED else compiled_holder
    return make(file, places, clock, on_settled, on_stated)


def _reader(workers: int) -> CellReader:
    """Return what reads _CELLS and the cells of the first workers.

    What open requests hold is read before what requests have cost: one that ends in between, which takes no lock,
    counts twice rather than not at all.
    """
    return cell_reader(*_CELLS, *range(HOLDS, HOLDS + workers), *range(USED, USED + workers))
