"""Stores usage records and attempts in batches, and reads them back."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, last_attempt
from llm_gateway.flow.ports.ledger import FactsRefused, UsageStore
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace, UsageReader
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.usage.statements import (
    ATTEMPT_COLUMNS,
    POSTGRES_ATTEMPTS,
    POSTGRES_ROWS,
    ROW_COLUMNS,
    SQLITE_ATTEMPTS,
    SQLITE_ROWS,
    TEXT_LIMIT,
)

_INT_LIMIT = 2**63 - 1
# How msgspec starts the line of an attempt; all others end a request.
_ATTEMPT = b'{"t":"attempt"'

_row_values = attrgetter(*ROW_COLUMNS)
_attempt_values = attrgetter(*ATTEMPT_COLUMNS)
_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(UsageRecord).decode
_decode_attempt = msgspec.json.Decoder(AttemptEnded).decode
_Fact = TypeVar("_Fact", UsageRecord, AttemptEnded)


class UsageRepository(UsageStore, UsageReader):
    """The tables `usage` and `usage_attempts`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def upsert(self, facts: Sequence[bytes]) -> None:
        """Store all or none; raise FactsRefused or StoreUnavailable. Bounded by the engine's time limits."""
        attempts = [fact for fact in facts if fact.startswith(_ATTEMPT)]
        ends = [fact for fact in facts if not fact.startswith(_ATTEMPT)] if attempts else facts
        if self._engine.dialect.name != "postgresql":
            records, ended = _readable(ends, attempts)
            await self._insert(
                (SQLITE_ATTEMPTS, [_storable(_attempt_values(one)) for one in ended]),
                (SQLITE_ROWS, [_storable(_row_values(record)) for record in records]),
            )
            return
        try:
            # Nearly always: the lines go to the server as they are, and cost this process next to nothing.
            await self._insert(*_postgres_statements(ends, attempts))
        except (UnicodeDecodeError, FactsRefused):
            records, ended = _readable(ends, attempts)
            lines = [_encode(record) for record in records], [_encode(one) for one in ended]
            await self._insert(*_postgres_statements(*lines))

    async def _insert(self, *statements: tuple[str, Any]) -> None:
        """Run each statement that has parameters (one row, or a list of rows) in one transaction.

        Attempts come first: one that failed has a fact of its own, which takes precedence over what its request's
        record says of it.
        """
        try:
            async with writing(self._engine) as connection:
                for statement, parameters in statements:
                    if parameters:
                        await connection.exec_driver_sql(statement, parameters)
        except DBAPIError as error:
            if not _is_about_values(error):
                raise
            raise FactsRefused(f"The usage tables refused these values ({type(error).__name__})") from error

    async def list(self, wanted: UsageFilter, after: UsagePlace | None, limit: int) -> list[UsageRecord]:
        async with reading(self._engine) as connection:
            rows = await connection.execute(_select(wanted, after, limit))
            return [UsageRecord(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it

    async def attempts(self, request_id: str) -> Sequence[AttemptEnded]:
        columns = tables.usage_attempts.c
        statement = (
            sa.select(tables.usage_attempts).where(columns.request_id == request_id).order_by(columns.attempt)
        )
        async with reading(self._engine) as connection:
            rows = await connection.execute(statement)
            return [AttemptEnded(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def _postgres_statements(ends: Sequence[bytes], attempts: Sequence[bytes]) -> list[tuple[str, Any]]:
    return [
        (POSTGRES_ATTEMPTS, (_as_json(attempts),) if attempts else None),
        (POSTGRES_ROWS, (_as_json(ends),) if ends else None),
    ]


def _is_about_values(error: DBAPIError) -> bool:
    """Return whether the database refused the values, as opposed to everything else that may go wrong.

    SQLSTATE classes 21 (a row that is there twice), 22 and 23.
    """
    state = getattr(error.orig, "sqlstate", None) or ""
    return isinstance(error, (DataError, IntegrityError)) or str(state)[:2] in {"21", "22", "23"}


def _readable(
    ends: Sequence[bytes], attempts: Sequence[bytes]
) -> tuple[list[UsageRecord], list[AttemptEnded]]:
    """Return one record per request and all their attempts, fit for the database; raise FactsRefused."""
    try:
        records = [_fitted(_decode_record(fact)) for fact in ends]
        ended = [_fitted(_decode_attempt(fact)) for fact in attempts]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FactsRefused(f"A usage record cannot be read ({error})") from None
    ended += [last for record in records if (last := last_attempt(record)) is not None]
    return _one_per_request(records), _one_per_attempt(ended)


def _one_per_request(records: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Keep one record per request, since a statement may touch a row once: a true end before an interruption."""
    chosen: dict[str, UsageRecord] = {}
    for record in records:
        known = chosen.get(record.request_id)
        if known is None or (known.outcome == "interrupted" and _beats(record, known)):
            chosen[record.request_id] = record
    return list(chosen.values())


def _beats(record: UsageRecord, interrupted: UsageRecord) -> bool:
    return record.outcome != "interrupted" or record.attempts > interrupted.attempts


def _one_per_attempt(attempts: Sequence[AttemptEnded]) -> list[AttemptEnded]:
    """Keep one fact per attempt: the first, unless it is an interruption."""
    chosen: dict[tuple[str, int], AttemptEnded] = {}
    for attempt in attempts:
        key = attempt.request_id, attempt.attempt
        known = chosen.get(key)
        if known is None or (known.outcome == "interrupted" and attempt.outcome != "interrupted"):
            chosen[key] = attempt
    return list(chosen.values())


def _as_json(facts: Sequence[bytes]) -> str:
    """Return the batch as one document. PostgreSQL's text holds no NUL, which a client may have sent."""
    return (b"[" + b",".join(facts) + b"]").replace(b"\\u0000", b"\\ufffd").decode()


def _fitted(fact: _Fact) -> _Fact:
    """Clip numbers, which a provider may have chosen, to what 64 bits hold."""
    changed = {
        name: max(-_INT_LIMIT, min(value, _INT_LIMIT))
        for name in fact.__struct_fields__
        if type(value := getattr(fact, name)) is int and not -_INT_LIMIT <= value <= _INT_LIMIT
    }
    return msgspec.structs.replace(fact, **changed) if changed else fact


def _storable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cut and clean the texts among the values, some of which a client chooses."""
    if any(type(value) is str and (len(value) > TEXT_LIMIT or "\0" in value) for value in values):
        return tuple(
            [value[:TEXT_LIMIT].replace("\0", "\ufffd") if type(value) is str else value for value in values]
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
