"""What requests hold of the machine's share of budgets, and how they wait while more is borrowed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.flow.ports.budgets import (
    BudgetShares,
    Hold,
    OnSettled,
    PreparedHold,
    Shortage,
    ShortageReason,
)
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.prepared import LOW_PARTS, PreparedWindows
from llm_gateway.infra.budgets.request_hold import MOST, RequestHold, begin_hold, own_cells
from llm_gateway.infra.budgets.share_file import (
    ALL_HELD,
    AMOUNT,
    BELL,
    BUDGET_ID,
    END,
    FAILING,
    LEASE_END,
    LEFT,
    READ_AT,
    REFUSED,
    ROUND,
    SPENT,
    START,
    USED_AT,
    WAITING,
    ShareFile,
    Slot,
)

# A balance that was read longer ago is read again before a request is refused because of it.
_FRESH_NS = 250_000_000
# Between looks whether there was a round, or whether the lock is free, while requests wait.
_LOOK_SECONDS = 0.003


class SharedBudgets(BudgetShares):
    """Implements the port for one worker of a machine; use it from one thread.

    A request is served from what the machine has borrowed. When that is short, it waits in line for the next round
    of the worker that borrows (`Keeper`), which may be this one or another.
    """

    def __init__(self, file: ShareFile, bell: Bell, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """`clock` returns nanoseconds since the machine's start, the same in every process."""
        self._file = file
        self._bell = bell
        self._clock = clock
        # Waiting requests that were tried since the last round, and those that were not.
        self._line: deque[_Waiter] = deque()
        self._arrived: deque[_Waiter] = deque()
        # The least amount that failed in this round, and the windows that the keeper was told of.
        self._failed: dict[tuple[BudgetWindow, ...], int] = {}
        self._flagged: set[BudgetWindow] = set()
        self._looking: asyncio.Task[None] | None = None

    def try_hold(self, windows: Sequence[Covered], amount: int) -> Hold | Shortage | None:
        file = self._file
        if not file.try_lock():
            return None
        try:
            return self._hold_locked(windows, amount, None)
        finally:
            file.unlock()

    def prepare(
        self, windows: Sequence[Covered], on_settled: OnSettled, on_stated: OnSettled
    ) -> PreparedHold:
        return PreparedWindows(self._file, self._clock, windows, self._hold_locked, on_settled, on_stated)

    async def hold(self, windows: Sequence[Covered], amount: int, timeout: float) -> Hold | Shortage:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(windows, amount, loop.create_future(), loop.time() + timeout, self._clock())
        self._arrived.append(waiter)
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look(), name="budget-waiters")
        try:
            return await waiter.answer
        except BaseException:
            self._leave(waiter)
            raise

    def hold_nothing(self, windows: Sequence[Covered]) -> Hold:
        held: list[Slot] = []
        # Without the lock or a free slot the cost is found in the usage row alone.
        with contextlib.suppress(OSError), self._file.locked():
            now = self._clock()
            for covered in windows:
                slot = self._file.claim(covered.window, covered.end)
                if slot is not None:
                    self._take(slot, 0, now)
                    held.append(slot)
        return self._held(held, 0)

    @property
    def is_away(self) -> bool:
        """Whether the database did not answer when more was to be borrowed."""
        return self._file.head[FAILING] != 0

    def used_ratios(self, now: int) -> dict[int, float]:
        """Return the used part, spent or held, of each budget in its window of `now`, as it was read last."""
        # Nobody holds the lock for long, unless a worker is suspended.
        with contextlib.suppress(BlockingIOError), self._file.locked():
            return {
                slot[BUDGET_ID]: (slot[SPENT] + slot[ALL_HELD]) / slot[AMOUNT] if slot[AMOUNT] else 1.0
                for slot in self._file.slots()
                if slot[READ_AT] and slot[START] <= now and not 0 < slot[END] <= now
            }
        return {}

    def close(self) -> None:
        """End the waiting of all requests."""
        if self._looking is not None:
            self._looking.cancel()
        for waiter in (*self._line, *self._arrived):
            waiter.answer.cancel()
        self._line.clear()
        self._arrived.clear()

    def _hold_locked(
        self, windows: Sequence[Covered], amount: int, asked_at: int | None
    ) -> RequestHold | Shortage:
        """Hold for a request that came at `asked_at`; None = it came just now."""
        file, now = self._file, self._clock()
        slots: list[Slot] = []
        is_low = False
        for covered in windows:
            slot = file.find(covered.window)
            if slot is None:
                slot = self._new_slot(covered, now)
                if slot is None:
                    return Shortage(covered, "unavailable", 0, 0)
            slots.append(slot)
            if not amount:
                continue
            free, total = file.on_hand(slot), slot[AMOUNT]
            if total != covered.budget.amount_nano_usd and self._is_outdated(
                slot, now if asked_at is None else asked_at
            ):
                self._ring()
                return Shortage(covered, "short", slot[SPENT], max(slot[ALL_HELD] - max(free, 0), 0))
            if free < amount or now >= slot[LEASE_END]:
                return self._shortage(covered, slot, amount, free, now)
            if (free - amount) * LOW_PARTS < total:
                is_low = True
        for slot in slots:
            self._take(slot, amount, now)
        if is_low:
            self._ring()
        return self._held(slots, amount)

    def _is_outdated(self, slot: Slot, asked_at: int) -> bool:
        """Tell whether a balance whose amount differs from the configuration's can and must be read again.

        A worker may know the new amount before the keeper does, or after it.
        """
        return 0 < slot[READ_AT] < asked_at and not self._file.head[FAILING]

    def _take(self, slot: Slot, amount: int, now: int) -> None:
        begin_hold(own_cells(slot, self._file.worker), amount)
        slot[USED_AT] = now

    def _held(self, slots: Sequence[Slot], amount: int) -> RequestHold:
        worker = self._file.worker
        return RequestHold([own_cells(slot, worker) for slot in slots], amount)

    def _new_slot(self, covered: Covered, now: int) -> Slot | None:
        slot = self._file.claim(covered.window, covered.end)
        if slot is not None:
            # In use from now on, although nothing is held yet.
            slot[USED_AT] = now
        return slot

    def _shortage(self, covered: Covered, slot: Slot, amount: int, free: int, now: int) -> Shortage:
        is_fresh = slot[READ_AT] != 0 and now - slot[READ_AT] < _FRESH_NS
        reason: ShortageReason = "short"
        if is_fresh and now < slot[LEASE_END] and free + max(slot[LEFT], 0) < amount:
            reason = "spent"
            slot[REFUSED] = slot[REFUSED] or 1
        elif self._file.head[FAILING]:
            reason = "unavailable"
        else:
            self._ring()
        return Shortage(covered, reason, slot[SPENT], max(slot[ALL_HELD] - max(free, 0), 0))

    def _ring(self) -> None:
        """Wake the keeper, once for each of its rounds. Needs the lock."""
        head = self._file.head
        if not head[BELL]:
            head[BELL] = 1
            self._bell.ring()

    async def _look(self) -> None:
        """Serve the line, in order, after each round, until it is empty."""
        loop = asyncio.get_running_loop()
        seen = -1
        while self._line or self._arrived:
            current = self._file.head[ROUND]
            if (current != seen or self._arrived) and self._file.try_lock():
                try:
                    self._serve(is_new_round=current != seen)
                finally:
                    self._file.unlock()
                seen = current
            now = loop.time()
            for line in (self._line, self._arrived):
                while line and (line[0].deadline <= now or line[0].answer.done()):
                    self._give_up(line.popleft())
            if self._line or self._arrived:
                await asyncio.sleep(_LOOK_SECONDS)
        with contextlib.suppress(OSError), self._file.locked():
            self._clear_waiting()

    def _serve(self, *, is_new_round: bool) -> None:
        """Try those in line; of those with the same windows, nobody who needs as much as one that failed.

        Between rounds nothing has changed for those that were tried before. Needs the lock.
        """
        if is_new_round:
            self._failed.clear()
            self._clear_waiting()
            trying = self._line + self._arrived
            self._line = deque()
        else:
            trying = self._arrived
        self._arrived = deque()
        for waiter in trying:
            if waiter.answer.done():
                continue
            least = self._failed.get(waiter.key)
            if least is None or waiter.amount < least:
                outcome = self._hold_locked(waiter.windows, waiter.amount, waiter.asked_at)
                if not isinstance(outcome, Shortage) or outcome.reason != "short":
                    waiter.answer.set_result(outcome)
                    continue
                waiter.shortage = outcome
                self._failed[waiter.key] = waiter.amount
            self._line.append(waiter)
            self._add_waiting(waiter)
        if self._line:
            self._ring()

    def _add_waiting(self, waiter: _Waiter) -> None:
        """Tell the keeper what a waiting request needs."""
        cell = WAITING + self._file.worker
        for window in waiter.key:
            slot = self._file.find(window)
            if slot is not None:
                slot[cell] = min(slot[cell] + waiter.amount, MOST)
                self._flagged.add(window)

    def _clear_waiting(self) -> None:
        for window in self._flagged:
            slot = self._file.find(window)
            if slot is not None:
                slot[WAITING + self._file.worker] = 0
        self._flagged.clear()

    def _give_up(self, waiter: _Waiter) -> None:
        if not waiter.answer.done():
            shortage = waiter.shortage or Shortage(waiter.windows[0], "short", 0, 0)
            waiter.answer.set_result(shortage._replace(reason="unavailable"))

    def _leave(self, waiter: _Waiter) -> None:
        """The request is gone; what it was given meanwhile goes back."""
        if waiter.answer.done() and not waiter.answer.cancelled() and waiter.answer.exception() is None:
            outcome = waiter.answer.result()
            if not isinstance(outcome, Shortage):
                outcome.release()
        waiter.answer.cancel()


class _Waiter:
    __slots__ = ("amount", "answer", "asked_at", "deadline", "key", "shortage", "windows")

    def __init__(
        self,
        windows: Sequence[Covered],
        amount: int,
        answer: asyncio.Future[Hold | Shortage],
        deadline: float,
        asked_at: int,
    ) -> None:
        self.windows = windows
        self.amount = amount
        self.answer = answer
        self.deadline = deadline
        self.asked_at = asked_at
        self.key = tuple(covered.window for covered in windows)
        self.shortage: Shortage | None = None
