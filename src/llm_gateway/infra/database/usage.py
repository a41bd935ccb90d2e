"""Stores usage facts in batches and lists them (implements UsageStore and UsageReader)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_gateway.core.records import UsageRecord
from llm_gateway.flow.ports import FactsRefused
from llm_gateway.flow.stores import UsageFilter, UsagePlace
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading, writing

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


def _sent_as(column: sa.Column[Any]) -> str:
    return "bigint" if column.name == "created_at" else column.type.compile(_POSTGRES)


def _stored_as(column: sa.Column[Any]) -> str:
    if column.name == "created_at":
        return "'epoch'::timestamptz + created_at * interval '1 microsecond'"
    if column.name == "cache_hit":
        # Facts that were written before there was a cache do not have it.
        return "coalesce(cache_hit, false)"
    return f"left({column.name}, {_TEXT_LIMIT})" if isinstance(column.type, sa.Text) else column.name


# One JSON document for a batch: the server takes it apart, which costs this process a twentieth of what a
# parameter for each value does.
_POSTGRES_INSERT = f"""
INSERT INTO usage ({_NAMES})
SELECT {", ".join(_stored_as(column) for column in tables.usage.columns)}
FROM jsonb_to_recordset($1::jsonb)
AS sent ({", ".join(f"{column.name} {_sent_as(column)}" for column in tables.usage.columns)})
{_ON_CONFLICT}"""  # noqa: S608 - our own names
_SQLITE_INSERT = f"INSERT INTO usage ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))}) {_ON_CONFLICT}"  # noqa: S608 - our names

_values = attrgetter(*_COLUMNS)
_encode = msgspec.json.Encoder().encode


class UsageRepository:
    """The usage table."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read and write over `engine`."""
        self._engine = engine

    async def upsert(self, records: Sequence[UsageRecord]) -> None:
        """Store all or none; raise FactsRefused or StoreUnavailable. Bounded by the engine's time limits."""
        chosen = _one_per_request(records)
        if not chosen:
            return
        try:
            await self._insert(chosen)
        except (UnicodeEncodeError, OverflowError, FactsRefused):
            # A client or a provider chose some values, and not all of them fit a database.
            await self._insert([_fitted(record) for record in chosen])

    async def _insert(self, chosen: Sequence[UsageRecord]) -> None:
        try:
            async with writing(self._engine) as connection:
                if connection.dialect.name == "postgresql":
                    await connection.exec_driver_sql(_POSTGRES_INSERT, (_as_json(chosen),))
                else:
                    await connection.exec_driver_sql(_SQLITE_INSERT, [_row(record) for record in chosen])
        except DBAPIError as error:
            if not _is_about_values(error):
                raise
            raise FactsRefused(f"The usage table refused these values ({type(error).__name__})") from error

    async def list(self, wanted: UsageFilter, after: UsagePlace | None, limit: int) -> list[UsageRecord]:
        """Return up to `limit` rows, newest first, that come behind `after`; raise StoreUnavailable."""
        async with reading(self._engine) as connection:
            rows = await connection.execute(_select(wanted, after, limit))
            return [UsageRecord(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def _is_about_values(error: DBAPIError) -> bool:
    """Tell a refusal of values (SQLSTATE classes 22 and 23) from everything else that may go wrong."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, (DataError, IntegrityError)) or str(state)[:2] in {"22", "23"}


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


def _as_json(records: Sequence[UsageRecord]) -> str:
    """Return the batch as one document. PostgreSQL's text holds no NUL, which a client may have sent."""
    return _encode(records).replace(b"\\u0000", b"\\ufffd").decode()


def _fitted(record: UsageRecord) -> UsageRecord:
    """Replace half surrogates, which are no characters, and clip numbers to what 64 bits hold."""

    def fit(value: Any) -> Any:  # noqa: ANN401 - a field of any type
        if type(value) is str:
            return value.encode("utf-8", "replace").decode()
        return max(-_INT_LIMIT, min(value, _INT_LIMIT)) if type(value) is int else value

    return UsageRecord(**{name: fit(getattr(record, name)) for name in record.__struct_fields__})


def _row(record: UsageRecord) -> tuple[Any, ...]:
    """Return the record's values in the table's order; a client chooses some texts, so they are cut."""
    values: tuple[Any, ...] = _values(record)
    if any(type(value) is str and (len(value) > _TEXT_LIMIT or "\0" in value) for value in values):
        return tuple(
            [value[:_TEXT_LIMIT].replace("\0", "\ufffd") if type(value) is str else value for value in values]
        )
    return values


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
