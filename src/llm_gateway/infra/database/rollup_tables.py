"""The tables of usage that was added up, and of how far that goes back."""

from __future__ import annotations

import sqlalchemy as sa

from llm_gateway.core.ledger.totals import COUNTS, UsageKey
from llm_gateway.infra.database.tables import UnixMicros, metadata

# One row for each span of `minutes` (15, 60 or 1440; UTC) and each key that has usage in it. "" is NULL.
usage_rollups = sa.Table(
    "usage_rollups",
    metadata,
    sa.Column("minutes", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bucket", UnixMicros, primary_key=True),
    *(sa.Column(name, sa.Text, primary_key=True) for name in UsageKey._fields),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in COUNTS),
    # Encoded as in `core.ledger.histogram`.
    sa.Column("latency", sa.LargeBinary, nullable=False),
    sa.Column("first_token", sa.LargeBinary, nullable=False),
)

# One row. Usage rows before this time may have no rollups yet; NULL: all have.
usage_rollup_state = sa.Table(
    "usage_rollup_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("missing_before", UnixMicros),
    sa.CheckConstraint("id = 1", name="one_row"),
)
