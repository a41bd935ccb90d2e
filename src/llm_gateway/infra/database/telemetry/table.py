"""The table of telemetry events: nothing is added up from it, and nothing is billed by it."""

from __future__ import annotations

import sqlalchemy as sa

from llm_gateway.infra.database.tables import JSON, UnixMicros, metadata

telemetry_events = sa.Table(
    "telemetry_events",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    # When it arrived.
    sa.Column("created_at", UnixMicros, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("end_user", sa.Text),
    sa.Column("source_ip", sa.Text),
    # From here on, the client's own words.
    sa.Column("request_id", sa.Text),
    sa.Column("client_ip", sa.Text),
    sa.Column("soeid", sa.Text),
    sa.Column("project", sa.Text),
    sa.Column("target_service", sa.Text),
    sa.Column("endpoint", sa.Text),
    sa.Column("method", sa.Text),
    sa.Column("status_code", sa.BigInteger),
    sa.Column("latency_ms", sa.Double),
    sa.Column("request_bytes", sa.BigInteger),
    sa.Column("response_bytes", sa.BigInteger),
    sa.Column("attributes", JSON),
    # For keyset pagination: newest first within each filter, ties broken by the id.
    sa.Index("ix_telemetry_events_time", "created_at", "event_id"),
    # Events need not have the last three: as in `tables.usage`, the migrations leave out those without a value.
    *(
        sa.Index(f"ix_telemetry_events_{name}_time", name, "created_at", "event_id")
        for name in ("credential", "event_type", "request_id", "soeid", "project")
    ),
)
