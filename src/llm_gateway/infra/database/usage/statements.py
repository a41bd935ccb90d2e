"""The SQL that stores usage records and attempts, each statement idempotent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from llm_gateway.infra.database import tables

# Longest text that is stored; an index entry of PostgreSQL holds some 2,700 bytes.
TEXT_LIMIT = 256
ROW_COLUMNS = tuple(column.name for column in tables.usage.columns)
ATTEMPT_COLUMNS = tuple(column.name for column in tables.usage_attempts.columns)

_POSTGRES = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
_TIMES = frozenset({"created_at", "started_at"})


def _updates(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns if name not in {"request_id", "attempt"})


# A stored row stays, unless it is an interruption: the true end of the request replaces it, and so does a later
# attempt that the journal knew of.
_ROW_CONFLICT = f"""
ON CONFLICT (request_id) DO UPDATE SET {_updates(ROW_COLUMNS)}
WHERE usage.outcome = 'interrupted'
  AND (excluded.outcome <> 'interrupted' OR excluded.attempts > usage.attempts)
"""
_ATTEMPT_CONFLICT = f"""
ON CONFLICT (request_id, attempt) DO UPDATE SET {_updates(ATTEMPT_COLUMNS)}
WHERE usage_attempts.outcome = 'interrupted' AND excluded.outcome <> 'interrupted'
"""


def _sent_as(column: sa.Column[Any]) -> str:
    sent_type = "bigint" if column.name in _TIMES else column.type.compile(_POSTGRES)
    return f"{column.name} {sent_type}"


def _moment(unix_us: str) -> str:
    return f"'epoch'::timestamptz + {unix_us} * interval '1 microsecond'"


def _stored_as(column: sa.Column[Any]) -> str:
    if column.name in _TIMES:
        return _moment(column.name)
    if column.name == "cache_hit":
        # Records written before there was a cache do not have it.
        return "coalesce(cache_hit, false)"
    return f"left({column.name}, {TEXT_LIMIT})" if isinstance(column.type, sa.Text) else column.name


# `core.ledger.records.last_attempt` in SQL.
_STARTED = "coalesce(attempt_started_at, created_at)"
_LAST_ATTEMPT = {
    "attempt": "attempts",
    "started_at": _moment(_STARTED),
    **{name: f"coalesce(left({name}, {TEXT_LIMIT}), '')" for name in ("provider", "model", "upstream_model")},
    "status": "CASE WHEN status_code BETWEEN 200 AND 299 THEN status_code END",
    "reason": f"left(error_type, {TEXT_LIMIT})",
    "detail": "NULL",
    "next_step": "NULL",
    "latency_ms": "upstream_latency_ms",
    "ttft_ms": f"CASE WHEN ttft_ms IS NOT NULL THEN greatest(ttft_ms - ({_STARTED} - created_at) / 1000.0, 0) END",
}


def _columns(table: sa.Table) -> str:
    return ", ".join(column.name for column in table.columns)


def _sent(table: sa.Table) -> str:
    return ", ".join(_sent_as(column) for column in table.columns)


def _stored(table: sa.Table) -> str:
    return ", ".join(_stored_as(column) for column in table.columns)


def _last_attempt() -> str:
    columns = tables.usage_attempts.columns
    return ", ".join(_LAST_ATTEMPT.get(column.name) or _stored_as(column) for column in columns)


# One JSON document for a batch: the server takes it apart, which costs this process a twentieth of what a
# parameter for each value does. A record's last attempt is stored with it.
POSTGRES_ROWS = f"""
WITH sent AS (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS sent ({_sent(tables.usage)}, attempt_started_at bigint)
), stored AS (
    INSERT INTO usage ({_columns(tables.usage)}) SELECT {_stored(tables.usage)} FROM sent {_ROW_CONFLICT}
)
INSERT INTO usage_attempts ({_columns(tables.usage_attempts)})
SELECT {_last_attempt()} FROM sent WHERE attempts > 0
{_ATTEMPT_CONFLICT}"""  # noqa: S608 - our own names
POSTGRES_ATTEMPTS = f"""
INSERT INTO usage_attempts ({_columns(tables.usage_attempts)})
SELECT {_stored(tables.usage_attempts)} FROM jsonb_to_recordset($1::jsonb) AS sent ({_sent(tables.usage_attempts)})
{_ATTEMPT_CONFLICT}"""  # noqa: S608 - our own names


def _sqlite_insert(table: sa.Table, on_conflict: str) -> str:
    values = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({values}) {on_conflict}"  # noqa: S608 - our names


SQLITE_ROWS = _sqlite_insert(tables.usage, _ROW_CONFLICT)
SQLITE_ATTEMPTS = _sqlite_insert(tables.usage_attempts, _ATTEMPT_CONFLICT)
