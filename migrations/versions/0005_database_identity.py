"""An id for the database, which tells what DATA_DIR holds for it from what belongs to another one."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    identity = op.create_table(
        "database_identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("database_id", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_database_identity_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_database_identity"),
    )
    op.bulk_insert(identity, [{"id": 1, "database_id": secrets.token_hex(16)}])


def downgrade() -> None:
    op.drop_table("database_identity")
