"""The SQLAlchemy tables that statements use. The migrations create them; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
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

    def process_result_value(self, value: datetime | int | None, dialect: Dialect) -> int | None:
        del dialect
        return to_unix_us(value) if isinstance(value, datetime) else value


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


# One row. Triggers on the four tables in `catalog/` raise the version, so changes by SQL count too.
config_state = sa.Table(
    "config_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
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
    # For keyset pagination: newest first within each filter, ties broken by the id.
    sa.Index("ix_usage_time", "created_at", "request_id"),
    sa.Index("ix_usage_credential_time", "credential", "created_at", "request_id"),
    sa.Index("ix_usage_provider_time", "provider", "created_at", "request_id"),
    sa.Index("ix_usage_model_time", "model", "created_at", "request_id"),
    sa.Index("ix_usage_outcome_time", "outcome", "created_at", "request_id"),
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
)
