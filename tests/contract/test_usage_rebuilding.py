"""Rollups are made again from the rows, and shipping loses and doubles nothing meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.flow.ports.usage import SummaryQuery
from llm_gateway.infra.database.usage.rebuilding import DAY, HOUR, RollupBuilder
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.json_lines import to_line
from tests.fakes.rollups import MINUTE, START, check_rollups, fact, put
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


async def test_rows_from_before_rollups_are_added_up_day_by_day(store: Store) -> None:
    old = UsageRepository(store.engine)
    facts = [fact(f"id-{number}", number * 300) for number in range(20)]
    await old.upsert([to_line(one) for one in facts])
    before = START + 10 * 300 * MINUTE
    await store.sql(f"UPDATE usage_rollup_state SET missing_before = {moment(store, before)}")
    builder = RollupBuilder(store.engine)
    assert await builder.missing_before() == before
    # Rows after that time have been posted; here they are added by hand.
    await store.usage.upsert([to_line(fact("new", 301 * 20))])
    summary = await store.usage.summarize(SummaryQuery())
    assert not summary.is_complete
    assert (await store.usage.summarize(SummaryQuery(since=before))).is_complete
    hours = 0
    while await builder.add_missing_hour():
        hours += 1
    assert hours == len({one.created_at // HOUR for one in facts if one.created_at < before})
    assert await builder.missing_before() is None
    for day in {one.created_at // DAY * DAY for one in facts}:
        assert (await builder.rebuild(day)).rows
    await check_rollups(store)
    assert (await store.usage.summarize(SummaryQuery())).is_complete


async def test_a_rebuild_while_rows_are_shipped_loses_and_doubles_nothing(store: Store) -> None:
    facts = [fact(f"id-{number:03}", number % 600) for number in range(300)]
    builder = RollupBuilder(store.engine)

    async def ship() -> None:
        for start in range(0, 300, 20):
            await put(store, *facts[start : start + 20])

    async def rebuild() -> None:
        for _ in range(8):
            await builder.rebuild(START // DAY * DAY)
            await asyncio.sleep(0.01)

    await asyncio.gather(ship(), rebuild(), rebuild())
    await check_rollups(store)


def moment(store: Store, unix_us: int) -> str:
    return f"to_timestamp({unix_us} / 1e6)" if store.is_postgres else str(unix_us)


async def test_rows_that_were_changed_by_hand_are_added_up_again(store: Store) -> None:
    facts = [fact(f"id-{number}", number * 7, model="ab"[number % 2]) for number in range(60)]
    await put(store, *facts)
    await store.sql("UPDATE usage SET model = 'c', cost_nano_usd = 70, ttft_ms = NULL WHERE model = 'a'")
    rebuilt = await RollupBuilder(store.engine).rebuild(START)
    assert (rebuilt.rows, rebuilt.kept_hours) == (60, 0)
    await check_rollups(store)
    summary = await store.usage.summarize(SummaryQuery(group_by=("model",)))
    assert [group.values for group in summary.groups] == [("b",), ("c",)]
