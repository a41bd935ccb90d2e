"""Old rows are added up, and rows that are too old are deleted, by the worker that ships usage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_gateway.app.upkeep import UsageUpkeep
from llm_gateway.flow.ports.sessions import Session, StoredSession
from llm_gateway.flow.ports.telemetry import EventFilter
from llm_gateway.flow.ports.usage import SummaryQuery, UsageFilter
from llm_gateway.infra.database.sessions import SessionRepository
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import event, record

DAY = 86_400_000_000


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[Store]:
    async with opened(None, data_dir, start=False) as store:
        yield store


def upkeep(store: Store, *, elected: bool = True, **days: int) -> UsageUpkeep:
    wiring: Any = SimpleNamespace(
        storage=SimpleNamespace(engine=store.engine, sessions=SessionRepository(store.engine)),
        clock=store.clock,
        shipper=SimpleNamespace(elected=elected),
    )
    return UsageUpkeep(wiring, **{"row_days": 0, "rollup_days": 0, **days}, interval=0.01)


async def put(store: Store, *ages: int) -> None:
    now = store.clock.unix_us()
    facts = [record(f"age-{age}", created_at=now - age * DAY) for age in ages]
    await store.usage.upsert([to_line(fact) for fact in facts])


async def left(store: Store) -> set[str]:
    return {one.request_id for one in await store.usage.list(UsageFilter(), None, 99)}


async def test_rows_and_rollups_are_deleted_after_their_own_days(store: Store) -> None:
    await put(store, 1, 10, 40)
    await upkeep(store).work()
    assert await left(store) == {"age-1", "age-10", "age-40"}
    await upkeep(store, row_days=5, rollup_days=30).work()
    assert await left(store) == {"age-1"}
    assert (await store.usage.summarize(SummaryQuery())).total.counts[0] == 2


async def test_events_are_deleted_with_rows_of_their_age(store: Store) -> None:
    now = store.clock.unix_us()
    told = [event(f"age-{age}", created_at=now - age * DAY) for age in (1, 10)]
    await store.usage.upsert([to_line(one) for one in told])
    await upkeep(store).work()
    assert len(await store.events.list(EventFilter(), None, 9)) == 2
    await upkeep(store, row_days=5).work()
    assert [one.event_id for one in await store.events.list(EventFilter(), None, 9)] == ["age-1"]


async def test_expired_sessions_are_deleted(store: Store) -> None:
    now, sessions = store.clock.unix_us(), SessionRepository(store.engine)
    for number, expires_at in enumerate((now - 1, now + DAY)):
        session = Session(
            id=f"s{number}",
            role="admin",
            created_at=now - DAY,
            last_seen_at=now - DAY,
            expires_at=expires_at,
            client_ip=None,
        )
        token = b"token %d" % number
        await sessions.add(StoredSession(session=session, token_hash=token, key_fingerprint=b"key"))
    await upkeep(store).work()
    assert await store.sql("SELECT id FROM console_sessions") == [("s1",)]


async def test_rows_are_added_up_before_they_are_deleted(store: Store) -> None:
    old = record("old", created_at=store.clock.unix_us() - 10 * DAY)
    await UsageRepository(store.engine).upsert([to_line(old)])
    await store.sql(f"UPDATE usage_rollup_state SET missing_before = {store.clock.unix_us()}")
    await upkeep(store, row_days=5).work()
    assert await left(store) == set()
    summary = await store.usage.summarize(SummaryQuery())
    assert (summary.total.counts[0], summary.is_complete) == (1, True)


@pytest.mark.parametrize(("elected", "expected"), [(True, set()), (False, {"age-10"})])
async def test_only_the_worker_that_ships_works(store: Store, elected: bool, expected: set[str]) -> None:
    await put(store, 10)
    task = asyncio.create_task(upkeep(store, elected=elected, row_days=5).run())
    for _ in range(100):
        await asyncio.sleep(0.01)
        if await left(store) == set():
            break
    task.cancel()
    assert await left(store) == expected


async def test_a_database_that_is_away_is_tried_again(store: Store) -> None:
    await put(store, 10)
    await store.sql("ALTER TABLE usage_rollup_state RENAME TO away")
    task = asyncio.create_task(upkeep(store, row_days=5).run())
    await asyncio.sleep(0.1)
    assert not task.done()
    await store.sql("ALTER TABLE away RENAME TO usage_rollup_state")
    for _ in range(200):
        await asyncio.sleep(0.01)
        if await left(store) == set():
            break
    task.cancel()
    assert await left(store) == set()
