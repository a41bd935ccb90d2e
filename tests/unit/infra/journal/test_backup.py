"""While the database fails, records go to the backup, and from there into the database, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from llm_gateway.flow.ports.ledger import BackedUpFact, RecordsRejected
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.backup import store_readable
from llm_gateway.infra.journal.rejected import RejectedRecords
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.status import ShippingStatus, read_status, write_status
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import (
    InMemoryUsageBackup,
    InMemoryUsageStore,
    attempt,
    failed_attempt,
    record,
)

TIMES: dict[str, Any] = {
    "patience": 0.3,
    "move_seconds": 0.05,
    "look_seconds": 0.05,
    "outage_after": 0.1,
    "max_backoff": 0.2,
}


@pytest.fixture
def backup() -> InMemoryUsageBackup:
    return InMemoryUsageBackup()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


@pytest.fixture
async def shipper(
    folder: Path, store: InMemoryUsageStore, backup: InMemoryUsageBackup
) -> AsyncIterator[Shipper]:
    shipper = Shipper(folder, store, SystemClock(), backup=backup, batch=50, **TIMES)
    shipper.start()
    yield shipper
    await shipper.drain(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of all sorts
            await asyncio.sleep(0.005)


async def test_a_short_failure_does_not_reach_the_backup(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, backup: InMemoryUsageBackup
) -> None:
    store.down = True
    journal.end(record("a"))
    await until(lambda: len(store.calls) >= 1)
    store.down = False
    assert await shipper.flush(10)
    assert store.rows.keys() == {"a"}
    assert backup.added == 0


async def test_records_go_to_the_backup_and_come_back(
    shipper: Shipper,
    journal: FileJournal,
    store: InMemoryUsageStore,
    backup: InMemoryUsageBackup,
    folder: Path,
    said: list[str],
) -> None:
    store.down = True
    for number in range(300):
        journal.begin(attempt(str(number)))
        journal.attempt_ended(failed_attempt(str(number), detail="its own"))
        journal.end(record(str(number)))
    await until(lambda: len(backup.lines) == 600)
    await until(lambda: read_status(folder).store == "backup")
    assert read_status(folder).backup_holds
    # They are stored, but not where a reader of the database finds them.
    assert shipper.backlog_bytes == 0
    assert not await shipper.flush(0.1)
    assert store.rows == {}
    store.down = False
    assert await shipper.flush(10)
    assert len(store.rows) == 300
    assert {one.detail for one in store.attempts.values()} == {"its own"}
    assert backup.lines == {}
    await until(lambda: read_status(folder).store == "primary")
    journal.end(record("later"))
    assert await shipper.flush(10)
    assert "later" in store.rows
    assert backup.added == 600
    assert len([line for line in said if "go to the backup database" in line]) == 1
    assert len([line for line in said if "go to the database again" in line]) == 1
    assert not any("hunter2" in line for line in said)


async def test_what_came_while_records_move_back_follows_them(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, backup: InMemoryUsageBackup
) -> None:
    store.down = True
    for number in range(200):
        journal.attempt_ended(failed_attempt(str(number), detail="its own"))
    await until(lambda: len(backup.lines) == 200)
    for number in range(200):
        journal.end(record(str(number)))
    store.down = False
    assert await shipper.flush(10)
    # The attempts' own facts took precedence over what their requests' records say of them.
    assert {one.detail for one in store.attempts.values()} == {"its own"}


async def test_with_both_away_the_journal_keeps_all(
    shipper: Shipper,
    journal: FileJournal,
    store: InMemoryUsageStore,
    backup: InMemoryUsageBackup,
    folder: Path,
    said: list[str],
) -> None:
    store.down = backup.down = True
    for number in range(20):
        journal.end(record(str(number)))
    await until(lambda: read_status(folder).store == "none")
    assert shipper.backlog_bytes > 0
    backup.down = False
    await until(lambda: len(backup.lines) == 20)
    backup.down = True
    # Once that is noticed, no attempt to move records is under way that may still end in the database.
    await until(lambda: sum("cannot be used" in line for line in said) == 2)
    # The backup goes away, too, and the database comes back first: new records go there, the others follow.
    store.down = False
    journal.end(record("new"))
    await until(lambda: "new" in store.rows)
    assert len(store.rows) == 1
    backup.down = False
    await until(lambda: len(store.rows) == 21 and not backup.lines)
    assert any("The backup database (BACKUP_DB_URL) cannot be used" in line for line in said)
    assert any("The backup database (BACKUP_DB_URL) can be used again" in line for line in said)
    assert not any("hunter2" in line for line in said)


async def test_what_the_database_rejects_is_set_aside_when_it_moves_back(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, backup: InMemoryUsageBackup
) -> None:
    store.refuses = lambda one: getattr(one, "model", None) == "poison"
    store.down = True
    for number in range(20):
        journal.end(record(str(number), model="poison" if number == 7 else "m"))
    await until(lambda: len(backup.lines) == 20)
    store.down = False
    assert await shipper.flush(10)
    assert len(store.rows) == 19
    assert shipper.rejected == 1


async def test_a_shipper_moves_what_an_earlier_one_has_left(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, backup: InMemoryUsageBackup
) -> None:
    first = Shipper(folder, store, SystemClock(), backup=backup, **TIMES)
    first.start()
    store.down = True
    journal.end(record("a"))
    await until(lambda: len(backup.lines) == 1)
    assert first.status.store != "none"
    assert await first.drain(1)
    # A kill after its move and before the removal: it comes again.
    line = backup.lines[1]
    store.down = False
    await store.upsert([line])
    second = Shipper(folder, store, SystemClock(), backup=backup, **TIMES)
    # Before anyone looked, it is known that the backup holds something.
    assert not await second.flush(0.05)
    second.start()
    assert await second.flush(10)
    assert store.rows.keys() == {"a"}
    assert backup.lines == {}
    await second.drain(0)


@pytest.mark.parametrize("looks", [0, 1])
async def test_a_backup_that_hangs_does_not_stop_the_database(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, looks: int
) -> None:
    class Hanging(InMemoryUsageBackup):
        looks = 0

        async def oldest(self, limit: int) -> list[BackedUpFact]:
            self.looks += 1
            if self.looks > looks:
                await asyncio.Event().wait()
            return await super().oldest(limit)

    hanging = Hanging()
    shipper = Shipper(folder, store, SystemClock(), backup=hanging, **TIMES)
    shipper.start()
    await until(lambda: hanging.looks == looks + 1)
    journal.end(record("a"))
    assert await shipper.flush(10)
    assert store.rows.keys() == {"a"}
    await shipper.drain(1)


async def test_a_backup_that_is_no_longer_set_is_missed(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, said: list[str]
) -> None:
    journal.end(record("a"))
    write_status(folder, ShippingStatus(store="backup", backup_holds=True))
    shipper = Shipper(folder, store, SystemClock())
    shipper.start()
    await until(lambda: not read_status(folder).backup_holds)
    assert await shipper.flush(10)
    assert len([line for line in said if "Set BACKUP_DB_URL again" in line]) == 1
    await shipper.drain(1)


async def test_what_a_machine_that_is_gone_left_goes_to_the_store_for_others(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, backup: InMemoryUsageBackup
) -> None:
    others = InMemoryUsageStore()
    await backup.add([to_line(record("gone")), to_line(record("own"))])
    backup.left.add(1)
    shipper = Shipper(folder, store, SystemClock(), backup=backup, others=others, **TIMES)
    shipper.start()
    await until(lambda: not backup.lines)
    assert store.rows.keys() == {"own"}
    assert others.rows.keys() == {"gone"}
    await shipper.drain(1)


async def test_poison_is_found_by_halves(tmp_path: Path) -> None:
    calls: list[int] = []

    async def offer(facts: Sequence[bytes]) -> None:
        calls.append(len(facts))
        if b"poison" in facts:
            raise RecordsRejected("no")

    rejected = RejectedRecords(tmp_path / "rejected")
    await store_readable(offer, [b"a"] * 7 + [b"poison"] + [b"b"] * 8, rejected)
    assert calls == [16, 8, 4, 4, 2, 2, 1, 1, 8]
    assert rejected.count == 1
