"""Programs that tests start and kill: one writes a journal as a busy worker does, one ships it to SQLite.

Run as `python -m tests.fakes.journal_programs write|ship FOLDER [DATABASE]`, or
`... back-up FOLDER URL BACKUP`, which ships to the database at URL, and to the SQLite file BACKUP while that is away.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import SqliteAddress, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine
from llm_gateway.infra.database.usage.backup import DatabaseUsageBackup
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.database.usage.rollups import RollupPosting
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.sockets.write_batch import ALWAYS, make_write_batch
from tests.fakes.usage_records import attempt, event, record

# So small that files change every few hundred requests.
MAX_BYTES = 16 * 1024 * 1024


class SqliteStore:
    """A `UsageStore` whose rows and events outlive its process."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("CREATE TABLE IF NOT EXISTS usage (id TEXT PRIMARY KEY, record BLOB)")
        self.database.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, event BLOB)")

    async def upsert(self, facts: Sequence[bytes]) -> None:
        decode = msgspec.json.Decoder(UsageRecord | TelemetryEvent).decode
        read = [(decode(fact), fact) for fact in facts]
        rows = [(one.request_id, fact) for one, fact in read if isinstance(one, UsageRecord)]
        events = [(one.event_id, fact) for one, fact in read if isinstance(one, TelemetryEvent)]
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT OR IGNORE INTO usage VALUES (?, ?)", rows)
        self.database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?)", events)
        self.database.execute("COMMIT")
        await asyncio.sleep(0)

    def rows(self) -> dict[str, UsageRecord]:
        decode = msgspec.json.Decoder(UsageRecord).decode
        return {key: decode(raw) for key, raw in self.database.execute("SELECT id, record FROM usage")}

    def events(self) -> dict[str, TelemetryEvent]:
        decode = msgspec.json.Decoder(TelemetryEvent).decode
        return {key: decode(raw) for key, raw in self.database.execute("SELECT id, event FROM events")}


def write(folder: Path) -> None:
    """Begin and end requests, some of them long, and take events, until killed.

    Standard output says what the world saw: `B id` = an upstream was called, `E id` = a client had its reply, and
    `V id` = a client heard that its event was taken.
    """
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(folder, MAX_BYTES, SystemClock(), batch=batch, reaches_clients=True)
    new_id = RequestIds()
    long_ones: list[str] = []
    os.write(1, b"ready\n")
    while True:
        request_id = new_id()
        if request_id[-1] in "02468":
            journal.begin(attempt(request_id))
        else:
            journal.begin_with_writes(attempt(request_id))
        if request_id[-1] == "0":
            journal.begin(attempt(request_id, attempts=2))
        batch.make()
        os.write(1, b"B %b\n" % request_id.encode())
        if request_id[-1] in "0123":
            long_ones.append(request_id)
            if len(long_ones) < 50:
                continue
            request_id = long_ones.pop(0)
        if request_id[-1] in "0189":
            journal.end(record(request_id))
        else:
            journal.end_with_writes(record(request_id))
            batch.make()
        os.write(1, b"E %b\n" % request_id.encode())
        journal.event(event(request_id, attributes={"n": [request_id]}))
        os.write(1, b"V %b\n" % request_id.encode())


async def ship(folder: Path, database: Path) -> None:
    """Ship until killed."""
    shipper = Shipper(folder, SqliteStore(database), SystemClock())
    shipper.start()
    os.write(1, b"ready\n")
    await asyncio.Event().wait()


async def back_up(folder: Path, url: str, backup: Path) -> None:
    """Ship until killed, to the backup while the database is away."""
    async with backed_up_shipper(folder, url, backup) as shipper:
        shipper.start()
        os.write(1, b"ready\n")
        await asyncio.Event().wait()


@asynccontextmanager
async def backed_up_shipper(folder: Path, url: str, backup: Path) -> AsyncIterator[Shipper]:
    """Return a shipper with a backup, whose times are short."""
    second = SqliteAddress(path=backup)
    engine = make_engine(read_address(url), command_timeout=2.0, connect_timeout=1.0)
    backup_engine = make_engine(second)
    try:
        yield Shipper(
            folder,
            UsageRepository(engine, [RollupPosting()]),
            SystemClock(),
            batch=100,
            max_backoff=0.1,
            backup=DatabaseUsageBackup(backup_engine, second, "id", "machine", SystemClock()),
            patience=0.05,
            move_seconds=0.02,
            look_seconds=0.05,
        )
    finally:
        await close_engine(engine)
        await close_engine(backup_engine)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    elif sys.argv[1] == "back-up":
        asyncio.run(back_up(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
    else:
        asyncio.run(ship(Path(sys.argv[2]), Path(sys.argv[3])))
