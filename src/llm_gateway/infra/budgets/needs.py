"""Finds out for which windows something has to be borrowed, returned, renewed or checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.infra.budgets.share_file import (
    AMOUNT,
    CHECKED,
    END,
    HOLDS,
    IS_NEW,
    LEASE_END,
    LEFT,
    READ_AT,
    REFUSED,
    USED,
    USED_AT,
    WAITING,
    ShareFile,
    Slot,
    window_of,
)

# A window is quiet when no request has come for this long, and none is open.
_QUIET_NS: Final = 1_000_000_000
# How far ahead is borrowed, in seconds of use as it was lately.
_AHEAD: Final = 2.0
# The part of the last estimate that remains after a second without use.
_FADING: Final = 0.5
# Times between two looks that are shorter say nothing of the rate.
_SHORTEST: Final = 0.1
# Below this many parts of the budget on hand, more is borrowed.
_LOW_PARTS: Final = 400


class Need(msgspec.Struct):
    """What is known of one window between rounds."""

    # What requests are likely to use until the next rounds.
    soon: int = 0
    # What the machine's requests cost, if all of it is stored; and the slot's USED_AT then.
    settled: int | None = None
    used_at: int = 0
    # The window is over, so that nothing more is needed than what waits.
    is_over: bool = False
    # The window is over or idle, and everything is stored: everything goes back.
    is_last: bool = False
    # For the estimate: what was used or held at `seen_at`, and nano-USD per second.
    total: int = 0
    seen_at: int = 0
    rate: float = 0.0


class Needs:
    """The windows of a machine, as its keeper sees them."""

    def __init__(self, clock: Callable[[], int], lease_ns: int, unix_us: Callable[[], int]) -> None:
        self._clock = clock
        self._lease_ns = lease_ns
        self._unix_us = unix_us
        self._quiet_ns = min(_QUIET_NS, lease_ns // 2)
        self._needs: dict[BudgetWindow, Need] = {}
        self.due: list[BudgetWindow] = []
        # Quiet windows, of which it is not known whether all they cost is stored, with the slot's USED_AT.
        self.to_check: dict[BudgetWindow, int] = {}

    def of(self, window: BudgetWindow) -> Need:
        """Return what is known of the window."""
        return self._needs.setdefault(window, Need())

    def forget(self, window: BudgetWindow) -> None:
        self._needs.pop(window, None)

    def end(self, window: BudgetWindow, used_at: int, settled: int | None) -> None:
        """Note that no request uses the window; `settled` is None while some of its usage rows are not stored."""
        need = self.of(window)
        need.used_at = used_at
        need.settled = settled
        need.is_over = True
        need.is_last = settled is not None

    def look(self, file: ShareFile) -> None:
        """Find what is due; needs the lock."""
        now, unix_us = self._clock(), self._unix_us()
        self.due, self.to_check = [], {}
        for slot in file.slots():
            window = window_of(slot)
            need = self.of(window)
            need.settled, need.is_last, need.used_at = None, False, slot[USED_AT]
            self._estimate(need, file.sum(slot, USED) + file.sum(slot, HOLDS), now)
            is_over = 0 < slot[END] <= unix_us
            need.is_over = is_over
            waiting = file.sum(slot, WAITING)
            is_quiet = not file.is_open(slot) and now - slot[USED_AT] >= self._quiet_ns
            is_idle = is_quiet and not waiting and (is_over or now - slot[USED_AT] >= self._lease_ns)
            if is_idle or (is_quiet and slot[CHECKED] != slot[USED_AT]):
                self.to_check[window] = slot[USED_AT]
            if self._is_due(file, slot, now, waiting):
                self.due.append(window)

    def checked(self, file: ShareFile, windows: Mapping[BudgetWindow, int]) -> None:
        """Note that every usage row is stored that was written when these windows were to be checked.

        Needs the lock.
        """
        now, unix_us = self._clock(), self._unix_us()
        for window, used_at in windows.items():
            slot = file.find(window)
            need = self.of(window)
            if slot is None or file.is_open(slot) or slot[USED_AT] != used_at:
                # Requests have come since: what they cost may not be stored.
                continue
            need.settled = file.sum(slot, USED)
            is_over = 0 < slot[END] <= unix_us or now - slot[USED_AT] >= self._lease_ns
            need.is_last = is_over and not file.sum(slot, WAITING)
            if window not in self.due:
                self.due.append(window)

    def _is_due(self, file: ShareFile, slot: Slot, now: int, waiting: int) -> bool:
        if slot[IS_NEW] or waiting or slot[REFUSED] == 1:
            return True
        if slot[LEASE_END] - now < self._lease_ns * 6 // 10:
            return True
        return slot[LEFT] > 0 and slot[READ_AT] > 0 and file.on_hand(slot) < slot[AMOUNT] // _LOW_PARTS

    def _estimate(self, need: Need, total: int, now: int) -> None:
        if not need.seen_at:
            need.total, need.seen_at = total, now
            return
        seconds = (now - need.seen_at) / 1e9
        if seconds < _SHORTEST:
            return
        rate = max(total - need.total, 0) / seconds
        need.rate = max(rate, need.rate * _FADING**seconds)
        need.total, need.seen_at = total, now
        need.soon = int(need.rate * _AHEAD)
