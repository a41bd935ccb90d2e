"""Usage rows that were changed by hand are shown as far as they can be read, and the log names their columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.database.facts.reading import read_fact
from llm_gateway.infra.json_lines import to_line
from tests.fakes.admin_client import admin_client
from tests.fakes.stores import opened
from tests.fakes.usage_records import failed_attempt, record

IN_SQLITE = [
    ("usage", "created_at", "'some day'"), ("usage", "created_at", "x'ff'"), ("usage", "created_at", "1e308"),
    ("usage", "created_at", "9223372036854775807"), ("usage", "status_code", "'x'"),
    ("usage", "outcome", "'refunded'"),
    ("usage", "credential", "x'ff'"), ("usage", "credential", "CAST(x'61ff' AS TEXT)"), ("usage", "model", "x'ff'"),
    ("usage", "prompt_tokens", "1.5"), ("usage", "prompt_tokens", "''"), ("usage", "usage_source", "'guessed'"),
    ("usage", "latency_ms", "1e308"), ("usage", "latency_ms", "''"), ("usage", "endpoint", "x'ff'"),
    ("usage", "tags", "'{'"), ("usage", "tags", "x'ff'"), ("usage", "cost_breakdown", "'[1]'"),
    ("usage", "tags", "'{\"a\": 1}'"), ("usage_attempts", "cost_breakdown", "'x'"), ("usage", "requests", "'x'"),
    ("usage_attempts", "started_at", "''"), ("usage_attempts", "outcome", "'x'"), ("usage_attempts", "status", "'x'"),
    ("usage_attempts", "next_step", "''"), ("usage_attempts", "reason", "x'ff'"),
]  # fmt: skip
IN_POSTGRESQL = [
    ("usage", "created_at", "'infinity'"), ("usage", "created_at", "'-infinity'"), ("usage", "outcome", "'refunded'"),
    ("usage", "latency_ms", "'NaN'"), ("usage", "latency_ms", "'infinity'"), ("usage", "latency_ms", "1e308"),
    ("usage", "usage_source", "'guessed'"), ("usage_attempts", "started_at", "'infinity'"),
    ("usage_attempts", "outcome", "'x'"), ("usage_attempts", "latency_ms", "'NaN'"),
    ("usage", "tags", "'[1]'"), ("usage", "cost_breakdown", "'{\"a\": 1}'"), ("usage", "cost_source", "'x'"),
]  # fmt: skip


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(
        lambda line: lines.append(str(line)), level="WARNING", filter="llm_gateway.infra.database.facts"
    )
    yield lines
    logger.remove(sink)


async def check(url: str | None, data_dir: Path, table: str, column: str, value: str) -> None:
    async with opened(url, data_dir) as store, admin_client(store) as desk:
        await store.usage.upsert(
            [to_line(failed_attempt("odd")), to_line(record("odd")), to_line(record("fine"))]
        )
        await store.sql(f"UPDATE {table} SET {column} = {value} WHERE request_id = 'odd'")
        for order in ("created_at", "finished_at"):
            page = await desk.ask("GET", f"/usage?order={order}")
            assert {row["request_id"] for row in page["data"]} == {"odd", "fine"}
        detail = await desk.ask("GET", "/usage/odd")
        assert detail["request_id"] == "odd"
        assert len(detail["attempt_details"]) == 1


@pytest.mark.parametrize(("table", "column", "value"), IN_SQLITE)
async def test_a_value_by_hand_in_sqlite_breaks_no_list(
    data_dir: Path, table: str, column: str, value: str
) -> None:
    await check(None, data_dir, table, column, value)


@pytest.mark.parametrize(("table", "column", "value"), IN_POSTGRESQL)
async def test_a_value_by_hand_in_postgresql_breaks_no_list(
    postgres_url: str, data_dir: Path, table: str, column: str, value: str
) -> None:
    await check(postgres_url, data_dir, table, column, value)


async def test_rows_that_the_gateway_wrote_are_read_as_they_were(
    store_url: str | None, data_dir: Path, warnings: list[str]
) -> None:
    async with opened(store_url, data_dir) as store:
        facts = [
            record("id"),
            record("bare", attempts=0, provider=None, prompt_tokens=None, usage_source=None),
        ]
        await store.usage.upsert([*map(to_line, facts), to_line(failed_attempt("id"))])
        assert (
            sorted(await store.usage.list(UsageFilter(), None, 9), key=lambda one: one.request_id)
            == facts[::-1]
        )
        assert await store.usage.attempts("id") == [failed_attempt("id")]
    assert warnings == []


def values(**changes: Any) -> dict[str, Any]:
    one = record("id")
    return {name: getattr(one, name) for name in UsageRecord.__struct_fields__} | changes


def test_a_row_that_the_gateway_wrote_is_read_as_it_was() -> None:
    assert read_fact(values(), UsageRecord) == record("id")


def test_what_cannot_be_read_is_left_out_and_named(warnings: list[str]) -> None:
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(str(line)), level="WARNING")
    try:
        read = read_fact(
            values(prompt_tokens="many", outcome="refunded", latency_ms=float("nan")), UsageRecord
        )
    finally:
        logger.remove(sink)
    assert (read.prompt_tokens, read.outcome, read.latency_ms) == (None, "error", 0.0)
    assert read.completion_tokens == record("id").completion_tokens
    [line] = warnings
    for part in ("'id'", "prompt_tokens", "outcome", "latency_ms"):
        assert part in line
