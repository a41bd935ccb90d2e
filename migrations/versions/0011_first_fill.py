"""A mark for catalogs that were filled from a file or the environment, which is done once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    op.create_table(
        "first_fill",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("filled_at", moment, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_first_fill_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_first_fill"),
    )
    # A catalog that has had providers is somebody's work already, even if they are deleted by now.
    now = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)" if sqlite else "now()"
    op.execute(
        "INSERT INTO first_fill (id, filled_at, source) "  # noqa: S608 - our own names
        f"SELECT 1, {now}, 'existing' WHERE EXISTS (SELECT 1 FROM config_versions WHERE action LIKE '%provider %')"
        " OR EXISTS (SELECT 1 FROM providers)"
    )


def downgrade() -> None:
    op.drop_table("first_fill")
