"""The SQL that stores usage records and attempts."""

from __future__ import annotations

import sqlalchemy as sa

from llm_gateway.infra.database import tables
from llm_gateway.infra.database.facts.inserting import (
    column_names,
    moment,
    sent_columns,
    sqlite_insert,
    stored_columns,
)

_FINISHED_AT = "finished_at"
# What a record holds itself; the time of its end follows from it.
ROW_COLUMNS = tuple(column.name for column in tables.usage.columns if column.name != _FINISHED_AT)
ATTEMPT_COLUMNS = tuple(column.name for column in tables.usage_attempts.columns)
# Records leave out fields that have their defaults; NULL is no default of theirs.
_DEFAULTS = {
    "request_bytes": "0",
    "response_bytes": "0",
    "latency_ms": "0",
    "attempts": "0",
    "cache_hit": "false",
    "requests": "1",
}


def _updates(table: sa.Table) -> str:
    names = [column.name for column in table.columns]
    return ", ".join(f"{name} = excluded.{name}" for name in names if name not in {"request_id", "attempt"})


_REPLACE_ROW = f"ON CONFLICT (request_id) DO UPDATE SET {_updates(tables.usage)}"
# A stored attempt stays, unless it is an interruption and this is its true end.
_ATTEMPT_CONFLICT = f"""
ON CONFLICT (request_id, attempt) DO UPDATE SET {_updates(tables.usage_attempts)}
WHERE usage_attempts.outcome = 'interrupted' AND excluded.outcome <> 'interrupted'
"""


# What differs from what is sent.
_STORED_ROW = {name: f"coalesce({name}, {default})" for name, default in _DEFAULTS.items()} | {
    _FINISHED_AT: f"{moment('created_at')} + coalesce(latency_ms, 0) * interval '1 millisecond'"
}


# `core.ledger.records.last_attempt` in SQL.
_STARTED = "coalesce(attempt_started_at, created_at)"
_LAST_ATTEMPT = {
    "attempt": "attempts",
    "started_at": moment(_STARTED),
    **{name: f"coalesce({name}, '')" for name in ("provider", "model", "upstream_model")},
    "status": "CASE WHEN status_code BETWEEN 200 AND 299 THEN status_code END",
    "reason": "error_type",
    "detail": "NULL",
    "next_step": "NULL",
    "latency_ms": "upstream_latency_ms",
    "ttft_ms": f"CASE WHEN ttft_ms IS NOT NULL THEN greatest(ttft_ms - ({_STARTED} - created_at) / 1000.0, 0) END",
}


# One JSON document for a batch: the server takes it apart, which costs this process a twentieth of what a
# parameter for each value does. JSON rather than JSONB, which takes the server twice as long to read.
_SENT_ROWS = f"""
SELECT * FROM json_to_recordset($1::json)
AS sent ({sent_columns(tables.usage, without=_FINISHED_AT)}, attempt_started_at bigint)"""  # noqa: S608 - our own names
_INSERT_ROWS = f"""
INSERT INTO usage ({column_names(tables.usage)}) SELECT {stored_columns(tables.usage, _STORED_ROW)} FROM sent"""  # noqa: S608 - our own names
_INSERT_LAST_ATTEMPTS = f"""
INSERT INTO usage_attempts ({column_names(tables.usage_attempts)})
SELECT {stored_columns(tables.usage_attempts, _LAST_ATTEMPT)} FROM sent WHERE attempts > 0
{_ATTEMPT_CONFLICT}"""  # noqa: S608 - our own names
# Stores rows that are not there, each with its last attempt; returns the ids of those that are there.
POSTGRES_ROWS = f"""
WITH sent AS MATERIALIZED ({_SENT_ROWS}), stored AS (
    {_INSERT_ROWS} ON CONFLICT (request_id) DO NOTHING RETURNING request_id
), attempts AS ({_INSERT_LAST_ATTEMPTS})
SELECT request_id FROM sent WHERE request_id NOT IN (SELECT request_id FROM stored)"""  # noqa: S608 - our own names
# Stores rows, each with its last attempt; fails if one is there. It takes the server a tenth less than the one
# above, which looks for each row first. Rows come before attempts in both, as transactions that lock the same must.
POSTGRES_NEW_ROWS = f"""
WITH sent AS MATERIALIZED ({_SENT_ROWS}), attempts AS ({_INSERT_LAST_ATTEMPTS})
{_INSERT_ROWS}"""
POSTGRES_REPLACE = f"""
INSERT INTO usage ({column_names(tables.usage)})
SELECT {stored_columns(tables.usage, _STORED_ROW)} FROM ({_SENT_ROWS}) AS sent
{_REPLACE_ROW}"""  # noqa: S608 - our own names
POSTGRES_ATTEMPTS = f"""
INSERT INTO usage_attempts ({column_names(tables.usage_attempts)})
SELECT {stored_columns(tables.usage_attempts)}
FROM json_to_recordset($1::json) AS sent ({sent_columns(tables.usage_attempts)})
{_ATTEMPT_CONFLICT}"""  # noqa: S608 - our own names


SQLITE_ROWS = sqlite_insert(tables.usage, (*ROW_COLUMNS, _FINISHED_AT), _REPLACE_ROW)
SQLITE_ATTEMPTS = sqlite_insert(tables.usage_attempts, ATTEMPT_COLUMNS, _ATTEMPT_CONFLICT)
