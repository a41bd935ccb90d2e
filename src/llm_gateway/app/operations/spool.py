"""What waits for a database: shown to an operator, and shipped by hand, while the gateway runs or is stopped."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path
from typing import Literal

import msgspec

from llm_gateway.app.data_folder import JOURNAL
from llm_gateway.app.keys import find_keys, store_address
from llm_gateway.app.operations.preparing import prepare
from llm_gateway.app.storage import backup_address, open_storage
from llm_gateway.core.errors import GatewayError
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import SqliteAddress, StoreAddress
from llm_gateway.infra.database.engine import close_engine, make_engine
from llm_gateway.infra.database.folders import DatabaseFolders
from llm_gateway.infra.database.usage.backup import DatabaseUsageBackup
from llm_gateway.infra.journal import files
from llm_gateway.infra.journal.leftovers import SHIPPER_LOCK
from llm_gateway.infra.journal.positions import Positions
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.status import read_status
from llm_gateway.infra.journal.waiting import Waiting, count_waiting
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings


class ProcessJournal(msgspec.Struct):
    """What waits in the files of one process."""

    process: str
    is_running: bool
    waiting: Waiting


class DatabaseJournal(msgspec.Struct):
    """What waits for one database."""

    # Host, port and name, or a path; and the database's id.
    database: str
    id: str
    folder: str
    # Whether DB_URL names it.
    is_current: bool
    # Whether a running gateway ships it, and where the records go then.
    is_shipped: bool
    store: Literal["primary", "backup", "none"] | None
    csv_copy: str | None
    # Records that no database can take: `rejected.jsonl` in `folder` has them, and why.
    rejected: int
    processes: list[ProcessJournal]


class BackupContents(msgspec.Struct):
    """What waits in the backup database for the one that DB_URL names; None = it does not answer, for `problem`."""

    database: str
    records: int | None
    problem: str | None = None


class Spool(msgspec.Struct):
    """All usage records that wait."""

    databases: list[DatabaseJournal]
    # None without BACKUP_DB_URL.
    backup: BackupContents | None


async def show_spool(settings: Settings) -> Spool:
    """Read what waits, changing nothing; raise StartupError."""
    folders = DatabaseFolders(settings.data_dir)
    address = store_address(settings)
    current = folders.recall(address)
    found = [
        _database(folder, name, is_current=folder.name == current) for folder, name in folders.names().items()
    ]
    second = backup_address(settings)
    contents = None if second is None else await _contents(second, current or address.shown)
    return Spool(found, contents)


async def ship_spool(settings: Settings, timeout: float) -> bool:
    """Ship what waits for the database of DB_URL; return whether it has all of it. Raises StartupError, GatewayError.

    A running gateway goes on shipping, and this waits for it: only one process ships a journal. What the backup
    holds of this machine is moved as well.
    """
    await prepare(settings)
    clock = SystemClock()
    deadline = clock.monotonic() + timeout
    async with open_storage(settings, find_keys(settings), clock) as storage:
        shipper = Shipper(
            storage.folder / JOURNAL,
            storage.usage,
            clock,
            is_synced=settings.usage_fsync != "never",
            backup=storage.usage_backup,
            others=storage.usage_of_others,
            # To the database, and nowhere else.
            patience=math.inf,
        )
        shipper.start()
        try:
            is_shipped = await shipper.flush(timeout)
            backup = storage.usage_backup
            while is_shipped and backup is not None and await backup.oldest(1):
                if clock.monotonic() >= deadline:
                    return False
                await asyncio.sleep(0.1)
            return is_shipped
        finally:
            await shipper.drain(0)


def _database(folder: Path, name: str, *, is_current: bool) -> DatabaseJournal:
    journal = folder / JOURNAL
    try:
        is_shipped = _is_shipped(journal)
        processes = [
            ProcessJournal(incarnation, is_running, waiting)
            for incarnation, waiting in _count(journal).items()
            # Of a process that ended, the last file may be deleted just now.
            if (is_running := not files.is_dead(journal, incarnation)) or waiting.files
        ]
        rejected = sum(_lines(path) for path in journal.glob("rejected*.jsonl"))
    except OSError as error:
        raise StartupError(
            f"Cannot read {journal} ({error.strerror or type(error).__name__}): run the command as the gateway's user"
        ) from None
    status = read_status(journal)
    return DatabaseJournal(
        database=name,
        id=folder.name,
        folder=str(journal),
        is_current=is_current,
        is_shipped=is_shipped,
        store=status.store if is_shipped else None,
        csv_copy=status.csv_copy,
        rejected=rejected,
        processes=processes,
    )


def _count(journal: Path) -> dict[str, Waiting]:
    return count_waiting(journal, Positions(journal).read()) if journal.is_dir() else {}


def _is_shipped(journal: Path) -> bool:
    lock = files.try_lock(journal / SHIPPER_LOCK) if (journal / SHIPPER_LOCK).exists() else -1
    if lock is not None and lock >= 0:
        os.close(lock)
    return lock is None


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


async def _contents(address: StoreAddress, database_id: str) -> BackupContents:
    if isinstance(address, SqliteAddress) and not address.path.exists():
        # A look at the backup does not create its file.
        return BackupContents(address.shown, 0)
    engine = make_engine(address)
    try:
        backup = DatabaseUsageBackup(engine, address, database_id, "", SystemClock(), creates=False)
        return BackupContents(address.shown, await backup.count())
    except GatewayError as error:
        return BackupContents(address.shown, None, error.message)
    finally:
        await close_engine(engine)
