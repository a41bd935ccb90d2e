"""What the usage tables take: `python -m benchmarks.usage_store [ROWS]`, with PostgreSQL on 127.0.0.1.

It ships records into an empty database, then makes ROWS rows of a month in it (10 million if not given) and reads
them: a month by day and model, in several time zones, and the newest rows of one credential; at last it deletes rows
as retention does. The database is dropped at the end. Times are the least and the median of several runs: on a
machine with other work the others show that work. Beside rows per second, the CPU that this process and the server
use for a row is printed: that does not depend on what else runs.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from llm_gateway.core.calendar import read_zone
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.rollup_spans import SPAN_MINUTES
from llm_gateway.core.ledger.totals import COUNTS
from llm_gateway.flow.ports.usage import SummaryQuery, UsageFilter
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.usage.repository import UsageRepository
from llm_gateway.infra.database.usage.retention import UsageRetention
from llm_gateway.infra.database.usage.rollups import RollupPosting
from llm_gateway.infra.json_lines import to_line
from llm_gateway.infra.request_ids import RequestIds
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine
from llm_gateway.server.processes.uvicorn_server import settle_garbage_collection
from tests.fakes.stores import opened
from tests.services import find_postgres, fresh_database

RUNS: Final = 7
# 2026-10-01, UTC.
MONTH: Final = 1_790_812_800_000_000
DAYS: Final = 31
SHIPPED: Final = 100_000


def record(number: int, request_id: str, created_at: int) -> UsageRecord:
    """Return one of 120 kinds of requests."""
    return UsageRecord(
        request_id=request_id,
        created_at=created_at,
        endpoint="/v1/chat/completions",
        method="POST",
        stream=True,
        status_code=200,
        outcome="ok",
        credential=f"team-{number % 40}",
        provider=f"provider-{number % 3}",
        model=f"gpt-{number % 10}",
        upstream_model="gpt-4o-2024-08-06",
        prompt_tokens=1200 + number % 999,
        completion_tokens=300,
        total_tokens=1500 + number % 999,
        cached_tokens=1024,
        reasoning_tokens=0,
        usage_source="provider",
        request_bytes=4000,
        response_bytes=9000,
        latency_ms=812.125 + number % 100,
        upstream_latency_ms=810.5,
        ttft_ms=210.25,
        attempts=1,
        client_ip="10.0.0.1",
        config_version=12,
        attempt_started_at=created_at + 300,
        cached_in_prompt=True,
        cost_nano_usd=4_321_000,
        cost_source="catalog",
        cost_breakdown={"input_tokens": (176, 1), "cache_read_tokens": (1024, 2), "output_tokens": (300, 3)},
        price_version="2026-11-01",
        tenant=f"tenant-{number % 4}",
    )


async def ship(engine: AsyncEngine, batch: int, *, has_rollups: bool) -> None:
    """Print how fast records are stored."""
    usage = UsageRepository(engine, [RollupPosting()] if has_rollups else [])
    ids, now = RequestIds(), time.time_ns() // 1000
    lines = [to_line(record(number, ids(), now + number * 50)) for number in range(SHIPPED)]
    await usage.upsert(lines[:batch])
    sessions = await _sql(engine, "SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    pids = [pid for (pid,) in sessions]
    server, here, started = _server_seconds(pids), time.process_time(), time.perf_counter()
    for start in range(batch, SHIPPED, batch):
        await usage.upsert(lines[start : start + batch])
    seconds, rows = time.perf_counter() - started, SHIPPED - batch
    here_us = (time.process_time() - here) / rows * 1e6
    server_us = (_server_seconds(pids) - server) / rows * 1e6
    print(
        f"shipped, {batch} at once, rollups {'on' if has_rollups else 'off'}: {rows / seconds:,.0f} rows/s; "
        f"CPU a row: {here_us:.1f} us here, {server_us:.1f} us server"
    )
    await _sql(engine, "TRUNCATE usage, usage_attempts, usage_rollups")


def _server_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


async def make_month(engine: AsyncEngine, rows: int) -> None:
    """Make `rows` rows of a month and their rollups, inside the server."""
    indexes = await _sql(
        engine,
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'usage' AND indexname LIKE 'ix_%'",
    )
    for name, _ in indexes:
        await _sql(engine, f"DROP INDEX {name}")
    await _sql(engine, "ALTER TABLE usage SET UNLOGGED")
    step = DAYS * 86_400_000_000 / rows
    at = f"'epoch'::timestamptz + ({MONTH} + (n * {step})::bigint) * interval '1 microsecond'"
    names = """request_id, created_at, finished_at, credential, provider, model, upstream_model, endpoint, method,
        stream, status_code, outcome, prompt_tokens, completion_tokens, total_tokens, usage_source, request_bytes,
        response_bytes, latency_ms, ttft_ms, attempts, client_ip, config_version, cost_nano_usd, cost_source,
        price_version, tenant, requests"""
    request_id = """substr(ms, 1, 8) || '-' || substr(ms, 9) || '-7' || lpad(to_hex(n % 4096), 3, '0') || '-8000-'
        || lpad(to_hex(n), 12, '0')"""
    await _sql(
        engine,
        f"""INSERT INTO usage ({names})
        SELECT {request_id}, {at}, {at} + interval '1 second', 'team-' || n % 40, 'provider-' || n % 3,
            'gpt-' || n % 10, 'gpt-4o', '/v1/chat/completions', 'POST', true, 200, 'ok', 1200 + n % 999, 300,
            1500 + n % 999, 'provider', 4000, 9000, 200 * exp(random() * 3), 200 + n % 100, 1, '10.0.0.1', 12,
            4321000 + n % 7, 'catalog', '2026-11-01', 'tenant-' || n % 4, 1
        FROM generate_series(1, {rows}) AS n,
            lateral (SELECT lpad(to_hex(({MONTH} + (n * {step})::bigint) / 1000), 12, '0') AS ms) AS time""",
    )
    for _, definition in indexes:
        await _sql(engine, definition)
    known = {
        "requests": "sum(c)",
        "prompt_tokens": "sum(prompt)",
        "completion_tokens": "sum(c) * 300",
        "cost_nano_usd": "sum(cost)",
    }

    def entry(bucket: str) -> str:
        low, high = (f"lpad(to_hex({part}), 2, '0')" for part in ("c & 255", "c >> 8 & 255"))
        return f"decode({low} || {high} || '00' || lpad(to_hex({bucket}), 2, '0'), 'hex')"

    key = "credential, tenant, provider, model"
    for minutes in SPAN_MINUTES:
        await _sql(
            engine,
            f"""INSERT INTO usage_rollups (minutes, bucket, {key}, project, {", ".join(COUNTS)}, latency, first_token)
            SELECT {minutes}, at, {key}, '', {", ".join(known.get(name, "0") for name in COUNTS)},
                string_agg({entry("latency")}, ''), string_agg({entry("118")}, '')
            FROM (SELECT date_bin('{minutes} minutes', created_at, 'epoch') AS at, {key},
                    floor(ln(latency_ms) / ln(2) * 8)::int + 55 AS latency, count(*) AS c,
                    sum(prompt_tokens) AS prompt, sum(cost_nano_usd) AS cost
                FROM usage GROUP BY 1, {key}, 6) AS one GROUP BY at, {key}""",
        )
    for table in ("usage", "usage_rollups"):
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.exec_driver_sql(f"VACUUM ANALYZE {table}")


async def read_month(engine: AsyncEngine) -> None:
    """Print how long reading takes."""
    usage = UsageRepository(engine)
    [(rollups,)] = await _sql(engine, "SELECT count(*) FROM usage_rollups")
    print(f"{rollups:,} rollups")
    for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"):
        for has_percentiles in (False, True):
            query = SummaryQuery(
                since=MONTH,
                until=MONTH + DAYS * 86_400_000_000,
                group_by=("model",),
                unit="day",
                zone=read_zone(zone),
                has_percentiles=has_percentiles,
            )
            await _timed(
                f"month by day and model, {zone}, percentiles {'on' if has_percentiles else 'off'}",
                partial(usage.summarize, query),
            )
    await _timed(
        "newest 100 rows of a credential", lambda: usage.list(UsageFilter(credential="team-7"), None, 100)
    )
    await _timed("newest 100 rows of a tenant", lambda: usage.list(UsageFilter(tenant="tenant-3"), None, 100))
    border = MONTH + 5 * 86_400_000_000 + 123_456_789
    query = SummaryQuery(since=border, until=border + 86_400_000_000, group_by=("model",))
    await _timed("a day with borders within quarters", lambda: usage.summarize(query))


async def delete_some(engine: AsyncEngine) -> None:
    """Print how fast retention deletes."""
    started = time.perf_counter()
    deleted = await UsageRetention(engine, SystemClock()).delete_rows(MONTH + 2 * 86_400_000_000, 20.0)
    seconds = time.perf_counter() - started
    print(f"deleted {deleted:,} rows in {seconds:.1f} s, half of it idle: {deleted / seconds:,.0f} rows/s")


async def _timed(what: str, work: Callable[[], Awaitable[Any]]) -> None:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        await work()
        times.append((time.perf_counter() - started) * 1000)
    print(f"{what}: least {min(times):.1f} ms, median {statistics.median(times):.1f} ms")


async def _sql(engine: AsyncEngine, statement: str) -> list[Any]:
    async with engine.begin() as connection:
        found = await connection.exec_driver_sql(statement)
        return list(found) if found.returns_rows else []


async def measure(url: str, rows: int) -> None:
    """Run everything in the empty database at `url`."""
    settle_garbage_collection()
    with tempfile.TemporaryDirectory() as folder:
        async with opened(
            url, Path(folder), start=False, engine_options={"command_timeout": 3600.0}
        ) as store:
            for has_rollups in (False, True):
                for batch in (1000, 4000):
                    await ship(store.engine, batch, has_rollups=has_rollups)
            started = time.perf_counter()
            await make_month(store.engine, rows)
            print(f"made {rows:,} rows in {time.perf_counter() - started:.0f} s")
            await read_month(store.engine)
            await delete_some(store.engine)


if __name__ == "__main__":
    with fresh_database(find_postgres().url) as fresh:
        asyncio.run(measure(fresh, int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000))
