"""The SQLAlchemy tables that statements use. The migrations create them; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator, TypeEngine

# PostgreSQL channel on which the triggers announce a new version.
CONFIG_CHANNEL = "llm_gateway_config"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(unix_us: int) -> datetime:
    """Return the UTC time of `unix_us` Unix microseconds."""
    return _EPOCH + timedelta(microseconds=unix_us)


def to_unix_us(moment: datetime) -> int:
    """Return the Unix microseconds of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


class UnixMicros(TypeDecorator[int]):
    """Unix microseconds in Python, stored as a timestamptz in PostgreSQL and as an integer in SQLite."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.Integer())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime | int | None:
        if value is None or dialect.name != "postgresql":
            return value
        return to_datetime(value)

    def process_result_value(self, value: object, dialect: Dialect) -> int | None:
        """Return the time; None for what cannot be read as one, which SQLite may hold if it was written by hand."""
        del dialect
        if isinstance(value, datetime):
            # Without a time zone it is asyncpg's stand-in for PostgreSQL's infinity.
            return None if value.tzinfo is None else to_unix_us(value)
        if isinstance(value, int):
            return value
        return read_time(value) if isinstance(value, str) else None


def read_time(text: str) -> int | None:
    """Read a time as SQLite's own functions write it: `2026-11-29 10:11:12`, in UTC."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return to_unix_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


class StoredMicros(sa.ColumnElement[Any]):
    """A time as every driver reads it alike: a number of Unix microseconds, or what SQLite has in its place.

    PostgreSQL's infinities are the largest and the smallest number.
    """

    inherit_cache = True
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - as SQLAlchemy reads it
    type = sa.BigInteger()

    def __init__(self, column: sa.Column[Any]) -> None:
        self.column = column


