"""The costs of stored rows are replaced with what was added up of them, all or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from llm_gateway.core.ledger.records import UsageRecord, last_attempt
from llm_gateway.flow.ports.usage import Repriced, UsageFilter
from llm_gateway.infra.database.postings import StoredChange, UsagePosting
from llm_gateway.infra.database.usage.repricing import CostRepository
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import record


class Sums(UsagePosting):
    """Adds up costs as rollups and budgets do."""

    def __init__(self) -> None:
        self.total = 0
        self.fails = False

    async def post(self, connection: AsyncConnection, changes: Sequence[StoredChange]) -> None:
        del connection
        if self.fails:
            raise ConnectionResetError("gone")
        self.total += sum((one.record.cost_nano_usd or 0) for one in changes)
        self.total -= sum((one.before.cost_nano_usd or 0) for one in changes if one.before)


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


def priced(request_id: str, cost: int | None, **changes: object) -> UsageRecord:
    return record(
        request_id, attempts=1, cost_nano_usd=cost, cost_source="none" if cost is None else "catalog",
        price_version="old", **changes,
    )  # fmt: skip


def dearer(before: UsageRecord, cost: int | None) -> Repriced:
    now = msgspec.structs.replace(
        before, cost_nano_usd=cost, cost_source="override", price_version="new",
        cost_breakdown=None if cost is None else {"input_tokens": (1, cost)},
    )  # fmt: skip
    ended = last_attempt(now)
    assert ended is not None
    return Repriced(before, now, (ended,))


async def costs(store: Store) -> dict[str, int | None]:
    return {one.request_id: one.cost_nano_usd for one in await store.usage.list(UsageFilter(), None, 100)}


async def test_rows_attempts_and_sums_get_the_new_cost(store: Store) -> None:
    rows = [priced("a", 10), priced("b", None), priced("c", 30)]
    await store.usage.upsert([to_line(one) for one in rows])
    sums = Sums()
    repository = CostRepository(store.engine, [sums])
    assert await repository.replace([dearer(rows[0], 15), dearer(rows[1], 7), dearer(rows[2], None)]) == 3
    assert await costs(store) == {"a": 15, "b": 7, "c": None}
    assert sums.total == 5 + 7 - 30
    [row] = await store.usage.list(UsageFilter(request_id="a"), None, 1)
    assert (row.cost_source, row.price_version) == ("override", "new")
    assert row.cost_breakdown == {"input_tokens": (1, 15)}
    [attempt] = await store.usage.attempts("a")
    assert (attempt.cost_nano_usd, attempt.cost_breakdown) == (15, {"input_tokens": (1, 15)})


async def test_a_row_that_has_another_cost_by_now_stays(store: Store) -> None:
    row = priced("a", 10)
    await store.usage.upsert([to_line(row)])
    sums = Sums()
    repository = CostRepository(store.engine, [sums])
    assert await repository.replace([dearer(row, 15)]) == 1
    assert await repository.replace([dearer(row, 20), dearer(priced("gone", 1), 2)]) == 0
    assert await costs(store) == {"a": 15}
    assert sums.total == 5


async def test_what_cannot_be_added_up_is_not_stored(store: Store) -> None:
    row = priced("a", 10)
    await store.usage.upsert([to_line(row)])
    sums = Sums()
    sums.fails = True
    with pytest.raises(Exception, match=r"gone|database"):
        await CostRepository(store.engine, [sums]).replace([dearer(row, 15)])
    assert await costs(store) == {"a": 10}
