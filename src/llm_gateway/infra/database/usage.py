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
from llm_gateway.flow.ports.ledger import FactsRefused
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace
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
_decode = msgspec.json.Decoder(UsageRecord).decode


class UsageRepository:
    """The usage table."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read and write over `engine`."""
        self._engine = engine

    async def upsert(self, facts: Sequence[bytes]) -> None:
        """Store all or none; raise FactsRefused or StoreUnavailable. Bounded by the engine's time limits."""
        if not facts:
            return
        if self._engine.dialect.name == "postgresql":
            try:
                # Nearly always: the lines go to the server as they are, and cost this process next to nothing.
                await self._insert(_POSTGRES_INSERT, (_as_json(facts),))
            except (UnicodeDecodeError, FactsRefused):
                records = _readable(facts)
                await self._insert(_POSTGRES_INSERT, (_as_json([_encode(record) for record in records]),))
        else:
            await self._insert(_SQLITE_INSERT, [_row(record) for record in _readable(facts)])

    async def _insert(self, statement: str, parameters: Any) -> None:  # noqa: ANN401 - one row, or a list of rows
        try:
            async with writing(self._engine) as connection:
                await connection.exec_driver_sql(statement, parameters)
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
    """Tell a refusal of values from everything else that may go wrong.

    SQLSTATE classes 21 (a request that is there twice), 22 and 23.
    """
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, (DataError, IntegrityError)) or str(state)[:2] in {"21", "22", "23"}


def _readable(facts: Sequence[bytes]) -> list[UsageRecord]:
    """Return one record a request, fit for the database; raise FactsRefused when one cannot be read."""
    try:
        records = [_decode(fact) for fact in facts]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FactsRefused(f"A usage fact cannot be read ({error})") from None
    return [_fitted(record) for record in _one_per_request(records)]


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


def _as_json(facts: Sequence[bytes]) -> str:
    """Return the batch as one document. PostgreSQL's text holds no NUL, which a client may have sent."""
    return (b"[" + b",".join(facts) + b"]").replace(b"\\u0000", b"\\ufffd").decode()


def _fitted(record: UsageRecord) -> UsageRecord:
    """Clip numbers, which a provider may have chosen, to what 64 bits hold."""
    changed = {
        name: max(-_INT_LIMIT, min(value, _INT_LIMIT))
        for name in record.__struct_fields__
        if type(value := getattr(record, name)) is int and not -_INT_LIMIT <= value <= _INT_LIMIT
    }
    return msgspec.structs.replace(record, **changed) if changed else record


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
