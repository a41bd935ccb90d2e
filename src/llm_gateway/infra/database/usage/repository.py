"""Stores usage records, attempts and events in batches, and reads the first two back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.ledger import RecordsRejected, UsageStore
from llm_gateway.flow.ports.usage import (
    SummaryQuery,
    UsageFilter,
    UsageOrder,
    UsagePlace,
    UsageReader,
    UsageSummary,
    UseTotals,
)
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.facts.reading import read_fact, readable_columns
from llm_gateway.infra.database.postings import UsagePosting
from llm_gateway.infra.database.telemetry.storing import store_events
from llm_gateway.infra.database.usage.filtering import conditions
from llm_gateway.infra.database.usage.lines import Batch, read_lines
from llm_gateway.infra.database.usage.statements import ATTEMPT_COLUMNS, ROW_COLUMNS
from llm_gateway.infra.database.usage.storing import says_that_a_row_is_there, store_batch
from llm_gateway.infra.database.usage.summary import summarize
from llm_gateway.infra.database.usage.use_totals import add_up
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine


class UsageRepository(UsageStore, UsageReader):
    """The tables `usage` and `usage_attempts`; what the journal has besides them goes to `telemetry_events`."""

    def __init__(self, engine: AsyncEngine, postings: Sequence[UsagePosting] = ()) -> None:
        """Each of `postings` is told of the rows in the transaction that stores them, in this order."""
        self._engine = engine
        self._postings = tuple(postings)

    async def upsert(self, facts: Sequence[bytes]) -> None:
        """Store all or none; raise RecordsRejected or StoreUnavailable. Bounded by the engine's time limits."""
        if not facts:
            return
        batch = await read_lines(facts)
        try:
            try:
                # Nearly always they are: to find out costs a batch more than to store it again after a crash.
                await self._store(batch, are_new=True)
            except IntegrityError as error:
                if not says_that_a_row_is_there(error):
                    raise
                await self._store(batch, are_new=False)
        except DBAPIError as error:
            if not _is_about_values(error):
                raise
            raise RecordsRejected(
                f"The usage tables refused these values ({type(error).__name__})"
            ) from error

    async def _store(self, batch: Batch, *, are_new: bool) -> None:
        async with writing(self._engine) as connection:
            changes = await store_batch(connection, batch, are_new=are_new)
            await store_events(connection, batch.events)
            if changes:
                for posting in self._postings:
                    await posting.post(connection, changes)

    async def list(
        self, wanted: UsageFilter, after: UsagePlace | None, limit: int, order: UsageOrder = "created_at"
    ) -> list[UsageRecord]:
        async with reading(self._engine) as connection:
            rows = await connection.execute(_select(wanted, after, limit, order))
            return [read_fact(row._asdict(), UsageRecord) for row in rows]

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        table = tables.usage_attempts
        statement = (
            sa.select(*readable_columns(table, ATTEMPT_COLUMNS))
            .where(table.c.request_id == request_id)
            .order_by(table.c.attempt)
        )
        async with reading(self._engine) as connection:
            rows = await connection.execute(statement)
            return [read_fact(row._asdict(), AttemptEnded) for row in rows]

    async def summarize(self, query: SummaryQuery) -> UsageSummary:
        async with reading(self._engine) as connection:
            return await summarize(connection, query)

    async def totals(self, wanted: UsageFilter) -> UseTotals:
        async with reading(self._engine) as connection:
            return await add_up(connection, wanted)


def _is_about_values(error: DBAPIError) -> bool:
    """Return whether the database refused the values, as opposed to everything else that may go wrong.

    SQLSTATE classes 21 (a row that is there twice), 22 and 23.
    """
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, (DataError, IntegrityError)) or str(state)[:2] in {"21", "22", "23"}


def _select(wanted: UsageFilter, after: UsagePlace | None, limit: int, order: UsageOrder) -> sa.Select[Any]:
    usage = tables.usage.c
    by = usage[order]
    columns = readable_columns(tables.usage, ROW_COLUMNS)
    if order == "created_at":
        statement = sa.select(*columns).order_by(by.desc(), usage.request_id.desc()).limit(limit)
    else:
        statement = sa.select(*columns).order_by(by, usage.request_id).limit(limit)
    statement = statement.where(*conditions(wanted))
    if after is not None:
        place = sa.tuple_(by, usage.request_id)
        known = sa.tuple_(sa.bindparam(None, after.at, tables.UnixMicros), after.request_id)
        statement = statement.where(place < known if order == "created_at" else place > known)
    return statement
