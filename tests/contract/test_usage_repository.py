"""The usage tables of both databases: every field, hostile values, filters and pages."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from llm_gateway.core.ledger.records import AttemptEnded, Outcome, UsageRecord
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import Store, opened

NOW = 1_790_000_000_123_457


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


def fact(number: int = 0, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": f"id-{number:06}",
        "created_at": NOW + number,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": False,
        "status_code": 200,
        "outcome": "ok",
        "credential": "me",
        "provider": "main",
        "model": "gpt-4",
        "latency_ms": 12.25,
    }
    return UsageRecord(**values | changes)


async def put(store: Store, facts: Sequence[UsageRecord | AttemptEnded]) -> None:
    await store.usage.upsert([to_line(fact) for fact in facts])


async def everything(store: Store, **wanted: Any) -> list[UsageRecord]:
    return await store.usage.list(UsageFilter(**wanted), None, 10_000)


async def test_every_field_comes_back_as_it_was(store: Store) -> None:
    full = UsageRecord(
        request_id="0190-full",
        created_at=NOW,
        endpoint="/v1/completions",
        method="POST",
        stream=True,
        status_code=502,
        outcome="error",
        client_request_id="mine",
        credential="me é",
        provider="main",
        model="gpt-4",
        upstream_model="gpt-4-turbo",
        error_type="upstream_cut",
        prompt_tokens=1,
        completion_tokens=2,
        total_tokens=3,
        cached_tokens=4,
        reasoning_tokens=5,
        usage_source="counted",
        request_bytes=6,
        response_bytes=7,
        latency_ms=8.5,
        upstream_latency_ms=9.125,
        ttft_ms=10.0,
        attempts=2,
        client_ip="::1",
        config_version=2**40,
        cache_hit=True,
        cache_write_tokens=3,
        cached_in_prompt=True,
        cost_nano_usd=2**40,
        cost_source="catalog",
        unpriced="no_price",
        cost_breakdown={"input_tokens": (10, 2**40), "audio_seconds": (0.5, 0)},
        price_version="2026-11-01",
        requested_tier="flex",
        served_tier="default",
        tenant="acme",
        project="search",
        agent="crawler",
        end_user="jane é",
        channel="web",
        soeid="ab12345",
        tags={"team": "blue", "é": "ü"},
        requests=7,
        temperature=0.7,
    )
    bare = fact(7)
    await put(store, [full, bare])
    assert await everything(store) == [bare, full]


async def test_nothing_that_a_client_sends_keeps_a_batch_from_being_stored(store: Store) -> None:
    odd = [
        fact(1, model="nul \0 byte", client_request_id="\0"),
        fact(2, model="half \ud800 surrogate"),
        fact(3, model="x" * 100_000, client_request_id="y" * 100_000),
        fact(4, prompt_tokens=10**30, completion_tokens=-(10**30)),
        fact(5, model="'; DROP TABLE usage; --"),
        fact(6, model="\U0001f600" * 5000),
        fact(7, tags={"a\0": "b\0", "k" * 1000: "v" * 1000}, cost_nano_usd=10**30),
        fact(8, tags={f"t{number}": "" for number in range(1000)}),
        fact(9, tags={}, cost_breakdown={}, cost_nano_usd=0),
        fact(10, cost_breakdown={f"u{number}": (1, 1) for number in range(1000)}),
    ]
    await put(store, odd)
    rows = {row.request_id: row for row in await everything(store)}
    assert len(rows) == 10
    assert rows["id-000001"].model == "nul \ufffd byte"
    assert rows["id-000002"].model == "half ? surrogate"
    assert rows["id-000003"].model == "x" * 256
    assert rows["id-000004"].prompt_tokens == 2**63 - 1
    assert rows["id-000007"].tags == {"a\ufffd": "b\ufffd", "k" * 256: "v" * 256}
    assert rows["id-000007"].cost_nano_usd == 2**63 - 1
    assert len(rows["id-000008"].tags or {}) == 64
    assert rows["id-000009"] == odd[8]
    assert rows["id-000010"].cost_breakdown is None
    assert rows["id-000005"].model == "'; DROP TABLE usage; --"


async def test_filters_narrow_down_together(store: Store) -> None:
    facts = [
        fact(number, credential="ab"[number % 2], provider="xyz"[number % 3], model=f"m{number % 5}")
        for number in range(30)
    ]
    facts.append(fact(30, outcome="rejected", status_code=401, credential=None, provider=None, model=None))
    await put(store, facts)

    def those(keep: Any) -> list[UsageRecord]:
        return [row for row in facts[::-1] if keep(row)]

    for name, value in (("credential", "a"), ("provider", "y"), ("model", "m4"), ("outcome", "rejected")):
        assert await everything(store, **{name: value}) == those(
            lambda row, n=name, v=value: getattr(row, n) == v
        )
    assert await everything(store, request_id="id-000009") == [facts[9]]
    assert await everything(store, since=NOW + 5, until=NOW + 8) == facts[5:8][::-1]
    assert await everything(store, credential="a", model="m0", since=NOW + 11) == those(
        lambda row: row.credential == "a" and row.model == "m0" and row.created_at >= NOW + 11
    )
    assert await everything(store, model="nobody") == []


async def test_pages_hold_every_row_once_even_within_one_microsecond(store: Store) -> None:
    facts = [fact(number, created_at=NOW + number // 10) for number in range(57)]
    await put(store, facts)
    seen: list[UsageRecord] = []
    after: UsagePlace | None = None
    while page := await store.usage.list(UsageFilter(credential="me"), after, 7):
        assert len(page) <= 7
        seen += page
        after = UsagePlace(page[-1].created_at, page[-1].request_id)
        # A row that comes in meanwhile, newer than the page, disturbs nothing.
        await put(store, [fact(1000 + len(seen))])
    assert seen == sorted(facts, key=lambda row: (row.created_at, row.request_id), reverse=True)


async def test_pages_walk_along_an_index(store: Store) -> None:
    """Ten million rows must not be sorted for a page of a hundred."""
    await put(store, [fact(number, model=f"m{number % 7}") for number in range(3000)])
    if store.is_postgres:
        await store.sql("ANALYZE usage")
    for clause in ("", "WHERE model = 'm3' AND", "WHERE credential = 'me' AND", "WHERE outcome = 'ok' AND"):
        where = f"{clause or 'WHERE'} (created_at, request_id) < ({{now}}, 'zz')".format(
            now="now()" if store.is_postgres else NOW * 2
        )
        query = f"SELECT * FROM usage {where} ORDER BY created_at DESC, request_id DESC LIMIT 100"
        plan = await store.sql(("EXPLAIN " if store.is_postgres else "EXPLAIN QUERY PLAN ") + query)
        text = " ".join(str(row) for row in plan)
        assert "ix_usage_" in text, text
        assert "Sort" not in text, text
        assert "TEMP B-TREE" not in text, text


@pytest.mark.parametrize("outcome", ["error", "aborted"])
async def test_pages_of_what_went_wrong_walk_along_the_index_by_outcome(
    store: Store, outcome: Outcome
) -> None:
    """Few of many rows: a page of them must not read all rows that went well."""
    facts = [fact(number, outcome="ok" if number % 100 else outcome) for number in range(3000)]
    await put(store, facts)
    if store.is_postgres:
        await store.sql("ANALYZE usage")
    statements: list[str] = []

    @sa.event.listens_for(store.engine.sync_engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    rows = await store.usage.list(UsageFilter(outcome=outcome), None, 100)
    sa.event.remove(store.engine.sync_engine, "before_cursor_execute", note)
    assert {row.outcome for row in rows} == {outcome}
    assert len(rows) == 30
    [where] = [
        re.search(r"WHERE (.*?) ORDER BY", one, re.DOTALL) for one in statements if "FROM usage" in one
    ]
    assert where is not None
    # No plan for a value that is not known yet may need another index.
    generic = f"SELECT * FROM usage WHERE {where[1]} ORDER BY created_at DESC, request_id DESC LIMIT 100"
    async with store.engine.connect() as connection:
        if store.is_postgres:
            await connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.exec_driver_sql(f"PREPARE page AS {generic}")
            plan = await connection.exec_driver_sql(f"EXPLAIN EXECUTE page ('{outcome}')")
        else:
            plan = await connection.exec_driver_sql("EXPLAIN QUERY PLAN " + generic, (outcome,))
        shown = str(plan.all())
    assert "ix_usage_outcome_time" in shown


async def test_what_is_stored_is_what_the_admin_lists(store: Store) -> None:
    names = set(UsageRecord.__struct_fields__)
    await put(store, [fact()])
    (row,) = await everything(store)
    assert set(msgspec.structs.asdict(row)) == names
    assert row == fact()
