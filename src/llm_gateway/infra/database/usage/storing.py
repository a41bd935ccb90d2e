"""Stores a batch of usage records and attempts, and says which rows it really stored."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from llm_gateway.core.ledger.records import UsageRecord, finished_at, last_attempt
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.facts.fitting import Line
from llm_gateway.infra.database.facts.inserting import document, stored_values
from llm_gateway.infra.database.facts.reading import read_fact, readable_columns
from llm_gateway.infra.database.postings import StoredChange
from llm_gateway.infra.database.usage.lines import Batch, replaces
from llm_gateway.infra.database.usage.statements import (
    ATTEMPT_COLUMNS,
    POSTGRES_ATTEMPTS,
    POSTGRES_NEW_ROWS,
    POSTGRES_REPLACE,
    POSTGRES_ROWS,
    ROW_COLUMNS,
    SQLITE_ATTEMPTS,
    SQLITE_ROWS,
)
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

_UNIQUE_VIOLATION = "23505"
_encode = msgspec.json.Encoder().encode


def says_that_a_row_is_there(error: DBAPIError) -> bool:
    """Return whether rows that were said to be new are not all new."""
    return isinstance(error, IntegrityError) and getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION


async def store_batch(connection: AsyncConnection, batch: Batch, *, are_new: bool) -> list[StoredChange]:
    """Store what is not stored yet, in the transaction of `connection`; return the rows that were stored.

    Attempts come first: one that has a fact of its own takes precedence over what its request's record says of it.
    In PostgreSQL rows are stored without a look at each if they `are_new`. If one is there all the same, as after a
    crash, IntegrityError is raised and the transaction has failed.
    """
    if connection.dialect.name == "postgresql":
        return await _store_postgres(connection, batch, are_new=are_new)
    return await _store_sqlite(connection, batch)


async def _store_postgres(connection: AsyncConnection, batch: Batch, *, are_new: bool) -> list[StoredChange]:
    if batch.attempts:
        await connection.exec_driver_sql(POSTGRES_ATTEMPTS, (document(batch.attempts),))
    if not batch.records:
        return []
    sent = document(batch.records)
    if are_new:
        await connection.exec_driver_sql(POSTGRES_NEW_ROWS, (sent,))
        return list(map(StoredChange, map(_fact, batch.records)))
    rows = await connection.exec_driver_sql(POSTGRES_ROWS, (sent,))
    known = set(rows.scalars())
    # The statement above waited for other transactions that were storing these rows, so the next one sees them.
    # Locked, they are what is replaced. A row that was deleted in between had been stored, and so posted, before.
    stored = await _read(connection, sorted(known))
    again = [
        line
        for line in batch.records
        if (row := stored.get(line.fact.request_id)) is not None and replaces(line.fact, row)
    ]
    if again:
        await connection.exec_driver_sql(POSTGRES_REPLACE, (document(again),))
    return _changes([line for line in batch.records if line.fact.request_id not in known], again, stored)


async def _store_sqlite(connection: AsyncConnection, batch: Batch) -> list[StoredChange]:
    """Nobody else writes during this transaction, so what is read stays true."""
    ended = [line.fact for line in batch.attempts]
    ended += [last for line in batch.records if (last := last_attempt(line.fact)) is not None]
    if ended:
        await connection.exec_driver_sql(
            SQLITE_ATTEMPTS, [stored_values(_attempt_values(one)) for one in ended]
        )
    if not batch.records:
        return []
    stored = await _read(connection, [line.fact.request_id for line in batch.records])
    new = [line for line in batch.records if line.fact.request_id not in stored]
    again = [
        line
        for line in batch.records
        if line.fact.request_id in stored and replaces(line.fact, stored[line.fact.request_id])
    ]
    if new or again:
        values = [(*stored_values(_row_values(line.fact)), finished_at(line.fact)) for line in (*new, *again)]
        await connection.exec_driver_sql(SQLITE_ROWS, values)
    return _changes(new, again, stored)


def _changes(
    new: Sequence[Line[UsageRecord]], again: Sequence[Line[UsageRecord]], stored: dict[str, UsageRecord]
) -> list[StoredChange]:
    return [StoredChange(line.fact) for line in new] + [
        StoredChange(line.fact, stored[line.fact.request_id]) for line in again
    ]


async def _read(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, UsageRecord]:
    """Return the stored rows with these ids, locked."""
    statement = sa.select(*readable_columns(tables.usage, ROW_COLUMNS))
    column = tables.usage.c.request_id
    if connection.dialect.name == "postgresql":
        statement = statement.where(column == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.Text))))
        statement = statement.order_by(column).with_for_update()
        rows = await connection.execute(statement, {"ids": ids})
    else:
        wanted = sa.text("SELECT value FROM json_each(:ids)").columns(sa.column("value"))
        statement = statement.where(column.in_(wanted.scalar_subquery()))
        rows = await connection.execute(statement, {"ids": _encode(ids).decode()})
    return {row.request_id: read_fact(row._asdict(), UsageRecord) for row in rows}


_fact = attrgetter("fact")
_row_values = attrgetter(*ROW_COLUMNS)
_attempt_values = attrgetter(*ATTEMPT_COLUMNS)
