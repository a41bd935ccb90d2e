"""Stores usage records in a backup while the database does not take them, and moves them back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from loguru import logger

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.ledger import BackedUpFact, RecordsRejected, UsageBackup, UsageStore
from llm_gateway.infra.journal.rejected import RejectedRecords

_Answer = TypeVar("_Answer")
# Seconds for which the database must have failed before records go to the backup.
PATIENCE = 3.0
# Seconds between two attempts to move records back, and between two looks for records of other machines.
MOVE_SECONDS, LOOK_SECONDS = 1.0, 5.0
# Seconds that the first records wait for the first look at the backup.
_FIRST_LOOK_SECONDS = 0.5


class UsageStoreWithBackup(UsageStore):
    """The usage store of a shipper that has a backup.

    Records that the backup took are moved into the store once it works again, and then removed from the backup. A
    kill in between moves some twice, which the store recognises. New records wait meanwhile, so that all arrive in
    their order. Call `tend` often, from the only shipper of the journal.
    """

    def __init__(
        self,
        store: UsageStore,
        backup: UsageBackup,
        rejected: RejectedRecords,
        clock: Clock,
        *,
        others: UsageStore | None = None,
        patience: float = PATIENCE,
        move_seconds: float = MOVE_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        batch: int = 1000,
    ) -> None:
        """`others` stores the records of machines that are gone; without it, `store` does."""
        # Whether records go to the backup.
        self.uses_backup = False
        # Whether the backup holds records, as far as is known.
        self.backup_holds = False
        self._store = store
        self._others = others or store
        self._backup = backup
        self._rejected = rejected
        self._clock = clock
        self._patience = patience
        self._move_seconds = move_seconds
        self._look_seconds = look_seconds
        self._batch = batch
        self._adds = 0
        self._failing_since: float | None = None
        self._backup_failure = ""
        self._moving: asyncio.Task[None] | None = None
        # New records wait for the moving task: it is about to find out what the backup holds, or moves it.
        self._is_waited_for = True
        self._next_move = 0.0

    async def upsert(self, facts: Sequence[bytes]) -> None:
        if self._is_waited_for:
            self.tend()
            await self._moved()
        if self.uses_backup and await self._back_up(facts):
            return
        began = self._clock.monotonic()
        try:
            await self._store.upsert(facts)
        except RecordsRejected:
            self._store_works()
            raise
        except Exception as error:
            if self._failing_since is None:
                self._failing_since = began
            is_away = self._clock.monotonic() - self._failing_since >= self._patience
            if self.uses_backup or not is_away or not await self._back_up(facts):
                raise
            self.uses_backup = True
            logger.warning(
                "Usage records go to the backup database until the database takes them again: {}", _why(error)
            )
        else:
            self._store_works()

    def tend(self) -> None:
        """Move records back from time to time, in a task of its own. Returns at once."""
        is_running = self._moving is not None and not self._moving.done()
        if not is_running and self._clock.monotonic() >= self._next_move:
            self._moving = asyncio.create_task(self._move(), name="usage-backup")

    async def close(self) -> None:
        """Stop moving."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait({self._moving}, timeout=1.0)

    async def _moved(self) -> None:
        if self._moving is not None:
            # Not cancelled with whoever waits. A backup that holds nothing, as far as is known, may be slow.
            await asyncio.wait({self._moving}, timeout=None if self.backup_holds else _FIRST_LOOK_SECONDS)
        self._is_waited_for = False

    async def _back_up(self, facts: Sequence[bytes]) -> bool:
        return await self._asked(lambda: self._add(facts)) is not None

    async def _add(self, facts: Sequence[bytes]) -> bool:
        # Set first: a backup that failed may have stored the facts all the same.
        self.backup_holds = True
        self._adds += 1
        await self._backup.add(facts)
        return True

    async def _move(self) -> None:
        moved, adds = 0, self._adds
        try:
            while found := await self._asked(lambda: self._backup.oldest(self._batch)):
                self.backup_holds = True
                if not await self._move_to(self._store, found):
                    return
                moved, adds = moved + len(found), self._adds
            if found is None:
                return
            if adds == self._adds:
                self.backup_holds = False
            self._is_waited_for = False
            while found := await self._asked(lambda: self._backup.oldest_of_others(self._batch)):
                if not await self._move_to(self._others, found):
                    return
                moved += len(found)
        finally:
            self._is_waited_for = False
            seconds = self._move_seconds if self.backup_holds else self._look_seconds
            self._next_move = self._clock.monotonic() + seconds
            if moved:
                logger.info("Moved {} usage records from the backup into the database.", moved)

    async def _move_to(self, store: UsageStore, found: Sequence[BackedUpFact]) -> bool:
        """Store what the backup returned and remove it there; return whether both worked."""
        try:
            await store_readable(store.upsert, [one.fact for one in found], self._rejected)
        except Exception:  # noqa: BLE001 - an outage, which the shipper reports
            return False
        if store is self._store:
            self._is_waited_for = True
        self._store_works()
        numbers = [one.number for one in found]
        return await self._asked(lambda: self._remove(numbers)) is not None

    async def _remove(self, numbers: Sequence[int]) -> bool:
        await self._backup.remove(numbers)
        return True

    async def _asked(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """Return what the backup answers, None if it fails; log once when it begins to fail."""
        try:
            answer = await ask()
        except Exception as error:  # noqa: BLE001 - an outage has many faces
            why = _why(error)
            if why != self._backup_failure:
                self._backup_failure = why
                logger.warning("The backup database (BACKUP_DB_URL) cannot be used: {}", why)
            return None
        if self._backup_failure:
            self._backup_failure = ""
            logger.info("The backup database (BACKUP_DB_URL) can be used again.")
        return answer

    def _store_works(self) -> None:
        self._failing_since = None
        if self.uses_backup:
            self.uses_backup = False
            logger.info("Usage records go to the database again, not to the backup.")


async def store_readable(
    offer: Callable[[Sequence[bytes]], Awaitable[None]], facts: Sequence[bytes], rejected: RejectedRecords
) -> None:
    """Store the facts with `offer`, and set aside those that it rejects."""
    try:
        await offer(facts)
        return
    except RecordsRejected as refusal:
        if len(facts) == 1:
            rejected.add("database", str(refusal), facts[0])
            return
    half = len(facts) // 2
    await store_readable(offer, facts[:half], rejected)
    await store_readable(offer, facts[half:], rejected)


def _why(error: Exception) -> str:
    # Only the type of a foreign exception is logged: its text may hold a password.
    return error.message if isinstance(error, StoreUnavailable) else type(error).__name__
