"""What an admin sets for a public model, task types, and what providers and credentials have beside it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = ("models", "task_types")

_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    now = "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))" if sqlite else "now()"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    # Without a default, both stores add a column at once, however many rows there are, and no trigger fires.
    op.add_column("providers", sa.Column("oauth2", sa.JSON(), nullable=True))
    op.add_column("providers", sa.Column("api_version", sa.Text(), nullable=True))
    op.add_column("providers", sa.Column("stream_usage", sa.Boolean(), nullable=True))
    op.add_column("providers", sa.Column("probe_interval", sa.Double(), nullable=True))
    op.add_column("credentials", sa.Column("cache", sa.JSON(), nullable=True))
    _create_tables(moment, sa.text(now))
    for table in _TABLES:
        if sqlite:
            _create_sqlite_triggers(table)
        else:
            _create_postgres_triggers(table)


def _create_tables(moment: TypeEngine[Any], now: sa.TextClause) -> None:
    op.create_table(
        "models",
        sa.Column("id", _BIG_ID, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), server_default="weighted_round_robin", nullable=False),
        sa.Column("weights", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("fallbacks", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("context_fallbacks", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("policy_fallbacks", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("timeouts", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("retry", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("affinity", sa.Text(), nullable=True),
        sa.Column("cache", sa.JSON(), nullable=True),
        sa.Column("created_at", moment, server_default=now, nullable=False),
        sa.Column("updated_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "task_types",
        sa.Column("id", _BIG_ID, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("created_at", moment, server_default=now, nullable=False),
        sa.Column("updated_at", moment, server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_task_types"),
        sa.UniqueConstraint("name", name="uq_task_types_name"),
        sqlite_autoincrement=True,
    )


def _create_postgres_triggers(table: str) -> None:
    """Have the functions of 0001 lock and count for `table` too."""
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


def _create_sqlite_triggers(table: str) -> None:
    for event in ("INSERT", "UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_config_version_on_{event.lower()} AFTER {event} ON {table} "  # noqa: S608 - our own names
            "BEGIN UPDATE config_state SET version = version + 1; END"
        )


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    op.drop_column("credentials", "cache")
    for column in ("probe_interval", "stream_usage", "api_version", "oauth2"):
        op.drop_column("providers", column)
