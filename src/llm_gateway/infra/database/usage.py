"""Stores usage facts in batches and lists them (implements UsageStore and UsageReader)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_gateway.core.records import UsageRecord
from llm_gateway.flow.ports import FactsRefused
from llm_gateway.flow.stores import UsageFilter, UsagePlace
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.tables import to_datetime

_COLUMNS = tuple(column.name for column in tables.usage.columns)
# Longest text that is stored; an index entry of PostgreSQL holds some 2,700 bytes.
_TEXT_LIMIT = 256
_INT_LIMIT = 2**63 - 1

_NAMES = ", ".join(_COLUMNS)
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "request_id")
# What is there stays, but for a request that was closed as interrupted: its true end, or a later attempt of
# it that the journal knew of, takes the row.
_ON_CONFLICT = f"""
ON CONFLICT (request_id) DO UPDATE SET {_UPDATES}
WHERE usage.outcome = 'interrupted'
  AND (excluded.outcome <> 'interrupted' OR excluded.attempts > usage.attempts)
"""
_POSTGRES = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
# One statement with a few arrays is three times as fast as one with thousands of parameters.
_ARRAYS = ", ".join(
    f"${place}::{column.type.compile(_POSTGRES)}[]"
    for place, column in enumerate(tables.usage.columns, start=1)
)
_POSTGRES_INSERT = f"INSERT INTO usage ({_NAMES}) SELECT * FROM unnest({_ARRAYS}) {_ON_CONFLICT}"  # noqa: S608 - our names
_SQLITE_INSERT = f"INSERT INTO usage ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))}) {_ON_CONFLICT}"  # noqa: S608 - our names


class UsageRepository:
    """The usage table."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read and write over `engine`."""
        self._engine = engine

    async def upsert(self, records: Sequence[UsageRecord]) -> None:
        """Store all or none; raise FactsRefused or StoreUnavailable. Bounded by the engine's time limits."""
        rows = [_row(record) for record in _one_per_request(records)]
        if not rows:
            return
        try:
            async with writing(self._engine) as connection:
                if connection.dialect.name == "postgresql":
                    await connection.exec_driver_sql(_POSTGRES_INSERT, _as_arrays(rows))
                else:
                    await connection.exec_driver_sql(_SQLITE_INSERT, rows)
        except (DataError, IntegrityError) as error:
            raise FactsRefused(f"The usage table refused these values ({type(error).__name__})") from error

    async def list(self, wanted: UsageFilter, after: UsagePlace | None, limit: int) -> list[UsageRecord]:
        """Return up to `limit` rows, newest first, that come behind `after`; raise StoreUnavailable."""
        async with reading(self._engine) as connection:
            rows = await connection.execute(_select(wanted, after, limit))
            return [UsageRecord(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def _one_per_request(records: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Keep one record a request, since a statement may touch a row once: a true end before an interruption."""
    chosen: dict[str, UsageRecord] = {}
    for record in records:
        known = chosen.get(record.request_id)
        if known is None or (known.outcome == "interrupted" and _beats(record, known)):
            chosen[record.request_id] = record
    return list(chosen.values())


def _beats(record: UsageRecord, interrupted: UsageRecord) -> bool:
    return record.outcome != "interrupted" or record.attempts > interrupted.attempts


def _row(record: UsageRecord) -> tuple[Any, ...]:
    """Return the record's values in the table's order, cut to what both stores take.

    A client chooses some of them (a model's name, its own request id): none may keep a batch from being stored.
    """
    return tuple([_fitted(getattr(record, name)) for name in _COLUMNS])


def _fitted(value: object) -> object:
    if type(value) is str:
        if len(value) > _TEXT_LIMIT:
            value = value[:_TEXT_LIMIT]
        return value if value.isascii() and "\0" not in value else _storable(value)
    if type(value) is int:
        return value if -_INT_LIMIT <= value <= _INT_LIMIT else _INT_LIMIT
    return value


def _storable(text: str) -> str:
    """Replace what is no character in a database: NUL and half surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _as_arrays(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    arrays = [list(values) for values in zip(*rows, strict=True)]
    when = _COLUMNS.index("created_at")
    arrays[when] = [to_datetime(unix_us) for unix_us in arrays[when]]
    return tuple(arrays)


def _select(wanted: UsageFilter, after: UsagePlace | None, limit: int) -> sa.Select[Any]:
    usage = tables.usage.c
    statement = (
        sa.select(tables.usage).order_by(usage.created_at.desc(), usage.request_id.desc()).limit(limit)
    )
    for name in ("credential", "provider", "model", "outcome", "request_id"):
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(usage[name] == value)
    if wanted.since is not None:
        statement = statement.where(usage.created_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(usage.created_at < wanted.until)
    if after is not None:
        place = sa.tuple_(usage.created_at, usage.request_id)
        statement = statement.where(
            place < sa.tuple_(sa.bindparam(None, after.created_at, tables.UnixMicros), after.request_id)
        )
    return statement
