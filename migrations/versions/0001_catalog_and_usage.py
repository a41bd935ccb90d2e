"""The catalog with its version, its triggers, the sealed settings and the usage table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_WATCHED = ("providers", "credentials")

# Written out here and not taken from the application: a migration must not change when the tables do.
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Writers wait for one another on the row of config_state, before they touch a row of their own: versions are
# given in the order of the commits, and nobody deadlocks.
_POSTGRES_LOCK = """
CREATE FUNCTION llm_gateway_lock_config() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM config_state FOR UPDATE;
    RETURN NULL;
END
$$
"""
# One bump a transaction that changed a row: ten thousand bumps of one row in one transaction would take minutes.
_POSTGRES_BUMP = """
CREATE FUNCTION llm_gateway_bump_config() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bumped bigint;
BEGIN
    UPDATE config_state SET version = version + 1 WHERE xmin <> pg_current_xact_id()::xid
        RETURNING version INTO bumped;
    IF FOUND THEN
        PERFORM pg_notify('llm_gateway_config', bumped::text);
    END IF;
    RETURN NULL;
END
$$
"""
_POSTGRES_BUMP_IF_ANY = """
CREATE FUNCTION llm_gateway_bump_config_if_any() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bumped bigint;
BEGIN
    IF EXISTS (SELECT 1 FROM changed) THEN
        UPDATE config_state SET version = version + 1 WHERE xmin <> pg_current_xact_id()::xid
            RETURNING version INTO bumped;
        IF FOUND THEN
            PERFORM pg_notify('llm_gateway_config', bumped::text);
        END IF;
    END IF;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    now = "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))" if sqlite else "now()"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    _create_catalog(moment, sa.text(now))
    _create_state(moment)
    _create_usage(moment)
    if sqlite:
        _create_sqlite_triggers()
    else:
        _create_postgres_triggers()


def _create_catalog(moment: TypeEngine[Any], now: sa.TextClause) -> None:
    op.create_table(
        "providers",
        sa.Column("id", _BIG_ID, sa.Identity(), nullable=False),
        sa.Column("provider_key", sa.Text(), nullable=False),
        sa.Column("provider_type", sa.Text(), nullable=False),
        sa.Column("api_base", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("model_mapping", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("weight", sa.Integer(), server_default="1", nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", moment, server_default=now, nullable=False),
        sa.Column("updated_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_providers"),
        sa.UniqueConstraint("provider_key", name="uq_providers_provider_key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "credentials",
        sa.Column("id", _BIG_ID, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_prefix", sa.Text(), nullable=False),
        sa.Column("allowed_models", sa.JSON(), nullable=True),
        sa.Column("rate_limit", sa.Integer(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", moment, server_default=now, nullable=False),
        sa.Column("updated_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("key_hash", name="uq_credentials_key_hash"),
        sqlite_autoincrement=True,
    )


def _create_state(moment: TypeEngine[Any]) -> None:
    state = op.create_table(
        "config_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_config_state_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_config_state"),
    )
    op.bulk_insert(state, [{"id": 1, "version": 1}])
    op.create_table(
        "config_versions",
        sa.Column("version", _BIG_ID, autoincrement=False, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_config_versions"),
    )
    op.create_table(
        "sealed_settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sealed_settings"),
    )


def _create_usage(moment: TypeEngine[Any]) -> None:
    op.create_table(
        "usage",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("client_request_id", sa.Text()),
        sa.Column("credential", sa.Text()),
        sa.Column("provider", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("upstream_model", sa.Text()),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("stream", sa.Boolean(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text()),
        sa.Column("prompt_tokens", sa.BigInteger()),
        sa.Column("completion_tokens", sa.BigInteger()),
        sa.Column("total_tokens", sa.BigInteger()),
        sa.Column("cached_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("usage_source", sa.Text()),
        sa.Column("request_bytes", sa.BigInteger(), nullable=False),
        sa.Column("response_bytes", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("upstream_latency_ms", sa.Double()),
        sa.Column("ttft_ms", sa.Double()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("client_ip", sa.Text()),
        sa.Column("config_version", sa.BigInteger()),
        sa.PrimaryKeyConstraint("request_id", name="pk_usage"),
    )
    op.create_index("ix_usage_time", "usage", ["created_at", "request_id"])
    for name in ("credential", "provider", "model", "outcome"):
        op.create_index(f"ix_usage_{name}_time", "usage", [name, "created_at", "request_id"])


def _create_postgres_triggers() -> None:
    op.execute(_POSTGRES_LOCK)
    op.execute(_POSTGRES_BUMP)
    op.execute(_POSTGRES_BUMP_IF_ANY)
    for table in _WATCHED:
        op.execute(
            f"CREATE TRIGGER config_lock BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION llm_gateway_lock_config()"
        )
        for event, rows in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            op.execute(
                f"CREATE TRIGGER config_version_on_{event.lower()} AFTER {event} ON {table} "
                f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT "
                "EXECUTE FUNCTION llm_gateway_bump_config_if_any()"
            )
        op.execute(
            f"CREATE TRIGGER config_version_on_truncate AFTER TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION llm_gateway_bump_config()"
        )


def _create_sqlite_triggers() -> None:
    for table in _WATCHED:
        for event in ("INSERT", "UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_config_version_on_{event.lower()} AFTER {event} ON {table} "  # noqa: S608 - our own names
                "BEGIN UPDATE config_state SET version = version + 1; END"
            )


def downgrade() -> None:
    for table in ("usage", "sealed_settings", "config_versions", "config_state", *_WATCHED):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for function in ("lock_config", "bump_config", "bump_config_if_any"):
            op.execute(f"DROP FUNCTION llm_gateway_{function}()")
