"""The tables of what budgets have spent and what is held of them: state, not configuration."""

from __future__ import annotations

import sqlalchemy as sa

from llm_gateway.infra.database.tables import UnixMicros, metadata

# One row for each window of a budget; `subject` is the agent or user for budgets that each of them has, else "".
budget_balances = sa.Table(
    "budget_balances",
    metadata,
    sa.Column("budget_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("window_start", UnixMicros, primary_key=True),
    # The costs of all usage rows that the budget covers.
    sa.Column("spent_nano_usd", sa.BigInteger, nullable=False, server_default="0"),
    # The highest threshold, in percent, that was reached; and the one that the webhook was told of.
    sa.Column("notified", sa.Integer, nullable=False, server_default="0"),
    sa.Column("delivered", sa.Integer, nullable=False, server_default="0"),
    # How often the webhook was called for `notified`, and when it may be called again; NULL = now.
    sa.Column("notify_tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("notify_after", UnixMicros),
)

# What one machine has borrowed of a budget's window; nobody else may spend it before `expires_at`. It holds what it
# borrowed less what of that is spent: each usage row that is stored moves its cost from the hold to the balance.
budget_holds = sa.Table(
    "budget_holds",
    metadata,
    sa.Column("budget_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("window_start", UnixMicros, primary_key=True),
    sa.Column("holder", sa.Text, primary_key=True),
    sa.Column("borrowed_nano_usd", sa.BigInteger, nullable=False),
    sa.Column("shipped_nano_usd", sa.BigInteger, nullable=False),
    sa.Column("expires_at", UnixMicros, nullable=False),
)

# The budgets whose balances include the usage rows from before the balances were kept, as the budget then was.
# `revision` is raised by every change, so that a reader sees whether there was one.
counted_budgets = sa.Table(
    "counted_budgets",
    metadata,
    sa.Column("budget_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)
