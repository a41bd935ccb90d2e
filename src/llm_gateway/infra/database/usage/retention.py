"""Deletes old usage rows, events and rollups, a few at a time, so that shipping hardly waits."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import sqlalchemy as sa

from llm_gateway.core.ledger.rollup_spans import SPAN_MINUTES, bucket_start
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import writing
from llm_gateway.infra.database.rollup_tables import usage_rollups
from llm_gateway.infra.database.telemetry.table import telemetry_events
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

# Seconds that a transaction should take: as long may a shipper wait for SQLite's file.
_TRANSACTION_SECONDS: Final = 0.05
_FEWEST, _MOST = 100, 5000
# PostgreSQL's advisory lock of whoever deletes; no other program uses it.
_LOCK: Final = 7_526_181_118_341_923


class UsageRetention:
    """Deletes what is older than a time. Several machines may run it; one deletes at a time."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._rows = _FEWEST

    async def delete_rows(self, before: int, seconds: float) -> int:
        """Delete usage rows that began before this time, oldest first, with their attempts; return how many.

        It takes some `seconds` at most; what is left is for the next run.
        """
        return await self._run(_delete_rows, before, seconds)

    async def delete_events(self, before: int, seconds: float) -> int:
        """Delete telemetry events that arrived before this time, oldest first; return how many."""
        return await self._run(_delete_events, before, seconds)

    async def delete_rollups(self, before: int, seconds: float) -> int:
        """Delete rollups of whole days (UTC) before this time, so that all spans know the same; return how many."""
        return await self._run(_delete_rollups, bucket_start(before, SPAN_MINUTES[0]), seconds)

    async def _run(self, delete: Any, before: int, seconds: float) -> int:  # noqa: ANN401 - one of the functions below
        end = self._clock.monotonic() + seconds
        total = 0
        while (started := self._clock.monotonic()) < end:
            limit = self._rows
            async with writing(self._engine) as connection:
                if not await _is_alone(connection):
                    return total
                deleted: int = await delete(connection, before, limit)
            total += deleted
            if deleted < limit:
                break
            took = self._clock.monotonic() - started
            self._rows = _next_limit(limit, took)
            # Others get as long a turn as this transaction took.
            await asyncio.sleep(min(took, end - self._clock.monotonic()))
        return total


def _next_limit(limit: int, took: float) -> int:
    """Return how many rows the next transaction should delete, after one of `limit` rows `took` these seconds."""
    if took > _TRANSACTION_SECONDS:
        return max(limit // 2, _FEWEST)
    return min(limit * 2, _MOST) if took < _TRANSACTION_SECONDS / 2 else limit


async def _is_alone(connection: AsyncConnection) -> bool:
    if connection.dialect.name != "postgresql":
        return True
    return bool(await connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))))


async def _delete_rows(connection: AsyncConnection, before: int, limit: int) -> int:
    usage, attempts = tables.usage.c, tables.usage_attempts.c
    found = await connection.scalars(
        sa.select(usage.request_id)
        .where(usage.created_at < before)
        .order_by(usage.created_at, usage.request_id)
        .limit(limit)
    )
    ids = list(found)
    for table, column in ((tables.usage_attempts, attempts.request_id), (tables.usage, usage.request_id)):
        for start in range(0, len(ids), _MOST_PARAMETERS):
            await connection.execute(
                sa.delete(table).where(column.in_(ids[start : start + _MOST_PARAMETERS]))
            )
    return len(ids)


async def _delete_events(connection: AsyncConnection, before: int, limit: int) -> int:
    event_id, created_at = telemetry_events.c.event_id, telemetry_events.c.created_at
    oldest = sa.select(event_id).where(created_at < before).order_by(created_at, event_id).limit(limit)
    result = await connection.execute(sa.delete(telemetry_events).where(event_id.in_(oldest)))
    return int(result.rowcount)


# What every SQLite takes in one statement.
_MOST_PARAMETERS: Final = 500


async def _delete_rollups(connection: AsyncConnection, before: int, limit: int) -> int:
    columns = list(usage_rollups.primary_key)
    oldest = (
        sa.select(*columns)
        .where(usage_rollups.c.minutes.in_(SPAN_MINUTES), usage_rollups.c.bucket < before)
        .limit(limit)
    )
    result = await connection.execute(sa.delete(usage_rollups).where(sa.tuple_(*columns).in_(oldest)))
    return int(result.rowcount)
