"""Holds amounts in the same windows again and again, without looking for them each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from typing import Final, NamedTuple

from llm_gateway.core.config.budgets import Covered
from llm_gateway.flow.ports.budgets import Hold, Shortage
from llm_gateway.infra.budgets.request_hold import OWN_HOLDS, OWN_OPEN, RequestHold, own_cells
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
from llm_gateway.infra.shared_memory import cell_reader

# With less on hand than this part of the budget, more is borrowed before anybody has to wait.
LOW_PARTS: Final = 400
_TRY: Final = LOCK_EX | LOCK_NB
# What open requests hold is read before what requests have cost: one that ends in between, which takes no lock,
# counts twice rather than not at all.
_CELLS: Final = (HASH, BORROWED, LEASE_END, AMOUNT, HOLDS, USED)

# Holds an amount in windows, for a request that came at a time (None = just now), with the lock.
HoldLocked = Callable[[Sequence[Covered], int, int | None], Hold | Shortage]


class _Place(NamedTuple):
    """Where a window's numbers are, as long as its slot has the hash."""

    slot: Slot
    # The worker's own cells.
    own: Slot
    hash: int
    # The budget's amount, by the configuration.
    total: int


class PreparedWindows:
    """Some windows, and where their slots were found.

    What it decides is what the rule for all cases would, and that one decides wherever anything is unusual: a slot
    that is another window's now, a new amount of the budget, a lease that has ended, too little on hand.
    """

    __slots__ = (
        "_clock",
        "_file",
        "_hold_locked",
        "_is_single",
        "_places",
        "_read",
        "_slots",
        "_windows",
    )

    def __init__(
        self, file: ShareFile, clock: Callable[[], int], windows: Sequence[Covered], hold_locked: HoldLocked
    ) -> None:
        """`hold_locked` is the rule for all cases."""
        self._file = file
        self._clock = clock
        self._windows = windows
        self._hold_locked = hold_locked
        self._is_single = len(windows) == 1
        # None while a slot is missing.
        self._places: Sequence[_Place] | None = None
        self._slots: Sequence[tuple[Slot, Slot]] = ()
        # Reads _CELLS, of which the last two are the worker's own.
        self._read = cell_reader(*(cell + file.worker * (cell >= HOLDS) for cell in _CELLS))

    def try_hold(self, amount: int) -> Hold | Shortage | None:
        """Hold `amount` in all windows or in none; None when another worker is at it this moment."""
        file = self._file
        # As `ShareFile.try_lock` and `unlock` do, without their frames.
        try:
            flock(file.descriptor, _TRY)
        except BlockingIOError:
            return None
        try:
            places, read, now, workers = self._places, self._read, self._clock(), file.head[WORKERS]
            if places is None or not amount:
                return self._hold(amount)
            for slot, own, known_hash, total in places:
                found, borrowed, lease_end, known_total, held, used = read(slot)
                free = borrowed - (held + used if workers == 1 else file.taken(slot)) - amount
                if (
                    found != known_hash
                    or known_total != total
                    or now >= lease_end
                    or free * LOW_PARTS < total
                ):
                    return self._hold(amount)
                if self._is_single:
                    # Read again: `read` makes a tuple, so that a garbage collection may have ended another hold.
                    own[OWN_OPEN] += 1
                    own[OWN_HOLDS] += amount
                    slot[USED_AT] = now
                    return RequestHold(self._slots, amount)
            for slot, own, _, _ in places:
                own[OWN_OPEN] += 1
                own[OWN_HOLDS] += amount
                slot[USED_AT] = now
            return RequestHold(self._slots, amount)
        finally:
            flock(file.descriptor, LOCK_UN)

    def _hold(self, amount: int) -> Hold | Shortage:
        """Hold by the rule for all cases, and find the slots, which that may have moved."""
        answer = self._hold_locked(self._windows, amount, None)
        places = []
        for covered in self._windows:
            slot, total = self._file.find(covered.window), covered.budget.amount_nano_usd
            if slot is None or total <= 0:
                self._places = None
                return answer
            places.append(_Place(slot, own_cells(slot, self._file.worker), slot[HASH], total))
        self._places, self._slots = places, tuple((place.slot, place.own) for place in places)
        return answer
