"""Moves usage records from the journals of all processes into the database, exactly once each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import RecordsRejected, UsageStore
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.positions import Positions
from llm_gateway.infra.journal.reader import JournalReader
from llm_gateway.infra.journal.rejected import RejectedRecords

# Seconds between batches at most, and between the attempts of other workers to be elected.
_INTERVAL = 0.1
_MIN_BACKOFF = 0.1
# Seconds between two looks of a waiting `flush` at what is stored.
_LOOK_SECONDS = 0.01


class Shipper:
    """A task in every worker; the worker that holds the flock in the journal's folder does the work.

    When that worker dies, another takes over within 100 ms. While the database is unavailable, the journal grows and
    nothing else happens. `shipped` and `rejected` count for this process only: they stay zero in workers that were
    never elected.
    """

    def __init__(
        self,
        directory: Path,
        store: UsageStore,
        clock: Clock,
        *,
        batch: int = 1000,
        max_backoff: float = 5.0,
    ) -> None:
        """Ship what the journals in `directory` hold into `store`.

        `batch` is the largest number of records that the store gets at once; `max_backoff` is the longest wait, in
        seconds, before a failed step is tried again.
        """
        # Records that this process stored.
        self.shipped = 0
        self._batch = batch
        self._max_backoff = max_backoff
        self._directory = directory
        self._store = store
        self._clock = clock
        self._positions = Positions(directory)
        self._rejected = RejectedRecords(directory / "rejected.jsonl")
        self._lock: int | None = None
        self._reader: JournalReader | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Times in a row that the store failed.
        self._failures = 0

    @property
    def rejected(self) -> int:
        """Records that this process set aside because they cannot be read or the store rejected them."""
        return self._rejected.count

    @property
    def backlog_bytes(self) -> int:
        """Bytes of all processes that are not stored yet. Reads the folder, so it is not for every request."""
        try:
            waiting = files.read_folder(self._directory).files()
        except OSError:
            return 0
        positions = self._reader.positions() if self._reader else self._positions.read()
        return sum(max(file.size - positions.get(file.name, 0), 0) for file in waiting)

    @property
    def elected(self) -> bool:
        """Whether this process ships."""
        return self._lock is not None

    def start(self) -> None:
        """Start shipping, or wait to be elected."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="journal-shipper")

    async def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything that any process has written to this folder so far is stored.

        Returns False if that takes longer than `timeout` seconds. Works in every worker, elected or not.
        """
        deadline = self._clock.monotonic() + timeout
        try:
            goals = files.read_folder(self._directory).files()
            self._wake.set()
            while goals := self._unmet(goals):
                if self._clock.monotonic() >= deadline:
                    return False
                await asyncio.sleep(_LOOK_SECONDS)
        except FileNotFoundError:
            # Nothing has been written yet.
            return True
        except OSError as error:
            logger.warning("Cannot read the journal in {}: {}", self._directory, error.strerror)
            return False
        return True

    async def drain(self, timeout: float) -> bool:
        """Ship what there is, stop, and let another worker be elected; return whether everything was shipped.

        Close this process' journal first, so that its files can be deleted. What is left is shipped by another
        worker, or after the next start.
        """
        everything = await self.flush(timeout)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            # A store that hangs even when cancelled must not hold up the shutdown.
            await asyncio.wait({task}, timeout=1.0)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._start_over()
        return everything

    def _unmet(self, goals: Sequence[files.JournalFile]) -> list[files.JournalFile]:
        """Return those of `goals` that are not stored up to their size; a dead process' files have to go."""
        positions = self._reader.positions() if self._reader else self._positions.read()
        return [
            goal
            for goal in goals
            if (self._directory / goal.name).exists()
            and (positions.get(goal.name, 0) < goal.size or files.is_dead(self._directory, goal.incarnation))
        ]

    async def _run(self) -> None:
        while True:
            started = self._clock.monotonic()
            pause = _INTERVAL
            try:
                if self._is_elected() and await self._ship_some():
                    pause = 0.0
            except Exception:  # noqa: BLE001 - whatever it was, shipping must go on
                logger.exception("Shipping usage records failed; trying again.")
                self._start_over()
                pause = self._max_backoff
            await self._pause(pause - (self._clock.monotonic() - started))

    async def _pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until a flush is requested."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _is_elected(self) -> bool:
        """Return whether this process holds the flock; try to take it if not."""
        if self._lock is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = files.try_lock(self._directory / "shipper.flock")
        return self._lock is not None

    async def _ship_some(self) -> bool:
        """Move the next records into the store; return whether there may be more right now."""
        if self._reader is None:
            self._reader = JournalReader(self._directory, self._rejected)
        reader = self._reader
        facts, more = await reader.collect(self._batch)
        for start in range(0, len(facts), self._batch):
            await self._deliver(facts[start : start + self._batch])
        await reader.commit()
        return more

    async def _deliver(self, facts: list[bytes]) -> None:
        """Store the facts, however long it takes; set aside those that the store rejects."""
        refusal = await self._offer(facts)
        if refusal is None:
            return
        if len(facts) == 1:
            self._rejected.add("database", str(refusal), facts[0])
            return
        half = len(facts) // 2
        await self._deliver(facts[:half])
        await self._deliver(facts[half:])

    async def _offer(self, facts: list[bytes]) -> RecordsRejected | None:
        """Return None once the facts are stored, or why the store rejects them."""
        while True:
            try:
                await self._store.upsert(facts)
            except RecordsRejected as refusal:
                return refusal
            except Exception as error:  # noqa: BLE001 - an outage has many faces
                await self._wait_out(error)
            else:
                self._stored(len(facts))
                return None

    def _start_over(self) -> None:
        """Read on from what is known to be stored."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _stored(self, count: int) -> None:
        self.shipped += count
        if self._failures:
            logger.info("The database stores usage records again, after {} failures.", self._failures)
            self._failures = 0

    async def _wait_out(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            # Only the type of a foreign exception is logged: its text may hold a password.
            why = error.message if isinstance(error, StoreUnavailable) else type(error).__name__
            logger.warning(
                "The database does not store usage records; they wait in {}: {}", self._directory, why
            )
        # A flush may shorten the wait, but not to nothing.
        await asyncio.sleep(_MIN_BACKOFF)
        await self._pause(
            min(_MIN_BACKOFF * 2 ** min(self._failures - 1, 10), self._max_backoff) - _MIN_BACKOFF
        )
