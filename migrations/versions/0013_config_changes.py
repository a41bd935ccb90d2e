"""What each config version changed, so that earlier versions can be shown and rebuilt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("config_versions", sa.Column("changes", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("config_versions", "changes")