@compiles(StoredMicros)
def _any_micros(element: StoredMicros, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy's
    return compiler.process(element.column, **options)


@compiles(StoredMicros, "postgresql")
def _postgres_micros(element: StoredMicros, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    column = compiler.process(element.column, **options)
    return (
        f"CASE {column} WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9223372036854775808 "
        f"ELSE CAST(EXTRACT(EPOCH FROM {column}) * 1000000 AS BIGINT) END"
    )


_BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def id_column() -> sa.Column[int]:
    # Ids are never reused: PostgreSQL has an identity, SQLite AUTOINCREMENT. The migrations set the latter, because
    # here it would load SQLite's dialect into every worker.
    return sa.Column("id", _BigId, sa.Identity(), primary_key=True)


def time_columns() -> tuple[sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("created_at", UnixMicros, nullable=False),
        sa.Column("updated_at", UnixMicros, nullable=False),
    )


# One row. Triggers on the tables in `catalog/` raise the version, so changes by SQL count too.
config_state = sa.Table(
    "config_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)

# One row. What DATA_DIR holds for this database lies in a folder of this name; a restored backup brings its id along.
database_identity = sa.Table(
    "database_identity",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("database_id", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)

# One row, once the catalog was filled from a file or the environment: it is filled only once.
first_fill = sa.Table(
    "first_fill",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("filled_at", UnixMicros, nullable=False),
    # CONFIG_FILE, environment, import, or existing: rows that were there before.
    sa.Column("source", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)

config_versions = sa.Table(
    "config_versions",
    metadata,
    sa.Column("version", _BigId, primary_key=True, autoincrement=False),
    sa.Column("created_at", UnixMicros, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    # The row and the fields that changed, as a sentence without values.
    sa.Column("action", sa.Text, nullable=False),
    # See `flow.config.rows.history.VersionChanges`; NULL in versions of older gateways.
    sa.Column("changes", JSON, nullable=True),
)

sealed_settings = sa.Table(
    "sealed_settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("created_at", UnixMicros, nullable=False),
    sa.Column("client_request_id", sa.Text),
    sa.Column("credential", sa.Text),
    sa.Column("provider", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("upstream_model", sa.Text),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("status_code", sa.Integer, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error_type", sa.Text),
    sa.Column("prompt_tokens", sa.BigInteger),
    sa.Column("completion_tokens", sa.BigInteger),
    sa.Column("total_tokens", sa.BigInteger),
    sa.Column("cached_tokens", sa.BigInteger),
    sa.Column("reasoning_tokens", sa.BigInteger),
    sa.Column("usage_source", sa.Text),
    sa.Column("request_bytes", sa.BigInteger, nullable=False),
    sa.Column("response_bytes", sa.BigInteger, nullable=False),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.Column("upstream_latency_ms", sa.Double),
    sa.Column("ttft_ms", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("client_ip", sa.Text),
    sa.Column("config_version", sa.BigInteger),
    # The reply came from the reply cache; no provider was called.
    sa.Column("cache_hit", sa.Boolean, nullable=False, server_default=sa.false()),
    # `created_at` plus the latency; NULL in no row that the gateway stored.
    sa.Column("finished_at", UnixMicros),
    sa.Column("cache_write_tokens", sa.BigInteger),
    sa.Column("cached_in_prompt", sa.Boolean),
    sa.Column("cost_nano_usd", sa.BigInteger),
    sa.Column("cost_source", sa.Text),
    sa.Column("unpriced", sa.Text),
    sa.Column("cost_breakdown", JSON),
    sa.Column("price_version", sa.Text),
    sa.Column("requested_tier", sa.Text),
    sa.Column("served_tier", sa.Text),
    sa.Column("tenant", sa.Text),
    sa.Column("project", sa.Text),
    sa.Column("agent", sa.Text),
    sa.Column("end_user", sa.Text),
    sa.Column("channel", sa.Text),
    sa.Column("soeid", sa.Text),
    sa.Column("tags", JSON),
    # Above 1 in a row that stands for several refused requests.
    sa.Column("requests", sa.BigInteger, nullable=False, server_default="1"),
    # What was used beside tokens, by unit; costs are computed from it.
    sa.Column("quantities", JSON),
    sa.Column("temperature", sa.Double),
    # For keyset pagination: newest first within each filter, ties broken by the id.
    sa.Index("ix_usage_time", "created_at", "request_id"),
    sa.Index("ix_usage_credential_time", "credential", "created_at", "request_id"),
    sa.Index("ix_usage_provider_time", "provider", "created_at", "request_id"),
    sa.Index("ix_usage_model_time", "model", "created_at", "request_id"),
    # Nearly all rows are "ok": their pages walk along the index by time, and cost this one nothing.
    # The migrations leave them out of it, and out of the indexes below rows without a value: here, that would load
    # PostgreSQL's dialect into every worker.
    sa.Index("ix_usage_outcome_time", "outcome", "created_at", "request_id"),
    # Most rows have none of these, and cost these indexes nothing.
    *(
        sa.Index(f"ix_usage_{name}_time", name, "created_at", "request_id")
        for name in ("tenant", "project", "agent", "channel")
    ),
    # For exports, oldest first.
    sa.Index("ix_usage_finished", "finished_at", "request_id"),
)

# One row per attempt, from 1; a request without an attempt (rejected, or answered from the reply cache) has none.
usage_attempts = sa.Table(
    "usage_attempts",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("started_at", UnixMicros, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("upstream_model", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    # The provider's HTTP status; NULL if there was no response.
    sa.Column("status", sa.Integer),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("next_step", sa.Text),
    sa.Column("latency_ms", sa.Double),
    sa.Column("ttft_ms", sa.Double),
    sa.Column("prompt_tokens", sa.BigInteger),
    sa.Column("completion_tokens", sa.BigInteger),
    sa.Column("total_tokens", sa.BigInteger),
    sa.Column("cached_tokens", sa.BigInteger),
    sa.Column("reasoning_tokens", sa.BigInteger),
    sa.Column("usage_source", sa.Text),
    sa.Column("cache_write_tokens", sa.BigInteger),
    sa.Column("cost_nano_usd", sa.BigInteger),
    sa.Column("cost_source", sa.Text),
    sa.Column("unpriced", sa.Text),
    sa.Column("cost_breakdown", JSON),
    sa.Column("price_version", sa.Text),
    sa.Column("served_tier", sa.Text),
    sa.Column("quantities", JSON),
)
