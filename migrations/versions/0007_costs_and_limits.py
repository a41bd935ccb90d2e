"""What requests cost and on whose behalf they were sent; prices, tenants, projects and budgets."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = ("prices", "tenants", "projects", "budgets")
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_USAGE: tuple[tuple[str, type[TypeEngine[Any]]], ...] = (
    ("cache_write_tokens", sa.BigInteger),
    ("cached_in_prompt", sa.Boolean),
    ("cost_nano_usd", sa.BigInteger),
    ("cost_source", sa.Text),
    ("unpriced", sa.Text),
    ("cost_breakdown", sa.JSON),
    ("price_version", sa.Text),
    ("requested_tier", sa.Text),
    ("served_tier", sa.Text),
    ("tenant", sa.Text),
    ("project", sa.Text),
    ("agent", sa.Text),
    ("end_user", sa.Text),
    ("channel", sa.Text),
    ("soeid", sa.Text),
    ("tags", sa.JSON),
    ("quantities", sa.JSON),
)
_ATTEMPTS: tuple[tuple[str, type[TypeEngine[Any]]], ...] = (
    ("cache_write_tokens", sa.BigInteger),
    ("cost_nano_usd", sa.BigInteger),
    ("cost_source", sa.Text),
    ("unpriced", sa.Text),
    ("cost_breakdown", sa.JSON),
    ("price_version", sa.Text),
    ("served_tier", sa.Text),
    ("quantities", sa.JSON),
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    now = "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))" if sqlite else "now()"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    for name, kind in _USAGE:
        op.add_column("usage", sa.Column(name, kind()))
    op.add_column("usage", sa.Column("requests", sa.BigInteger(), server_default="1", nullable=False))
    for name, kind in _ATTEMPTS:
        op.add_column("usage_attempts", sa.Column(name, kind()))
    for column in _provider_and_credential_columns(moment):
        op.add_column(*column)
    _create_tables(moment, sa.text(now))
    for table in _TABLES:
        if sqlite:
            _create_sqlite_triggers(table)
        else:
            _create_postgres_triggers(table)


def _provider_and_credential_columns(moment: TypeEngine[Any]) -> list[tuple[str, sa.Column[Any]]]:
    return [
        ("providers", sa.Column("price_provider", sa.Text())),
        ("credentials", sa.Column("tenant", sa.Text())),
        ("credentials", sa.Column("project", sa.Text())),
        ("credentials", sa.Column("limits", sa.JSON())),
        ("credentials", sa.Column("agent_limits", sa.JSON())),
        ("credentials", sa.Column("user_limits", sa.JSON())),
        (
            "credentials",
            sa.Column("trusts_attribution", sa.Boolean(), server_default=sa.false(), nullable=False),
        ),
        (
            "credentials",
            sa.Column("require_pricing", sa.Boolean(), server_default=sa.false(), nullable=False),
        ),
        ("credentials", sa.Column("expires_at", moment)),
        ("credentials", sa.Column("previous_key_hash", sa.LargeBinary())),
        ("credentials", sa.Column("previous_key_expires_at", moment)),
        ("credentials", sa.Column("revoked_at", moment)),
    ]


def _create_tables(moment: TypeEngine[Any], now: sa.TextClause) -> None:
    def create(name: str, *columns: sa.Column[Any] | sa.UniqueConstraint) -> None:
        op.create_table(
            name,
            sa.Column("id", _BIG_ID, sa.Identity(), nullable=False),
            *columns,
            sa.Column("created_at", moment, server_default=now, nullable=False),
            sa.Column("updated_at", moment, server_default=now, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
            sqlite_autoincrement=True,
        )

    create(
        "prices",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("upstream_model", sa.Text(), nullable=False),
        # {unit: decimal USD, as text}
        sa.Column("prices", sa.JSON(), nullable=False),
        sa.Column("valid_from", moment, nullable=True),
        sa.Column("valid_until", moment, nullable=True),
    )
    create(
        "tenants",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    create(
        "projects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("limits", sa.JSON(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )
    create(
        "budgets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("amount_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        # Requests that began earlier do not count.
        sa.Column("counts_from", moment, nullable=False),
        sa.UniqueConstraint("name", name="uq_budgets_name"),
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
    for table, column in reversed(_provider_and_credential_columns(sa.Integer())):
        op.drop_column(table, column.name)
    for name, _ in _ATTEMPTS:
        op.drop_column("usage_attempts", name)
    for name, _ in (*_USAGE, ("requests", sa.BigInteger)):
        op.drop_column("usage", name)
