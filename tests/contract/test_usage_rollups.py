"""Rollups are what the usage rows add up to, whatever is shipped and replaced."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_gateway.core.ledger.totals import COUNTS
from llm_gateway.flow.ports.usage import SummaryQuery, UsageFilter
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.database.usage.rollups import RollupPosting
from llm_gateway.infra.json_lines import to_line
from tests.fakes.rollups import check_rollups, fact, put
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import failed_attempt


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


async def test_rows_are_added_up_once_however_often_they_are_shipped(store: Store) -> None:
    facts = [
        fact(f"id-{number}", number * 7, model="ab"[number % 2], credential=None if number % 3 else "c")
        for number in range(60)
    ]
    await put(store, *facts)
    await put(store, *facts[20:], fact("more", tenant="t", project="p", provider=None))
    await check_rollups(store)
    assert await store.sql("SELECT count(*) FROM usage_rollups WHERE credential = '' AND model = 'a'") != [
        (0,)
    ]


async def test_a_replaced_interruption_is_taken_away(store: Store) -> None:
    await put(store, fact("a", outcome="interrupted", model="x", cost_nano_usd=None, prompt_tokens=None))
    await put(store, fact("a", 0, model="y"))
    await check_rollups(store)
    summary = await store.usage.summarize(SummaryQuery(group_by=("model",)))
    assert [group.values for group in summary.groups] == [("y",)]


async def test_two_shippers_add_to_the_same_rollups(store: Store) -> None:
    shippers = [UsageRepository(store.engine, [RollupPosting()]) for _ in range(4)]
    facts = [fact(f"id-{number:03}", number % 90, model=f"m{number % 7}") for number in range(400)]

    async def ship(shipper: UsageRepository, seed: int) -> None:
        mine = facts[:]
        random.Random(seed).shuffle(mine)
        for start in range(0, len(mine), 50):
            await shipper.upsert([to_line(one) for one in mine[start : start + 50]])

    await asyncio.gather(*(ship(shipper, seed) for seed, shipper in enumerate(shippers)))
    await check_rollups(store)
    assert len(await store.usage.list(UsageFilter(), None, 999)) == 400


async def test_absurd_counts_do_not_stop_shipping(store: Store) -> None:
    for name in "abc":
        await put(store, fact(name, prompt_tokens=10**30, cost_nano_usd=10**30))
    total = (await store.usage.summarize(SummaryQuery())).total
    assert total.counts[COUNTS.index("requests")] == 3
    assert total.counts[COUNTS.index("cost_nano_usd")] == 2**63 - 1


async def test_attempts_alone_add_up_to_nothing(store: Store) -> None:
    await store.usage.upsert([to_line(failed_attempt("a"))])
    assert (await store.usage.summarize(SummaryQuery())).groups == []
