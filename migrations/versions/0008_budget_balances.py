"""What budgets have spent, and what is held of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    op.create_table(
        "budget_balances",
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window_start", moment, nullable=False),
        sa.Column("spent_nano_usd", sa.BigInteger(), server_default="0", nullable=False),
        # The highest threshold, in percent, that was reached; and the one that the webhook was told of.
        sa.Column("notified", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("notify_tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("notify_after", moment, nullable=True),
        sa.PrimaryKeyConstraint("budget_id", "subject", "window_start", name="pk_budget_balances"),
    )
    op.create_table(
        "budget_holds",
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window_start", moment, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        # What was borrowed less what was returned, and the part of it that is spent.
        sa.Column("borrowed_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("shipped_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "subject", "window_start", "holder", name="pk_budget_holds"),
    )
    # Budgets whose balances include the usage rows from before the balances were kept.
    op.create_table(
        "counted_budgets",
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("budget_id", name="pk_counted_budgets"),
    )


def downgrade() -> None:
    op.drop_table("counted_budgets")
    op.drop_table("budget_holds")
    op.drop_table("budget_balances")
