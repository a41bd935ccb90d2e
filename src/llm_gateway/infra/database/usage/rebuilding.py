"""Adds up anew what usage rows say: those from before there were rollups, or changed by hand."""

from __future__ import annotations

from typing import Final, NamedTuple

import sqlalchemy as sa

from llm_gateway.core.ledger.rollup_spans import SPAN_MINUTES
from llm_gateway.core.ledger.totals import COUNTS, UsageKey
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.rollup_tables import usage_rollup_state, usage_rollups
from llm_gateway.infra.database.usage.rollup_rows import records_between
from llm_gateway.infra.database.usage.rollups import ROLLUP_LOCK, RollupSums, add_totals
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

DAY: Final = 86_400_000_000
HOUR: Final = 3_600_000_000


class Rebuilt(NamedTuple):
    """The rows that were added up, and the hours that stay as they are because some of their rows are deleted."""

    rows: int
    kept_hours: int


class RollupBuilder:
    """Rebuilds rollups hour by hour, each in a transaction of its own: shipping waits for one hour at most."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def missing_before(self) -> int | None:
        """Return the time before which rows may have no rollups; None: all have."""
        async with reading(self._engine) as connection:
            missing: int | None = await connection.scalar(sa.select(usage_rollup_state.c.missing_before))
            return missing

    async def days(self) -> tuple[int, int] | None:
        """Return the starts of the first and the last day (UTC) that have rows, None without rows."""
        created_at = tables.usage.c.created_at
        async with reading(self._engine) as connection:
            found = await connection.execute(sa.select(sa.func.min(created_at), sa.func.max(created_at)))
            first, last = found.one()
        return None if first is None else (first - first % DAY, last - last % DAY)

    async def add_missing_hour(self) -> bool:
        """Add up the newest hour that may lack rollups; return whether there may be more."""
        async with writing(self._engine) as connection:
            await _lock(connection)
            missing = await connection.scalar(sa.select(usage_rollup_state.c.missing_before))
            if missing is None:
                return False
            created_at = tables.usage.c.created_at
            newest = await connection.scalar(sa.select(sa.func.max(created_at)).where(created_at < missing))
            if newest is not None:
                missing = newest - newest % HOUR
                await _rebuild(connection, missing)
            await _set_missing(connection, None if newest is None else missing)
            return newest is not None

    async def all_added(self) -> None:
        """Note that all rows have rollups."""
        async with writing(self._engine) as connection:
            await _set_missing(connection, None)

    async def rebuild(self, day: int) -> Rebuilt:
        """Make the rollups of the day that begins at `day` what its rows add up to."""
        rows = kept = 0
        for hour in range(day, day + DAY, HOUR):
            async with writing(self._engine) as connection:
                await _lock(connection)
                added = await _rebuild(connection, hour)
            rows += added or 0
            kept += added is None
        return Rebuilt(rows, kept)


async def _set_missing(connection: AsyncConnection, before: int | None) -> None:
    await connection.execute(sa.update(usage_rollup_state).values(missing_before=before))


async def _lock(connection: AsyncConnection) -> None:
    """Wait until nobody posts. A row whose transaction has not posted yet is posted onto what is built here."""
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock($1)", (ROLLUP_LOCK,))


async def _rebuild(connection: AsyncConnection, hour: int) -> int | None:
    """Return the number of rows that were added up; None if rows were deleted, so that the rollups know more.

    What the rollups lack is added to all spans: a day is right as long as its hours are.
    """
    rollups = usage_rollups.c
    names = (*UsageKey._fields, *COUNTS, "latency", "first_token")
    stored = await connection.execute(
        sa.select(rollups.bucket, *(rollups[name] for name in names)).where(
            rollups.minutes == SPAN_MINUTES[-1], rollups.bucket >= hour, rollups.bucket < hour + HOUR
        )
    )
    sums = RollupSums()
    requests = rows = 0
    async for record in records_between(connection, hour, hour + HOUR):
        sums.add(record)
        requests += record.requests
        rows += 1
    for bucket, *values in stored:
        key, rest = values[: len(UsageKey._fields)], values[len(UsageKey._fields) :]
        requests -= rest[0]
        sums.take_away(bucket, UsageKey(*(text or None for text in key)), rest)
    if requests < 0:
        return None
    await add_totals(connection, sums.by_key())
    return rows
