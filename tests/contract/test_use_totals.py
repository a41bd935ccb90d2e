"""What usage rows add up to by agent, tenant, channel, credential and time, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.usage import UsageFilter, UseTotals
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store, opened
from tests.fakes.usage_reader import ListedUsage
from tests.fakes.usage_records import record

NOW = 1_790_000_000_000_000
NOTHING = UseTotals(0, 0, 0, 0, 0, 0, 0, None)


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


def used(number: int, **changes: Any) -> UsageRecord:
    return record(f"id-{number:06}", **{"created_at": NOW + number, **changes})


async def put(store: Store, *records: UsageRecord) -> None:
    await store.usage.upsert([to_line(one) for one in records])


async def test_nothing_adds_up_to_nothing(store: Store) -> None:
    assert await store.usage.totals(UsageFilter(agent="nobody")) == NOTHING


async def test_requests_tokens_costs_and_times_add_up(store: Store) -> None:
    await put(
        store,
        used(0, agent="sofia", latency_ms=10.0, cost_nano_usd=3),
        used(1, agent="sofia", latency_ms=30.0, outcome="error", status_code=502, unpriced="no_price"),
        used(2, agent="sofia", latency_ms=20.0, cost_nano_usd=2**40),
        # Refused requests share a row; their latency is not that of a reply.
        used(
            *(3,), agent="sofia", latency_ms=900.0, outcome="rejected", status_code=429, requests=4, attempts=0,
            prompt_tokens=None, completion_tokens=None, total_tokens=None,
        ),
        used(4, agent="sofia", latency_ms=500.0, outcome="interrupted", cost_nano_usd=1),
        used(5, agent="other", latency_ms=700.0),
        used(6),
    )  # fmt: skip
    assert await store.usage.totals(UsageFilter(agent="sofia")) == UseTotals(
        requests=8,
        ok=2,
        prompt_tokens=12,
        completion_tokens=8,
        total_tokens=20,
        cost_nano_usd=2**40 + 4,
        unpriced=1,
        mean_latency_ms=20.0,
    )


async def test_every_filter_narrows_down_as_the_list_does(store: Store) -> None:
    names = {"agent": "abc", "tenant": "xy", "channel": "12", "credential": "kl"}
    records = [
        used(
            number,
            **{name: values[number % len(values)] for name, values in names.items()},
            latency_ms=number + 0.25,
            cost_nano_usd=None if number % 5 else number,
            outcome=("ok", "error", "aborted", "rejected")[number % 4],
        )
        for number in range(60)
    ]
    await put(store, *records)
    expected = ListedUsage(*records)
    wanted = [
        UsageFilter(),
        UsageFilter(agent="b"),
        UsageFilter(tenant="y"),
        UsageFilter(channel="1"),
        UsageFilter(credential="l", tenant="y", agent="a"),
        UsageFilter(since=NOW + 10, until=NOW + 31),
        UsageFilter(agent="c", since=NOW + 10),
        UsageFilter(agent="c", tenant="nobody"),
    ]
    for one in wanted:
        assert await store.usage.totals(one) == pytest.approx(await expected.totals(one)), one


async def test_absurd_counts_of_a_provider_overflow_nothing(store: Store) -> None:
    most = 2**63 - 1
    rows = [used(number, agent="a", prompt_tokens=most, cost_nano_usd=most) for number in range(3)]
    rows.append(used(3, agent="a", prompt_tokens=-most))
    await put(store, *rows)
    totals = await store.usage.totals(UsageFilter(agent="a"))
    assert (totals.prompt_tokens, totals.cost_nano_usd) == (2 * most, 3 * most)


@pytest.mark.parametrize("name", ["agent", "tenant", "channel", "credential"])
async def test_totals_of_one_name_are_found_by_an_index(store: Store, name: str) -> None:
    await put(store, *(used(number, **{name: f"n{number % 50}"}) for number in range(3000)))
    if store.is_postgres:
        await store.sql("ANALYZE usage")
    query = f"SELECT sum(prompt_tokens) FROM usage WHERE {name} = 'n7'"
    plan = await store.sql(("EXPLAIN " if store.is_postgres else "EXPLAIN QUERY PLAN ") + query)
    assert f"ix_usage_{name}_time" in " ".join(str(row) for row in plan)
