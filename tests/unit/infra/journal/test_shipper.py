"""The shipper stores every fact once, whatever dies, fails, or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.reader import JournalReader
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import InMemoryUsageStore, attempt, failed_attempt, record

MB = 1024 * 1024


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of all sorts, most of them on disk
            await asyncio.sleep(0.005)


async def test_what_ended_is_stored_while_its_process_lives(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    journal.begin(attempt("a"))
    journal.end(record("a"))
    journal.begin(attempt("open"))
    assert await shipper.flush()
    assert store.rows == {"a": record("a")}
    journal.end(record("open", outcome="aborted"))
    assert await shipper.flush()
    assert store.rows["open"].outcome == "aborted"
    assert shipper.shipped == 2
    assert shipper.backlog_bytes == 0


async def test_facts_are_shipped_unasked(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    journal.end(record("a"))
    await until(lambda: "a" in store.rows)


async def test_failed_attempts_are_shipped_at_once(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    journal.begin(attempt("a"))
    journal.attempt_ended(failed_attempt("a"))
    assert await shipper.flush()
    assert store.attempts == {("a", 1): failed_attempt("a")}
    assert store.rows == {}
    journal.begin(attempt("a", attempts=2))
    journal.end(record("a", attempts=2))
    assert await shipper.flush()
    assert {key: row.outcome for key, row in store.attempts.items()} == {("a", 1): "error", ("a", 2): "ok"}
    assert shipper.rejected == 0


async def test_a_dead_process_found_at_start_is_shipped(
    journal: FileJournal, folder: Path, store: InMemoryUsageStore
) -> None:
    journal.begin(attempt("a"))
    journal.end(record("a"))
    journal.begin(attempt("b"))
    journal.close()
    shipper = Shipper(folder, store, SystemClock())
    shipper.start()
    assert await shipper.drain(5)
    assert {key: row.outcome for key, row in store.rows.items()} == {"a": "ok", "b": "interrupted"}


async def test_a_database_that_is_away_only_makes_the_journal_grow(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, said: list[str]
) -> None:
    store.down = True
    journal.end(record("a"))
    assert not await shipper.flush(0.15)
    journal.end(record("b"))
    await until(lambda: len(store.calls) >= 3)
    assert shipper.backlog_bytes >= len(to_line(record("a")))
    assert store.rows == {}
    store.down = False
    assert await shipper.flush(10)
    assert store.rows.keys() == {"a", "b"}
    assert shipper.backlog_bytes == 0
    assert len([line for line in said if "does not store usage records; they wait in" in line]) == 1
    assert len([line for line in said if "stores usage records again" in line]) == 1
    assert not any("hunter2" in line for line in said)


async def test_a_poison_record_does_not_stop_the_others(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    store.refuses = lambda one: getattr(one, "model", None) == "poison"
    for number in range(100):
        journal.end(record(str(number), model="poison" if number in {13, 77} else "m"))
    assert await shipper.flush()
    assert len(store.rows) == 98
    assert shipper.rejected == 2
    assert (folder / "rejected.jsonl").read_text().count("poison") == 2
    assert len(store.calls) < 40


async def test_two_shippers_elect_one_and_the_other_takes_over(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    shippers = [Shipper(folder, store, SystemClock()) for _ in range(2)]
    for shipper in shippers:
        shipper.start()
    journal.end(record("a"))
    # Each of them can wait for a flush, whoever does it.
    assert await asyncio.gather(*(shipper.flush() for shipper in shippers)) == [True, True]
    assert sorted(shipper.elected for shipper in shippers) == [False, True]
    first, second = sorted(shippers, key=lambda shipper: not shipper.elected)
    assert (first.shipped, second.shipped) == (1, 0)
    assert await first.drain(5)
    journal.end(record("b"))
    assert await second.flush()
    assert second.elected
    assert store.rows.keys() == {"a", "b"}
    assert second.shipped == 1
    await second.drain(0)


async def test_it_goes_on_after_an_unforeseen_failure(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = JournalReader.collect
    failures = iter([OSError("disk"), ValueError("bug")])

    async def fail(reader: JournalReader, limit: int) -> Any:
        for failure in failures:
            raise failure
        return await collect(reader, limit)

    monkeypatch.setattr(JournalReader, "collect", fail)
    journal.end(record("a"))
    shipper = Shipper(folder, store, SystemClock(), max_backoff=0.01)
    shipper.start()
    assert await shipper.flush()
    await shipper.drain(0)
    assert store.rows.keys() == {"a"}


async def test_batches_are_bounded(folder: Path, journal: FileJournal, store: InMemoryUsageStore) -> None:
    shipper = Shipper(folder, store, SystemClock(), batch=100)
    shipper.start()
    for number in range(300):
        journal.begin(attempt(f"open {number}"))
        journal.end(record(str(number)))
    journal.close()
    assert await shipper.flush(20)
    assert len(store.rows) == 600
    assert max(store.calls) <= 100
    await shipper.drain(0)


async def test_a_flush_before_anything_was_written_is_done(tmp_path: Path, store: InMemoryUsageStore) -> None:
    assert await Shipper(tmp_path / "nowhere", store, SystemClock()).flush()


async def test_a_flush_that_nobody_serves_ends_in_time(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    journal.end(record("a"))
    assert not await Shipper(folder, store, SystemClock()).flush(0.03)


async def test_a_drain_does_not_wait_for_a_store_that_hangs(folder: Path, journal: FileJournal) -> None:
    class Hanging(InMemoryUsageStore):
        async def upsert(self, records: Any) -> None:
            await asyncio.Event().wait()

    journal.end(record("a"))
    shipper = Shipper(folder, Hanging(), SystemClock())
    shipper.start()
    assert not await shipper.drain(0.1)
    assert not shipper.elected
