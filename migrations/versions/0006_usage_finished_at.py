"""When a request ended, for exports that go by it: `created_at` is its start."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    op.add_column("usage", sa.Column("finished_at", moment))
    finished = (
        "created_at + CAST(round(latency_ms * 1000) AS INTEGER)"
        if sqlite
        else "created_at + latency_ms * interval '1 millisecond'"
    )
    op.execute(f"UPDATE usage SET finished_at = {finished}")  # noqa: S608 - our own text
    op.create_index("ix_usage_finished", "usage", ["finished_at", "request_id"])


def downgrade() -> None:
    op.drop_index("ix_usage_finished", "usage")
    op.drop_column("usage", "finished_at")
