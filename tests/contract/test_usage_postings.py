"""Each stored usage row is posted once, with what it replaced, in the transaction that stores it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import asdict

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.database.postings import StoredChange, UsagePosting
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import failed_attempt, record


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        await store.sql("CREATE TABLE seen (request_id text, outcome text, was text)")
        yield store


class SeenRows(UsagePosting):
    """Writes down what it is told, in the same transaction; a test can make it fail."""

    def __init__(self) -> None:
        self.fails = False
        self.pause = 0.0

    async def post(self, connection: AsyncConnection, changes: Sequence[StoredChange]) -> None:
        assert changes
        await asyncio.sleep(self.pause)
        rows = [
            {
                "id": one.record.request_id,
                "outcome": one.record.outcome,
                "was": one.before and one.before.upstream_model,
            }
            for one in changes
        ]
        await connection.execute(sa.text("INSERT INTO seen VALUES (:id, :outcome, :was)"), rows)
        if self.fails:
            raise ConnectionResetError("gone")


async def seen(store: Store) -> list[tuple[Any, ...]]:
    async with store.engine.connect() as connection:
        rows = await connection.execute(sa.text("SELECT * FROM seen ORDER BY request_id, outcome, was"))
        return [tuple(row) for row in rows]


def lines(*records: UsageRecord) -> list[bytes]:
    return [to_line(one) for one in records]


def broken(request_id: str, attempts: int = 1) -> UsageRecord:
    return record(request_id, outcome="interrupted", attempts=attempts, upstream_model=f"up{attempts}")


async def test_a_row_is_posted_once_however_often_it_is_shipped(store: Store) -> None:
    usage = UsageRepository(store.engine, [SeenRows()])
    await usage.upsert(lines(record("a"), record("b")))
    await usage.upsert(lines(record("a"), record("b", outcome="error"), record("c"), record("c")))
    await usage.upsert(lines(record("a"), broken("b", 5)))
    await usage.upsert([to_line(failed_attempt("d"))])
    assert await seen(store) == [("a", "ok", None), ("b", "ok", None), ("c", "ok", None)]


async def test_a_replaced_interruption_is_posted_with_what_was_there(store: Store) -> None:
    usage = UsageRepository(store.engine, [SeenRows()])
    await usage.upsert(lines(broken("a"), broken("b"), broken("c", 2)))
    await usage.upsert(lines(record("a"), broken("b", 2), broken("c", 1), record("d"), broken("d")))
    await usage.upsert(lines(record("b"), record("a")))
    assert await seen(store) == [
        ("a", "interrupted", None),
        ("a", "ok", "up1"),
        ("b", "interrupted", "up1"),
        ("b", "interrupted", None),
        ("b", "ok", "up2"),
        ("c", "interrupted", None),
        ("d", "ok", None),
    ] or await seen(store) == [
        # PostgreSQL sorts NULL last, SQLite first.
        ("a", "interrupted", None),
        ("a", "ok", "up1"),
        ("b", "interrupted", None),
        ("b", "interrupted", "up1"),
        ("b", "ok", "up2"),
        ("c", "interrupted", None),
        ("d", "ok", None),
    ]


async def test_before_is_the_whole_stored_row(store: Store) -> None:
    told: list[StoredChange] = []

    class Told(UsagePosting):
        async def post(self, connection: AsyncConnection, changes: Sequence[StoredChange]) -> None:
            told.extend(changes)

    usage = UsageRepository(store.engine, [Told()])
    before = record(
        "a", outcome="interrupted", tags={"k": "v"}, tenant="t", cost_breakdown={"x": (1, 2)}, cost_nano_usd=2
    )
    await usage.upsert(lines(before))
    await usage.upsert(lines(record("a", model="m" * 999)))
    assert [(asdict(one.record), one.before and asdict(one.before)) for one in told] == [
        (asdict(before), None),
        (asdict(record("a", model="m" * 256)), asdict(before)),
    ]


async def test_a_posting_that_fails_undoes_the_rows_and_the_postings_before_it(store: Store) -> None:
    first, second = SeenRows(), SeenRows()
    usage = UsageRepository(store.engine, [first, second])
    second.fails = True
    with pytest.raises(Exception, match="ConnectionResetError"):
        await usage.upsert(lines(record("a")))
    assert await seen(store) == []
    assert await store.usage.list(UsageFilter(), None, 9) == []
    second.fails = False
    await usage.upsert(lines(record("a")))
    assert await seen(store) == [("a", "ok", None)] * 2


async def test_two_shippers_at_a_time_post_each_row_once(store: Store) -> None:
    postings = SeenRows(), SeenRows()
    postings[0].pause = 0.05
    shippers = [UsageRepository(store.engine, [posting]) for posting in postings]
    ids = [f"id-{number:03}" for number in range(40)]
    for _ in range(3):
        await asyncio.gather(
            shippers[0].upsert(lines(*(broken(one) for one in ids))),
            shippers[1].upsert(lines(*(record(one) for one in reversed(ids)))),
            shippers[0].upsert(lines(*(record(one) for one in ids[10:]))),
        )
    rows = await seen(store)
    ends = [row for row in rows if row[1] == "ok"]
    starts = [row for row in rows if row[1] == "interrupted"]
    assert [row[0] for row in ends] == ids
    # An interruption that was stored first is what its end replaced.
    assert {row[0] for row in starts} == {row[0] for row in ends if row[2] == "up1"}
    assert len(starts) == len({row[0] for row in starts})
