"""Holds amounts in the same windows again and again, without looking for them each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from llm_gateway.core.config.budgets import Covered
from llm_gateway.flow.ports.budgets import Hold, HoldReservation, OnSettled, Shortage, TryHold
from llm_gateway.infra.budgets.request_hold import (
    OWN_HOLDS,
    RequestHold,
    SlotReservation,
    own_cells,
)
from llm_gateway.infra.budgets.share_file import (
    AMOUNT,
    BORROWED,
    HASH,
    HOLDS,
    LEASE_END,
    USED,
    USED_AT,
    WORKERS,
    Add,
    ShareFile,
    Slot,
)
from llm_gateway.infra.shared_memory import CellReader, cell_reader

# With less on hand than this part of the budget, more is borrowed before anybody has to wait.
LOW_PARTS: Final = 400
# Of a slot; what all of its workers hold and have used comes behind them.
_CELLS: Final = (HASH, BORROWED, LEASE_END, AMOUNT)

# Holds an amount in windows, for a request that came at a time (None = just now), with the lock.
HoldLocked = Callable[[Sequence[Covered], int, int | None], RequestHold | Shortage]

_TryReserve = Callable[[int], SlotReservation | HoldReservation | Shortage | None]


class _Place(msgspec.Struct, frozen=True):
    """Where a window's numbers are, as long as its slot has the hash."""

    slot: Slot
    # The worker's own cells.
    own: Slot
    hash: int
    # The budget's amount, by the configuration.
    total: int
    # What must be left on hand.
    least: int


class PreparedWindows:
    """Some windows, and where their slots were found.

    What it decides is what the rule for all cases would, and that one decides wherever anything is unusual: a slot
    that is another window's now, a new amount of the budget, a lease that has ended, too little on hand.
    """

    __slots__ = (
        "_cells",
        "_clock",
        "_file",
        "_hold_locked",
        "_on_settled",
        "_on_stated",
        "_places",
        "_read",
        "_windows",
        "_workers",
    )

    def __init__(
        self,
        file: ShareFile,
        clock: Callable[[], int],
        windows: Sequence[Covered],
        hold_locked: HoldLocked,
        on_settled: OnSettled = lambda _: None,
        on_stated: OnSettled = lambda _: None,
    ) -> None:
        """`hold_locked` is the rule for all cases; `on_settled` and `on_stated` are those of the reservations."""
        self._file = file
        self._clock = clock
        self._windows = windows
        self._hold_locked = hold_locked
        self._on_settled = on_settled
        self._on_stated = on_stated
        # None while a slot is missing; and the worker's own cells in the slots.
        self._places: Sequence[_Place] | None = None
        self._cells: Sequence[Slot] = ()
        # Reads _CELLS and the cells of so many workers.
        self._workers = 1
        self._read = _reader(1)

    def holder(self) -> TryHold:
        """Return what holds an amount in all windows or in none; it returns None when another worker is at it."""
        return partial(_try_hold, self.reserver())

    def reserver(self) -> _TryReserve:
        """Return what does the same for requests that are settled with their records."""
        # Kept here, it would be a cycle.
        return self._for_one() if len(self._windows) == 1 else self._try_all

    def _for_one(self) -> _TryReserve:
        """Return what `_try_all` is for one window; its variables are found sooner than fields are."""
        file, clock, read = self._file, self._clock, _reader(1)
        head, try_lock, unlock = file.head, file.try_lock, file.unlock
        on_settled, on_stated = self._on_settled, self._on_stated
        place: _Place | None = None
        slot = own = head
        cells: Sequence[Slot] = ()
        known_hash = known_total = least = 0
        # Does in one call what follows, where it was compiled; False = it is to be done in Python.
        add: Add | None = None

        def try_reserve(amount: int) -> SlotReservation | HoldReservation | Shortage | None:
            nonlocal place, slot, own, cells, known_hash, known_total, least, add
            if add is not None and amount and add(amount, clock()):
                return SlotReservation(cells, amount, on_settled, on_stated)
            if not try_lock():
                return None
            try:
                if place is not None and amount:
                    now, workers = clock(), head[WORKERS]
                    if workers == 1:
                        found, borrowed, lease_end, total, held, used = read(slot)
                        free = borrowed - held - used - amount
                    else:
                        found, borrowed, lease_end, total, *taken = self._reader(workers)(slot)
                        free = borrowed - sum(taken) - amount
                    if free >= least and now < lease_end and found == known_hash and total == known_total:
                        # Read again: `read` makes a tuple, so that a garbage collection may have ended another hold.
                        own[OWN_HOLDS] += amount
                        slot[USED_AT] = now
                        return SlotReservation(cells, amount, on_settled, on_stated)
                # It is of the slot that was found before.
                add = None
                answer, cells = self._hold(amount), self._cells
                place = self._places[0] if self._places else None
                if place is not None:
                    slot, own, least = place.slot, place.own, place.least
                    known_hash, known_total = place.hash, place.total
                    add = file.adder(slot, known_hash, known_total, least)
                return answer
            finally:
                unlock()

        return try_reserve

    def _try_all(self, amount: int) -> SlotReservation | HoldReservation | Shortage | None:
        file = self._file
        if not file.try_lock():
            return None
        try:
            places = self._places
            if places is None or not amount:
                return self._hold(amount)
            now = self._clock()
            read = self._reader(file.head[WORKERS])
            for place in places:
                found, borrowed, lease_end, total, *taken = read(place.slot)
                if (
                    borrowed - sum(taken) - amount < place.least
                    or now >= lease_end
                    or found != place.hash
                    or total != place.total
                ):
                    return self._hold(amount)
            for place in places:
                place.own[OWN_HOLDS] += amount
                place.slot[USED_AT] = now
            return SlotReservation(self._cells, amount, self._on_settled, self._on_stated)
        finally:
            file.unlock()

    def _reader(self, workers: int) -> CellReader:
        if workers != self._workers:
            self._workers, self._read = workers, _reader(workers)
        return self._read

    def _hold(self, amount: int) -> SlotReservation | HoldReservation | Shortage:
        """Hold by the rule for all cases, and find the slots, which that may have moved."""
        answer = self._hold_locked(self._windows, amount, None)
        self._places, self._cells = self._find()
        if isinstance(answer, Shortage):
            return answer
        if not amount:
            return HoldReservation(answer, self._on_settled, self._on_stated)
        return SlotReservation(answer.cells, amount, self._on_settled, self._on_stated)

    def _find(self) -> tuple[Sequence[_Place] | None, Sequence[Slot]]:
        places = []
        for covered in self._windows:
            slot, total = self._file.find(covered.window), covered.budget.amount_nano_usd
            if slot is None or total <= 0:
                return None, ()
            own = own_cells(slot, self._file.worker)
            places.append(_Place(slot, own, slot[HASH], total, -(-total // LOW_PARTS)))
        return places, tuple(place.own for place in places)


def _try_hold(try_reserve: _TryReserve, amount: int) -> Hold | Shortage | None:
    answer = try_reserve(amount)
    if isinstance(answer, SlotReservation):
        return RequestHold(answer.cells, answer.amount)
    return answer.hold if isinstance(answer, HoldReservation) else answer


def _reader(workers: int) -> CellReader:
    """Return what reads _CELLS and the cells of the first workers.

    What open requests hold is read before what requests have cost: one that ends in between, which takes no lock,
    counts twice rather than not at all.
    """
    return cell_reader(*_CELLS, *range(HOLDS, HOLDS + workers), *range(USED, USED + workers))
