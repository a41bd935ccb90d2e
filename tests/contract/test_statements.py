"""The statements that store usage do, inside the database, what the flow's own functions say."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, finished_at, last_attempt
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import writing
from llm_gateway.infra.database.facts.fitting import TEXT_LIMIT
from llm_gateway.infra.database.usage.statements import (
    ATTEMPT_COLUMNS,
    POSTGRES_NEW_ROWS,
    POSTGRES_ROWS,
    ROW_COLUMNS,
    SQLITE_ATTEMPTS,
    SQLITE_ROWS,
)
from llm_gateway.infra.json_lines import to_line
from tests.fakes.stores import opened
from tests.fakes.usage_records import failed_attempt, record

RECORDS = [
    record("plain"),
    record("none", attempts=0, provider=None, model=None),
    record("timed", attempts=2, attempt_started_at=1_750_000_000_500_000, ttft_ms=700.5),
    record("early", attempts=1, attempt_started_at=1_750_000_000_500_000, ttft_ms=10.0),
    record("failed", status_code=502, outcome="error", error_type="upstream_error", upstream_latency_ms=4.25),
    record("redirected", status_code=302, outcome="error"),
    record("nameless", provider=None, model=None, upstream_model=None, outcome="interrupted", status_code=0),
    record("cached", cache_hit=True, attempts=0),
]


def test_the_columns_are_those_of_the_facts() -> None:
    assert set(ROW_COLUMNS) == set(UsageRecord.__struct_fields__) - {"attempt_started_at"}
    assert set(ATTEMPT_COLUMNS) == set(AttemptEnded.__struct_fields__)


@pytest.mark.parametrize("statement", [POSTGRES_ROWS, POSTGRES_NEW_ROWS], ids=["any", "new"])
async def test_postgresql_makes_the_last_attempt_as_python_does(
    postgres_url: str, data_dir: Any, statement: str
) -> None:
    """`last_attempt` exists twice: in Python for SQLite, in SQL for PostgreSQL."""
    async with opened(postgres_url, data_dir, start=False) as store:
        batch = b"[" + b",".join(to_line(one).strip() for one in RECORDS) + b"]"
        async with writing(store.engine) as connection:
            await connection.exec_driver_sql(statement, (batch.decode(),))
        for one in RECORDS:
            expected = last_attempt(one)
            assert await store.usage.attempts(one.request_id) == ([] if expected is None else [expected]), one


@pytest.mark.parametrize(
    "latency_ms", [43.4135, 6.777518394164707, 50415.67373888485, 0.0005, 0.0015, 99.9999]
)
async def test_both_stores_and_python_agree_when_a_request_ended(
    store_url: str | None, data_dir: Any, latency_ms: float
) -> None:
    """A cursor that differs from what is stored by a microsecond would list a row twice, or for ever."""
    async with opened(store_url, data_dir, start=False) as store:
        one = record("id", latency_ms=latency_ms)
        await store.usage.upsert([to_line(one)])
        found = await store.usage.list(UsageFilter(finished_since=finished_at(one)), None, 9, "finished_at")
        assert found == [one]
        place = UsagePlace(finished_at(one), "id")
        assert await store.usage.list(UsageFilter(), place, 9, "finished_at") == []


@pytest.mark.parametrize(
    ("stored", "sent", "replaces"),
    [
        ({}, {"status_code": 201}, False),
        ({}, {"outcome": "interrupted"}, False),
        ({"outcome": "interrupted"}, {}, True),
        ({"outcome": "interrupted"}, {"outcome": "interrupted", "attempts": 2}, True),
        ({"outcome": "interrupted", "attempts": 2}, {"outcome": "interrupted"}, False),
        ({"outcome": "interrupted"}, {"outcome": "interrupted", "status_code": 1}, False),
    ],
)
async def test_a_row_is_replaced_only_when_it_is_an_interruption(
    store_url: str | None, data_dir: Any, stored: dict[str, Any], sent: dict[str, Any], replaces: bool
) -> None:
    before, after = record("id", **stored), record("id", **sent)
    async with opened(store_url, data_dir, start=False) as store:
        for one in (before, after):
            await store.usage.upsert([to_line(one)])
        assert await store.usage.list(UsageFilter(), None, 10) == [after if replaces else before]


@pytest.mark.parametrize(
    ("stored", "sent", "replaces"),
    [
        ({}, {"status": 500}, False),
        ({"outcome": "interrupted"}, {}, True),
        ({}, {"outcome": "interrupted"}, False),
        ({"outcome": "interrupted"}, {"outcome": "interrupted", "status": 500}, False),
    ],
)
async def test_an_attempt_is_replaced_only_by_its_true_end(
    store_url: str | None, data_dir: Any, stored: dict[str, Any], sent: dict[str, Any], replaces: bool
) -> None:
    before, after = failed_attempt("id", **stored), failed_attempt("id", **sent)
    async with opened(store_url, data_dir, start=False) as store:
        for one in (before, after):
            await store.usage.upsert([to_line(one)])
        assert await store.usage.attempts("id") == [after if replaces else before]


async def test_texts_are_cut_and_records_from_before_the_cache_are_accepted(
    store_url: str | None, data_dir: Any
) -> None:
    async with opened(store_url, data_dir, start=False) as store:
        line = to_line(record("id", model="m" * 1000))
        await store.usage.upsert([line.replace(b',"cache_hit":false', b"")])
        [row] = await store.usage.list(UsageFilter(), None, 10)
        assert (row.model, row.cache_hit) == ("m" * TEXT_LIMIT, False)
        [attempt] = await store.usage.attempts("id")
        assert attempt.model == "m" * TEXT_LIMIT
        assert [bool(value) for (value,) in await store.sql("SELECT cache_hit FROM usage")] == [False]


def test_a_statement_for_sqlite_has_a_place_for_each_column() -> None:
    assert SQLITE_ROWS.count("?") == len(tables.usage.columns)
    assert SQLITE_ATTEMPTS.count("?") == len(tables.usage_attempts.columns)


async def test_an_unknown_latency_of_an_attempt_stays_unknown(store_url: str | None, data_dir: Any) -> None:
    async with opened(store_url, data_dir, start=False) as store:
        one = failed_attempt("id", latency_ms=None)
        await store.usage.upsert([to_line(one)])
        assert await store.usage.attempts("id") == [one]
