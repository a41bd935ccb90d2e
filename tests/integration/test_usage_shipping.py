"""From the journals of several workers into the real usage table, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.request_ids import RequestIds
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import attempt, record

MB = 1024 * 1024


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


async def outcomes(store: Store) -> dict[str, str]:
    return {row.request_id: row.outcome for row in await store.usage.list(UsageFilter(), None, 100_000)}


async def test_every_workers_facts_are_listed_after_a_flush(store: Store, data_dir: Path) -> None:
    folder, new_id, clock = data_dir / "journal", RequestIds(), SystemClock()
    journals = [FileJournal(folder, 64 * MB, clock) for _ in range(3)]
    shippers = [Shipper(folder, store.usage, clock) for _ in range(3)]
    for shipper in shippers:
        shipper.start()
    expected: dict[str, str] = {}
    for number in range(3000):
        request_id = new_id()
        journal = journals[number % 3]
        journal.begin(attempt(request_id))
        if number % 100 < 99:
            journal.end(record(request_id, client_request_id="nul\0 and half \ud800", total_tokens=2**70))
            expected[request_id] = "ok"
        elif number % 3 == 1:
            expected[request_id] = "interrupted"
    assert all(await asyncio.gather(*(shipper.flush(20) for shipper in shippers)))
    ok = {key for key, outcome in expected.items() if outcome == "ok"}
    assert await outcomes(store) == dict.fromkeys(ok, "ok")
    # One worker dies: what it had open is closed for it, while the others go on.
    journals[1].close()
    assert await shippers[2].flush(20)
    assert await outcomes(store) == expected
    for shipper in shippers:
        await shipper.drain(20)
    journals[0].close()
    journals[2].close()


async def test_facts_wait_while_the_table_is_away(store: Store, data_dir: Path) -> None:
    folder, clock = data_dir / "journal", SystemClock()
    journal, shipper = FileJournal(folder, 64 * MB, clock), Shipper(folder, store.usage, clock)
    shipper.start()
    await store.sql("ALTER TABLE usage RENAME TO away")
    journal.end(record("a"))
    assert not await shipper.flush(0.3)
    assert shipper.backlog_bytes > 0
    await store.sql("ALTER TABLE away RENAME TO usage")
    assert await shipper.flush(20)
    assert await outcomes(store) == {"a": "ok"}
    journal.close()
    assert await shipper.drain(20)
