"""Moves usage records from the journals of all processes into the database, exactly once each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from loguru import logger

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import RecordsRejected, UsageBackup, UsageStore
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.backup import (
    LOOK_SECONDS,
    MOVE_SECONDS,
    PATIENCE,
    UsageStoreWithBackup,
    store_readable,
)
from llm_gateway.infra.journal.csv_copy import CsvCopy
from llm_gateway.infra.journal.leftovers import SHIPPER_LOCK
from llm_gateway.infra.journal.positions import Positions
from llm_gateway.infra.journal.reader import JournalReader
from llm_gateway.infra.journal.rejected import RejectedRecords
from llm_gateway.infra.journal.status import ShippingStatus, read_status, write_status
from llm_gateway.infra.journal.waiting import oldest_waiting

# Seconds between batches at most, and between the attempts of other workers to be elected.
_INTERVAL = 0.1
_MIN_BACKOFF = 0.1
# Seconds between two looks at whether a store takes records.
_WATCH_SECONDS = 0.25
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
        batch: int = 4000,
        max_backoff: float = 5.0,
        is_synced: bool = False,
        backup: UsageBackup | None = None,
        others: UsageStore | None = None,
        patience: float = PATIENCE,
        move_seconds: float = MOVE_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        csv_copy: CsvCopy | None = None,
        outage_after: float = 1.0,
    ) -> None:
        """Ship what the journals in `directory` hold into `store`; `is_synced` says that their writers sync them.

        When the store has failed for `patience` seconds, records go to the `backup` until it works again; `others`
        and the times are those of `UsageStoreWithBackup`. While no store has taken a record for `outage_after`
        seconds, `csv_copy` is kept up to date.

        `batch` is the largest number of records that the store gets at once: the more, the less each costs.
        `max_backoff` is the longest wait, in seconds, before a failed step is tried again.
        """
        # Records that this process stored.
        self.shipped = 0
        # Makes this process' journal write what waits there.
        self.write_waiting: Callable[[], None] = lambda: None
        self._batch = batch
        self._is_synced = is_synced
        self._max_backoff = max_backoff
        self._directory = directory
        self._clock = clock
        self._positions = Positions(directory)
        self._rejected = RejectedRecords(directory / "rejected.jsonl")
        self._backed_up: UsageStoreWithBackup | None = None
        if backup is not None:
            self._backed_up = UsageStoreWithBackup(
                store,
                backup,
                self._rejected,
                clock,
                others=others,
                patience=patience,
                move_seconds=move_seconds,
                look_seconds=look_seconds,
                batch=batch,
            )
        self._store = self._backed_up or store
        self._csv_copy = csv_copy
        self._outage_after = outage_after
        # Since when the store is to take what it is offered; None while nothing is offered.
        self._offered_since: float | None = None
        self._status: ShippingStatus | None = None
        self._watching: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._reader: JournalReader | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Times in a row that the store failed.
        self._failures = 0
        self._why = ""

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
            self._watching = asyncio.create_task(self._watch(), name="journal-shipper-watch")

    @property
    def status(self) -> ShippingStatus:
        """Where the records of this machine go now, as the elected worker saw it last."""
        return self._status or read_status(self._directory)

    def oldest_waiting(self) -> int | None:
        """Return when the request that has waited longest for a store ended, in Unix microseconds; None if none."""
        try:
            return oldest_waiting(self._directory, self._stored_positions())
        except OSError:
            return None

    async def flush(self, timeout: float = 2.0) -> bool:
        """Wait until the store has everything that any process has written to this folder so far.

        Returns False if that takes longer than `timeout` seconds. Works in every worker, elected or not.
        """
        deadline = self._clock.monotonic() + timeout
        if not await self._flush_journal(deadline):
            return False
        # What the backup took is in the journal no more, and not in the store yet.
        while self.status.backup_holds:
            if self._clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    async def _flush_journal(self, deadline: float) -> bool:
        self.write_waiting()
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
        everything = await self._flush_journal(self._clock.monotonic() + timeout)
        tasks = {task for task in (self._task, self._watching) if task is not None}
        self._task = self._watching = None
        for task in tasks:
            task.cancel()
        if tasks:
            # A store that hangs even when cancelled must not hold up the shutdown.
            await asyncio.wait(tasks, timeout=1.0)
        if self._backed_up is not None:
            await self._backed_up.close()
        if self._csv_copy is not None:
            self._csv_copy.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._start_over()
        return everything

    def _unmet(self, goals: Sequence[files.JournalFile]) -> list[files.JournalFile]:
        """Return those of `goals` that are not stored up to their size; a dead process' files and lock have to go."""
        positions = self._stored_positions()
        return [
            goal
            for goal in goals
            if files.is_left_behind(self._directory, goal.incarnation)
            or (
                (self._directory / goal.name).exists()
                and (
                    positions.get(goal.name, 0) < goal.size
                    or files.is_dead(self._directory, goal.incarnation)
                )
            )
        ]

    def _stored_positions(self) -> dict[str, int]:
        return self._reader.positions() if self._reader else self._positions.read()

    async def _run(self) -> None:
        while True:
            started = self._clock.monotonic()
            pause = _INTERVAL
            try:
                if self._is_elected():
                    if self._backed_up is not None:
                        self._backed_up.tend()
                    if await self._ship_some():
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
            self._lock = files.try_lock(self._directory / SHIPPER_LOCK)
            if self._lock is not None and read_status(self._directory).backup_holds:
                self._recall_backup()
        return self._lock is not None

    def _recall_backup(self) -> None:
        """Go on from where the last shipper has left records in the backup."""
        if self._backed_up is not None:
            self._backed_up.backup_holds = True
        else:
            logger.warning(
                "The backup database held usage records when this gateway was last stopped. Set BACKUP_DB_URL again,"
                " or they stay there."
            )

    async def _ship_some(self) -> bool:
        """Move the next records into the store; return whether there may be more right now."""
        if self._reader is None:
            self._reader = JournalReader(self._directory, self._rejected, is_synced=self._is_synced)
        reader = self._reader
        facts, more = await reader.collect(self._batch)
        for start in range(0, len(facts), self._batch):
            await self._deliver(facts[start : start + self._batch])
        await reader.commit()
        return more

    async def _deliver(self, facts: list[bytes]) -> None:
        """Store the facts, however long it takes; set aside those that the store rejects."""
        self._offered_since = self._clock.monotonic()
        await store_readable(self._offer, facts, self._rejected)
        self._offered_since = None

    async def _offer(self, facts: Sequence[bytes]) -> None:
        """Return once the facts are stored; raise RecordsRejected."""
        while True:
            try:
                await self._store.upsert(facts)
            except RecordsRejected:
                raise
            except Exception as error:  # noqa: BLE001 - an outage has many faces
                await self._wait_out(error)
            else:
                self._stored(len(facts))
                if self._backed_up is not None and self._backed_up.backup_holds != self.status.backup_holds:
                    # Before the journal counts as stored: a flush must not take the backup for the store.
                    self._tell(is_outage=False)
                return

    async def _watch(self) -> None:
        """Tell all workers where records go, and keep the CSV copy."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._lock is None:
                self._status = None
                continue
            try:
                await self._watch_once()
            except Exception:  # noqa: BLE001 - the next look may go better
                logger.exception("Cannot tell where usage records go")
                await asyncio.sleep(self._max_backoff)

    async def _watch_once(self) -> None:
        waits_since = self._offered_since
        is_outage = waits_since is not None and self._clock.monotonic() - waits_since >= self._outage_after
        copy = self._csv_copy
        if copy is not None and is_outage:
            await asyncio.to_thread(copy.update, self._stored_positions())
        elif copy is not None and waits_since is None and not copy.is_tidy:
            await asyncio.to_thread(copy.remove_shipped, self._stored_positions())
        self._tell(is_outage=is_outage)

    def _tell(self, *, is_outage: bool) -> None:
        """Write where records go, if that has changed."""
        store, copy = self._backed_up, self._csv_copy
        uses_backup = store is not None and store.uses_backup
        status = ShippingStatus(
            store="none" if is_outage else "backup" if uses_backup else "primary",
            backup_holds=store is not None and store.backup_holds,
            csv_copy=str(copy.path) if copy is not None and copy.is_written else None,
        )
        if status != self._status:
            self._status = status
            try:
                write_status(self._directory, status)
            except OSError as error:
                # A full disk, say: shipping makes room.
                logger.warning("Cannot write the status of {}: {}", self._directory, error.strerror)

    def _start_over(self) -> None:
        """Read on from what is known to be stored."""
        self._offered_since = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _stored(self, count: int) -> None:
        self.shipped += count
        if self._failures:
            taker = "backup" if self._backed_up is not None and self._backed_up.uses_backup else "database"
            logger.info("The {} stores usage records again, after {} failures.", taker, self._failures)
            self._failures = 0

    async def _wait_out(self, error: Exception) -> None:
        self._failures += 1
        # Only the type of a foreign exception is logged: its text may hold a password.
        why = error.message if isinstance(error, StoreUnavailable) else type(error).__name__
        if self._failures == 1 or why != self._why:
            self._why = why
            logger.warning(
                "The database does not store usage records; they wait in {}: {}", self._directory, why
            )
        # A flush may shorten the wait, but not to nothing.
        await asyncio.sleep(_MIN_BACKOFF)
        await self._pause(
            min(_MIN_BACKOFF * 2 ** min(self._failures - 1, 10), self._max_backoff) - _MIN_BACKOFF
        )
