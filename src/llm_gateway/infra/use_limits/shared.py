"""What accounts use, counted together by the workers of one machine, in a mapped file without a server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import tzinfo
from pathlib import Path

from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore
from llm_gateway.infra.shared_memory import boot_id, tag
from llm_gateway.infra.sharing_status import SharingStatus
from llm_gateway.infra.use_limits.ledger import Admitted, Taken, UseLedger
from llm_gateway.infra.use_limits.memory import (
    ACCOUNTS,
    BOOT,
    CHUNKS,
    DIRTY,
    OPEN,
    FileMemory,
    LocalMemory,
    layout,
)

# The lock is held for microseconds: try at once, then pause between tries, then count without it.
_TRIES = 50
_PAUSE_SECONDS = 0.001
# Nanoseconds between looks at which processes live, and between those that a shortage of held use causes.
_LOOK_NS, _HURRIED_LOOK_NS = 1_000_000_000, 100_000_000


# The end of a request that the ledger does not know yet: what it took, and its tokens; None = it is released.
_End = tuple[Sequence[Taken], int | None]


class SharedUseStore(UseStore):
    """Implements the `UseStore` port for the workers of one machine, or for a single one, whose days survive it.

    Every call holds the file's lock, which is free once its holder dies. What a killed worker held is
    given back when another worker looks, which it does each second. When the file cannot be used (disk full, or a
    suspended process holds the lock), this worker counts alone; `sharing` shows it. Create it in the process that
    uses it, and use it from one thread.
    """

    def __init__(
        self,
        directory: Path,
        namespace: str,
        zone: tzinfo,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        unix_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        lock_pauses: int = 250,
        boot: str | None = None,
    ) -> None:
        """Share with all that have the same `directory` and `namespace` (the database of the ids).

        `lock_pauses` is how many milliseconds a request waits for the lock. Raises OSError when the file cannot be
        created or mapped.
        """
        folder = directory / f"use-{tag(layout(), namespace).hex()[:12]}"
        self._memory = FileMemory(folder / "ledger", namespace)
        self._owners = self._memory.owners
        self._lock, self._unlock = self._memory.lock.try_lock, self._memory.lock.unlock
        self._ledger = UseLedger(
            self._memory, self._owners.number, zone, monotonic_ns=monotonic_ns, unix_us=unix_us
        )
        self._alone = UseLedger(LocalMemory(), 0, zone, monotonic_ns=monotonic_ns, unix_us=unix_us)
        self._monotonic_ns = monotonic_ns
        self._lock_tries = lock_pauses
        self._looked_at = 0
        self._ends: list[_End] = []
        self._is_scheduled = False
        self.sharing = SharingStatus(
            "the workers' shared file",
            "each worker applies the limits on its own",
            shared="Limits of use",
        )
        try:
            self._begin(boot_id() if boot is None else boot)
        except BaseException:
            self._memory.close()
            raise

    def hold(self, claims: Sequence[Claim]) -> HeldUse | Shortage | Awaitable[HeldUse | Shortage]:
        try:
            is_locked = self._lock() or self._try_lock()
        except Exception as error:  # noqa: BLE001 - the port never raises
            return self._hold_alone(claims, error)
        return self._hold_locked(claims) if is_locked else self._hold_later(claims)

    def settle(self, held: HeldUse, tokens: int) -> None:
        self._end(held, tokens)

    def release(self, held: HeldUse) -> None:
        self._end(held, None)

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        try:
            return self._ledger.shortage(claims)
        except Exception:  # noqa: BLE001 - as in `hold`; a closed file, for one
            return None

    def open_holds(self) -> int:
        """Return how many holds there are on this machine."""
        try:
            head = self._memory.head
            return sum(head[OPEN : OPEN + head[CHUNKS] * ACCOUNTS].tolist())
        except ValueError:
            # Closed.
            return 0

    async def close(self) -> None:
        """Give back what is held, and release the file; later calls count in this process alone."""
        with contextlib.suppress(Exception):
            if self._ends and await self._wait_for_lock():
                try:
                    self._catch_up()
                finally:
                    self._unlock()
        self._memory.close()

    def _begin(self, boot: str) -> None:
        """Drop what is of an earlier boot or process. The file is locked."""
        number = int.from_bytes(tag(boot)[:7], "big")
        ledger, head = self._ledger, self._memory.head
        if head[BOOT] != number:
            ledger.accounts.forget_windows()
            ledger.holds.purge(lambda _: False)
            head[BOOT] = number
        # Holds of this number are those of its owner before.
        ledger.holds.purge(lambda owner: owner != self._owners.number and self._owners.is_live(owner))
        self._memory.begin()

    def _hold_locked(self, claims: Sequence[Claim]) -> HeldUse | Shortage:
        ledger = self._ledger
        try:
            try:
                if (
                    self._ends
                    or self._memory.head[DIRTY]
                    or abs(self._monotonic_ns() - self._looked_at) >= _LOOK_NS
                ):
                    self._catch_up()
                answer = ledger.hold(claims)
                if isinstance(answer, Shortage) and answer.held and self._look(_HURRIED_LOOK_NS):
                    answer = ledger.hold(claims)
            finally:
                self._unlock()
        except Exception as error:  # noqa: BLE001 - as in `hold`
            return self._hold_alone(claims, error)
        if self.sharing.failing:
            self.sharing.worked()
        # As `_held` does, without its frame.
        if isinstance(answer, Shortage):
            return answer
        return HeldUse(answer, answer.requests, answer.tokens)

    async def _hold_later(self, claims: Sequence[Claim]) -> HeldUse | Shortage:
        try:
            if not await self._wait_for_lock():
                raise BlockingIOError(errno.EAGAIN, "its lock is not released")
        except Exception as error:  # noqa: BLE001 - as in `hold`
            return self._hold_alone(claims, error)
        return self._hold_locked(claims)

    def _hold_alone(self, claims: Sequence[Claim], error: Exception) -> HeldUse | Shortage:
        """Count in this process alone."""
        self.sharing.failed((isinstance(error, OSError) and error.strerror) or type(error).__name__)
        return _held(self._alone.hold(claims))

    def _end(self, held: HeldUse, tokens: int | None) -> None:
        admitted = held.token
        assert isinstance(admitted, Admitted)  # noqa: S101 - as `hold` made it
        if tokens is not None and not admitted.has_holds:
            # Requests stay counted, and nothing else was.
            return
        if admitted.ledger is self._alone:
            _apply(self._alone, (admitted.taken, tokens))
            return
        self._ends.append((admitted.taken, tokens))
        self._flush()

    def _flush(self) -> None:
        """Tell the ledger of the ends that it does not know; later if another worker holds the lock."""
        try:
            if self._lock() or self._try_lock():
                try:
                    self._catch_up()
                finally:
                    self._unlock()
                return
        except Exception as error:  # noqa: BLE001 - as in `hold`
            self.sharing.failed((isinstance(error, OSError) and error.strerror) or type(error).__name__)
            if self._memory.descriptor < 0:
                self._ends.clear()
                return
        if not self._is_scheduled:
            # Without a loop, the next call tells the ledger.
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_later(_PAUSE_SECONDS, self._flush_again)
                self._is_scheduled = True

    def _flush_again(self) -> None:
        self._is_scheduled = False
        if self._ends:
            self._flush()

    def _catch_up(self) -> None:
        """Drop what dead workers held, and tell the ledger of ends; needs the lock, before the ledger is read."""
        if self._memory.head[DIRTY] or abs(self._monotonic_ns() - self._looked_at) >= _LOOK_NS:
            self._look(0)
        if self._ends:
            ends, self._ends = self._ends, []
            for taken, tokens in ends:
                # As `_apply` does, without its frame.
                if tokens is None:
                    self._ledger.release(taken)
                else:
                    self._ledger.settle(taken, tokens)

    def _look(self, at_least: int) -> bool:
        """Drop what dead workers held, unless the last look was a moment ago; tell whether there was any."""
        now = self._monotonic_ns()
        if abs(now - self._looked_at) < at_least:
            return False
        self._looked_at = now
        return self._ledger.holds.purge(self._owners.is_live)

    def _try_lock(self) -> bool:
        return any(self._lock() for _ in range(_TRIES))

    async def _wait_for_lock(self) -> bool:
        """Tell whether the lock was released in time, and acquired."""
        for _ in range(self._lock_tries):
            await asyncio.sleep(_PAUSE_SECONDS)
            if self._try_lock():
                return True
        return False


def _apply(ledger: UseLedger, end: _End) -> None:
    taken, tokens = end
    if tokens is None:
        ledger.release(taken)
    else:
        ledger.settle(taken, tokens)


def _held(answer: Admitted | Shortage) -> HeldUse | Shortage:
    return answer if isinstance(answer, Shortage) else HeldUse(answer, answer.requests, answer.tokens)
