"""Borrows for the machine what its requests need of budgets, and returns what they do not need."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from loguru import logger

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.flow.ports.budgets import Balances, Trade, WindowState
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.budgets import borrowing
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.needs import Need, Needs
from llm_gateway.infra.budgets.share_file import (
    ALL_HELD,
    AMOUNT,
    BASE,
    BELL,
    BORROWED,
    CHECKED,
    FAILING,
    IS_NEW,
    LEASE_END,
    LEFT,
    READ_AT,
    REFUSED,
    ROUND,
    SPENT,
    USED,
    USED_AT,
    WAITING,
    WORKERS,
    ShareFile,
    Slot,
    window_of,
)

# Between two rounds at least, and between two looks when nobody rings.
_GAP: Final = 0.01
_INTERVAL: Final = 0.2
# Between the attempts of other workers to be elected.
_ELECTION: Final = 0.1
# After this the database counts as away, though it may still answer: requests are not kept waiting for it any more.
_SLOW: Final = 5.0
# For what is done at shutdown.
_CLOSING: Final = 1.0
# For what is written to be stored.
_PATIENCE: Final = 10.0
_MAX_BACKOFF: Final = 0.5
# Windows in one transaction.
_BATCH: Final = 100
_HOUR: Final = 3600.0
_LIMIT: Final = 2**62


class Keeper:
    """A task in every worker; the worker that holds the flock in the shares' folder does the work.

    What a machine has borrowed is its own until the lease ends, by its own monotonic clock; the lease is renewed
    while the window is used, and what is left is returned when it was not for as long as a lease lasts.
    """

    def __init__(
        self,
        file: ShareFile,
        bell: Bell,
        balances: Balances,
        flush: Callable[[float], Awaitable[bool]],
        *,
        lease: float = 60.0,
        wanted: Callable[[object], tuple[object, Sequence[Covered]]] = lambda known: (known, ()),
        clock: Callable[[], int] = time.monotonic_ns,
        unix_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`flush` waits until every usage row of this machine is stored, and returns whether it is.

        `wanted` gets the version that it returned last, and returns the version in force and, if it is another, the
        windows that are borrowed for before a request comes. `lease` is in seconds.
        """
        self._file = file
        self._bell = bell
        self._balances = balances
        self._flush = flush
        self._lease = lease
        self._lease_ns = round(lease * 1e9)
        self._wanted = wanted
        self._version: object = None
        self._clock = clock
        self._needs = Needs(clock, self._lease_ns, unix_us)
        self._lock: int | None = None
        self._task: asyncio.Task[None] | None = None
        # The windows that are checked, until everything is stored that was written before.
        self._check: tuple[Mapping[BudgetWindow, int], asyncio.Future[bool]] | None = None
        self._failures = 0
        self._next_cleanup = 0.0

    @property
    def elected(self) -> bool:
        """Whether this process borrows."""
        return self._lock is not None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="budget-keeper")

    async def close(self) -> None:
        """Stop; the last worker of the machine returns what is on hand."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=_CLOSING)
        if self._check is not None:
            self._check[1].cancel()
            self._check = None
        try:
            if self._file.leave() and await self._take_over():
                await asyncio.wait_for(self._return_all(), _SLOW)
        except (TimeoutError, StoreUnavailable, OSError) as error:
            logger.warning(
                "What this machine holds of budgets was not returned ({}); its lease ends within {:g} s.",
                type(error).__name__,
                self._lease,
            )
        except Exception:  # noqa: BLE001 - the shutdown must go on
            logger.exception("What this machine holds of budgets was not returned")
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def round(self) -> None:
        """Carry out what is due in any window; raise StoreUnavailable."""
        file = self._file
        with file.locked():
            file.head[BELL] = 0
            if dead := file.dead_workers():
                file.clear_workers(dead)
            self._prepare()
            self._needs.look(file)
        if (stored := await self._stored()) is not None:
            with file.locked():
                self._needs.checked(file, stored)
        due = self._needs.due
        for start in range(0, len(due), _BATCH):
            await self._trade(due[start : start + _BATCH])
        if due:
            file.head[ROUND] += 1

    async def _stored(self) -> Mapping[BudgetWindow, int] | None:
        """Return windows whose usage rows are all stored; None if none are known to be.

        That may take long while many rows wait, and no request waits for it.
        """
        if self._check is None:
            if not self._needs.to_check:
                return None
            self._check = self._needs.to_check, asyncio.ensure_future(self._flush(_PATIENCE))
        windows, task = self._check
        await asyncio.wait({task}, timeout=_GAP)
        if not task.done():
            return None
        self._check = None
        return windows if task.result() else None

    def _prepare(self) -> None:
        """Take slots for the windows that are wanted at once."""
        self._version, windows = self._wanted(self._version)
        for covered in windows:
            slot = self._file.claim(covered.window, covered.end)
            if slot is not None and not slot[USED_AT]:
                slot[USED_AT] = self._clock()

    async def _trade(self, windows: Sequence[BudgetWindow]) -> None:
        trades: list[Trade] = []
        slots: list[Slot] = []
        with self._file.locked():
            for window in windows:
                slot = self._file.find(window)
                if slot is None:
                    continue
                need = self._needs.of(window)
                if need.settled is not None and slot[USED_AT] != need.used_at:
                    # Requests have come since it was looked at.
                    need.settled, need.is_last = None, False
                if need.is_last:
                    # The end of the lease: from here on no request can hold any of it.
                    slot[LEASE_END] = 0
                slots.append(slot)
                trades.append(
                    Trade(
                        window=window,
                        change=partial(self._change, slot, need),
                        base=slot[BASE] if slot[IS_NEW] else None,
                        settled=need.settled,
                        is_refused=slot[REFUSED] > 0,
                        is_last=need.is_last,
                    )
                )
        started = self._clock()
        states = await self._balances.trade(self._file.holder, self._lease, trades)
        with self._file.locked():
            for slot, trade, state in zip(slots, trades, states, strict=True):
                self._apply(slot, trade, state, started)

    def _change(self, slot: Slot, need: Need, state: WindowState) -> int:
        """Decide while the balance is locked; what is returned is taken from the requests first."""
        with self._file.locked():
            slot[BORROWED] = _clip(state.borrowed)
            waiting = self._file.sum(slot, WAITING)
            on_hand = self._file.on_hand(slot)
            if need.is_over and not waiting:
                amount = borrowing.last_change(state, on_hand)
            else:
                amount = borrowing.change(state, on_hand, waiting, need.soon)
            if amount < 0:
                slot[BORROWED] = _clip(slot[BORROWED] + amount)
            return amount

    def _apply(self, slot: Slot, trade: Trade, state: WindowState, started: int) -> None:
        if window_of(slot) != trade.window:
            return
        if trade.is_last:
            if not self._file.is_open(slot) and not self._file.sum(slot, WAITING):
                self._needs.forget(trade.window)
                self._file.free(slot)
                return
            # Somebody came meanwhile: begin anew, with all that was used stored.
            slot[IS_NEW], slot[BASE] = 1, _clip(trade.settled or 0)
            slot[BORROWED] = slot[BASE]
            return
        slot[BORROWED] = _clip(state.borrowed)
        slot[IS_NEW] = 0
        # A tenth less, for clocks that run at different speeds.
        slot[LEASE_END] = started + self._lease_ns * 9 // 10
        slot[AMOUNT], slot[SPENT] = _clip(state.amount), _clip(state.spent)
        slot[ALL_HELD], slot[LEFT] = _clip(state.held), _clip(state.left)
        slot[READ_AT] = self._clock()
        if trade.is_refused:
            slot[REFUSED] = 2
        if trade.settled is not None:
            slot[CHECKED] = self._needs.of(trade.window).used_at

    async def _return_all(self) -> None:
        """Return what is on hand; a window whose usage rows are all stored holds nothing any more."""
        is_stored = await self._flush(0.0)
        with self._file.locked():
            self._file.clear_workers(list(range(self._file.head[WORKERS])))
            windows = [window_of(slot) for slot in self._file.slots()]
            for slot in self._file.slots():
                settled = self._file.sum(slot, USED) if is_stored else None
                self._needs.end(window_of(slot), slot[USED_AT], settled)
        for start in range(0, len(windows), _BATCH):
            await self._trade(windows[start : start + _BATCH])

    async def _take_over(self) -> bool:
        """Wait up to a second to become the keeper: another worker that is closing may still be it."""
        deadline = self._clock() + 1_000_000_000
        while not self._is_elected() and self._clock() < deadline:  # noqa: ASYNC110 - the kernel does not tell
            await asyncio.sleep(_GAP)
        return self.elected

    async def _run(self) -> None:
        while True:
            pause = _ELECTION
            try:
                if self._is_elected():
                    pause = await self._one_round()
                    await self._pause(pause)
                    continue
            except Exception:  # noqa: BLE001 - whatever it was, borrowing must go on
                self._is_away()
                logger.exception("Borrowing from budgets failed; trying again.")
                pause = _MAX_BACKOFF
            await asyncio.sleep(pause)

    async def _one_round(self) -> float:
        """Do a round; return the seconds until the next."""
        watch = asyncio.get_running_loop().call_later(_SLOW, self._is_away)
        try:
            await self.round()
            await self._clean_up()
        except StoreUnavailable as error:
            self._failures += 1
            if self._failures == 1:
                logger.warning("Budgets cannot be read; what was borrowed is spent first: {}", error.message)
            self._is_away()
            return min(_INTERVAL * 2.0 ** min(self._failures - 1, 8), _MAX_BACKOFF)
        except BlockingIOError:
            return _GAP
        finally:
            watch.cancel()
        if self._failures:
            logger.info("Budgets can be read again, after {} failures.", self._failures)
            self._failures = 0
        self._file.head[FAILING] = 0
        return _INTERVAL

    def _is_away(self) -> None:
        """Have the requests that wait know that the database does not answer."""
        self._file.head[FAILING] = 1
        self._file.head[ROUND] += 1

    async def _clean_up(self) -> None:
        now = self._clock() / 1e9
        # While the database counts as away and nothing is due, this also finds out whether it still is.
        is_unknown = self._file.head[FAILING] and not self._needs.due
        if is_unknown or (now >= self._next_cleanup and self._needs.due):
            self._next_cleanup = now + _HOUR
            await self._balances.delete_ended_holds()

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(_GAP if not self._failures else seconds)
        if self._failures:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.rung.wait()
        self._bell.rung.clear()

    def _is_elected(self) -> bool:
        if self._lock is None:
            path = self._file.folder / "keeper.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._lock = descriptor
            self._bell.listen()
        return True


def _clip(amount: int) -> int:
    return max(-_LIMIT, min(amount, _LIMIT))
