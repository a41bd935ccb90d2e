"""Programs that tests start and kill: one writes a journal as a busy worker does, one ships it to SQLite.

Run as `python -m tests.fakes.journal_programs write|ship FOLDER [DATABASE]`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.request_ids import RequestIds
from tests.fakes.usage_records import attempt, record

# So small that files change every few hundred requests.
MAX_BYTES = 16 * 1024 * 1024


class SqliteStore:
    """A `UsageStore` whose rows outlive its process."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.execute("CREATE TABLE IF NOT EXISTS usage (id TEXT PRIMARY KEY, record BLOB)")

    async def upsert(self, facts: Sequence[bytes]) -> None:
        decode = msgspec.json.Decoder(UsageRecord).decode
        rows = [(decode(fact).request_id, fact) for fact in facts]
        self.database.execute("BEGIN IMMEDIATE")
        self.database.executemany("INSERT OR IGNORE INTO usage VALUES (?, ?)", rows)
        self.database.execute("COMMIT")
        await asyncio.sleep(0)

    def rows(self) -> dict[str, UsageRecord]:
        decode = msgspec.json.Decoder(UsageRecord).decode
        return {key: decode(raw) for key, raw in self.database.execute("SELECT id, record FROM usage")}


def write(folder: Path) -> None:
    """Begin and end requests, some of them long, until killed.

    Standard output says what the world saw: `B id` = an upstream was called, `E id` = a client had its reply.
    """
    journal = FileJournal(folder, MAX_BYTES, SystemClock())
    new_id = RequestIds()
    long_ones: list[str] = []
    os.write(1, b"ready\n")
    while True:
        request_id = new_id()
        journal.begin(attempt(request_id))
        if request_id[-1] == "0":
            journal.begin(attempt(request_id, attempts=2))
        os.write(1, b"B %b\n" % request_id.encode())
        if request_id[-1] in "0123":
            long_ones.append(request_id)
            if len(long_ones) < 50:
                continue
            request_id = long_ones.pop(0)
        journal.end(record(request_id))
        os.write(1, b"E %b\n" % request_id.encode())


async def ship(folder: Path, database: Path) -> None:
    """Ship until killed."""
    shipper = Shipper(folder, SqliteStore(database), SystemClock())
    shipper.start()
    os.write(1, b"ready\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        asyncio.run(ship(Path(sys.argv[2]), Path(sys.argv[3])))
