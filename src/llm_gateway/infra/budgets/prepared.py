"""Holds amounts in the same windows again and again, without looking for them each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from llm_gateway.core.config.budgets import Covered
from llm_gateway.flow.ports.budgets import (
    Hold,
    HoldReservation,
    OnSettled,
    PreparedHold,
    Shortage,
    TryHold,
    nothing_is_known,
)
from llm_gateway.flow.ports.limits import Reservation
from llm_gateway.infra.budgets import slot_holder
from llm_gateway.infra.budgets.share_file import HASH, ShareFile
from llm_gateway.infra.budgets.slot_holder import Place

# With less on hand than this part of the budget, more is borrowed before anybody has to wait.
LOW_PARTS: Final = 400

# Holds an amount in windows, for a request that came at a time (None = just now), with the lock.
HoldLocked = Callable[[Sequence[Covered], int, int | None], Hold | Shortage]


class PreparedWindows(PreparedHold):
    """Some windows, and where their slots were found.

    What `try_hold` decides is what the rule for all cases would, and that one decides wherever it returns None.
    """

    __slots__ = (
        "_clock",
        "_file",
        "_hold_locked",
        "_on_settled",
        "_on_stated",
        "_places",
        "_windows",
        "try_hold",
    )

    try_hold: TryHold

    def __init__(
        self,
        file: ShareFile,
        clock: Callable[[], int],
        windows: Sequence[Covered],
        hold_locked: HoldLocked,
        on_settled: OnSettled,
        on_stated: OnSettled,
    ) -> None:
        """`hold_locked` is the rule for all cases; `on_settled` and `on_stated` are those of the reservations."""
        self._file = file
        self._clock = clock
        self._windows = windows
        self._hold_locked = hold_locked
        self._on_settled = on_settled
        self._on_stated = on_stated
        self._places: Sequence[Place] = ()
        # While a slot is missing.
        self.try_hold = nothing_is_known

    def hold(self, amount: int) -> Reservation | Shortage | None:
        file = self._file
        if not file.try_lock():
            return None
        try:
            answer = self._hold_locked(self._windows, amount, None)
            try:
                # That may have moved the slots.
                self._look_again()
            except BaseException:
                if not isinstance(answer, Shortage):
                    answer.release()
                raise
        finally:
            file.unlock()
        if isinstance(answer, Shortage):
            return answer
        return HoldReservation(answer, self._on_settled, self._on_stated)

    def _look_again(self) -> None:
        """Find the places of the windows, and make what holds there. Needs the lock."""
        places = self._find()
        if _are_same(places, self._places):
            return
        # Without them again, should this fail.
        self._places, self.try_hold = (), nothing_is_known
        if places:
            self.try_hold = slot_holder.make_holder(
                self._file, places, self._clock, self._on_settled, self._on_stated
            )
        self._places = places

    def _find(self) -> Sequence[Place]:
        """Return the places of all windows; none while one of them has no slot. Needs the lock."""
        places = []
        for covered in self._windows:
            slot, total = self._file.find(covered.window), covered.budget.amount_nano_usd
            if slot is None or total <= 0:
                return ()
            places.append(Place(slot, slot[HASH], total, -(-total // LOW_PARTS)))
        return places


def _are_same(places: Sequence[Place], others: Sequence[Place]) -> bool:
    return len(places) == len(others) and all(
        one.slot is other.slot and one.hash == other.hash for one, other in zip(places, others, strict=True)
    )
