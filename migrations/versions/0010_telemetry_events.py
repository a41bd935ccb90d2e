"""Events that clients report of themselves, the temperature of requests, and indexes by agent and channel."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TEXTS = (
    "end_user",
    "source_ip",
    "request_id",
    "client_ip",
    "soeid",
    "project",
    "target_service",
    "endpoint",
    "method",
)
_EVENTS = "telemetry_events"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    moment: TypeEngine[Any] = sa.Integer() if sqlite else sa.DateTime(timezone=True)
    op.add_column("usage", sa.Column("temperature", sa.Double()))
    # Rows without an agent or a channel, which are most, are not in these indexes.
    for name in ("agent", "channel"):
        _create_index("usage", name, "request_id", is_partial=True)
    op.create_table(
        _EVENTS,
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text()) for name in _TEXTS),
        sa.Column("status_code", sa.BigInteger()),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("request_bytes", sa.BigInteger()),
        sa.Column("response_bytes", sa.BigInteger()),
        sa.Column("attributes", sa.JSON()),
        sa.PrimaryKeyConstraint("event_id", name="pk_telemetry_events"),
    )
    op.create_index("ix_telemetry_events_time", _EVENTS, ["created_at", "event_id"])
    for name in ("credential", "event_type"):
        _create_index(_EVENTS, name, "event_id")
    for name in ("request_id", "soeid", "project"):
        _create_index(_EVENTS, name, "event_id", is_partial=True)


def _create_index(table: str, name: str, row_id: str, *, is_partial: bool = False) -> None:
    where = sa.text(f"{name} IS NOT NULL") if is_partial else None
    op.create_index(
        f"ix_{table}_{name}_time",
        table,
        [name, "created_at", row_id],
        postgresql_where=where,
        sqlite_where=where,
    )


def downgrade() -> None:
    op.drop_table(_EVENTS)
    for name in ("agent", "channel"):
        op.drop_index(f"ix_usage_{name}_time", table_name="usage")
    op.drop_column("usage", "temperature")
