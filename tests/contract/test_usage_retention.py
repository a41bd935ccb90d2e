"""Old rows and rollups are deleted in small steps, and shipping goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from llm_gateway.flow.ports.usage import InexactRange, SummaryQuery, UsageFilter
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.usage.rebuilding import RollupBuilder
from llm_gateway.infra.database.usage.retention import UsageRetention
from tests.fakes.rollups import MINUTE, START, fact, put, same
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


async def test_old_rows_are_deleted_with_their_attempts_and_rollups_stay(store: Store) -> None:
    facts = [fact(f"id-{number:04}", number, attempts=1) for number in range(700)]
    await put(store, *facts)
    before = await store.usage.summarize(SummaryQuery(group_by=("model",), unit="hour"))
    retention = UsageRetention(store.engine, SystemClock())
    cut = START + 450 * MINUTE
    assert await retention.delete_rows(cut, 60.0) == 450
    assert await retention.delete_rows(cut, 60.0) == 0
    left = await store.usage.list(UsageFilter(), None, 9999)
    assert sorted(one.request_id for one in left) == [one.request_id for one in facts[450:]]
    assert await store.sql("SELECT count(*) FROM usage_attempts") == [(250,)]
    after = await store.usage.summarize(SummaryQuery(group_by=("model",), unit="hour"))
    assert [(one.period, one.totals.counts) for one in after.groups] == [
        (one.period, one.totals.counts) for one in before.groups
    ]
    # What only the rows knew is gone, and a rebuild does not take the rollups with it.
    with pytest.raises(InexactRange) as error:
        await store.usage.summarize(SummaryQuery(since=START + 7 * MINUTE))
    assert error.value.start == START
    rebuilt = await RollupBuilder(store.engine).rebuild(START)
    assert (rebuilt.rows, rebuilt.kept_hours) == (700 - 480, 8)
    assert same((await store.usage.summarize(SummaryQuery())).total, before.total)
    await put(store, fact("next day", 1440), fact("in two days", 2881))
    # Whole days only.
    assert await retention.delete_rollups(START + 1439 * MINUTE, 60.0) == 0
    assert await retention.delete_rollups(START + 2881 * MINUTE, 60.0) == 12 + 47 + 1 + 3
    assert (await store.usage.summarize(SummaryQuery())).total.counts[0] == 1


async def test_a_run_ends_when_its_time_is_up_and_goes_on_next_time(store: Store) -> None:
    class TickingClock(SystemClock):
        now = 0.0

        def monotonic(self) -> float:
            self.now += 0.01
            return self.now

    await put(store, *(fact(f"id-{number:04}", number) for number in range(900)))
    retention = UsageRetention(store.engine, TickingClock())
    deleted = await retention.delete_rows(START + 10_000 * MINUTE, 0.03)
    assert 0 < deleted < 900
    assert deleted + await retention.delete_rows(START + 10_000 * MINUTE, 60.0) == 900


async def test_rows_are_shipped_while_others_are_deleted(store: Store) -> None:
    await put(store, *(fact(f"old-{number:04}", number) for number in range(600)))
    retention = UsageRetention(store.engine, SystemClock())

    async def ship() -> None:
        for number in range(20):
            await put(store, fact(f"new-{number:04}", 5000 + number))

    deleted, _ = await asyncio.gather(retention.delete_rows(START + 1000 * MINUTE, 60.0), ship())
    assert deleted == 600
    assert len(await store.usage.list(UsageFilter(), None, 999)) == 20


async def test_one_machine_deletes_at_a_time(postgres_url: str, data_dir: Path) -> None:
    async with opened(postgres_url, data_dir, start=False) as store:
        await put(store, fact("a"))
        retention = UsageRetention(store.engine, SystemClock())
        async with store.engine.begin() as connection:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(7526181118341923)"))
            assert await retention.delete_rows(START + MINUTE, 5.0) == 0
        assert await retention.delete_rows(START + MINUTE, 5.0) == 1
