"""Usage that is added up by spans of time, and indexes by tenant and project."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_KEY = ("credential", "tenant", "project", "provider", "model")
_COUNTS = (
    "requests",
    "errors",
    "refused",
    "aborted",
    "cache_hits",
    "unpriced",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    op.create_table(
        "usage_rollups",
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("bucket", moment, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTS),
        sa.Column("latency", sa.LargeBinary(), nullable=False),
        sa.Column("first_token", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("minutes", "bucket", *_KEY, name="pk_usage_rollups"),
        # Rows of the current spans change all the time, and no index has to know of it.
        postgresql_with={"fillfactor": "70"},
    )
    op.create_table(
        "usage_rollup_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("missing_before", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_usage_rollup_state"),
        sa.CheckConstraint("id = 1", name="ck_usage_rollup_state_one_row"),
    )
    # An hour from now, since gateways of the version before may still be running; their rows have no rollups.
    later = (
        "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + 3600000000)"
        if sqlite
        else "now() + interval '1 hour'"
    )
    op.execute(
        "INSERT INTO usage_rollup_state (id, missing_before) "  # noqa: S608 - our own names
        f"VALUES (1, CASE WHEN EXISTS (SELECT 1 FROM usage) THEN {later} END)"
    )
    for name in ("tenant", "project"):
        where = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"ix_usage_{name}_time",
            "usage",
            [name, "created_at", "request_id"],
            postgresql_where=where,
            sqlite_where=where,
        )


def downgrade() -> None:
    for name in ("tenant", "project"):
        op.drop_index(f"ix_usage_{name}_time", table_name="usage")
    op.drop_table("usage_rollup_state")
    op.drop_table("usage_rollups")
