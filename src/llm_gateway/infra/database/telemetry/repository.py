"""Reads telemetry events back."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.flow.ports.telemetry import EventFilter, EventPlace, EventReader
from llm_gateway.infra.database.engine import reading
from llm_gateway.infra.database.facts.reading import read_fact, readable_columns
from llm_gateway.infra.database.tables import UnixMicros
from llm_gateway.infra.database.telemetry.storing import EVENT_COLUMNS
from llm_gateway.infra.database.telemetry.table import telemetry_events
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine

_EQUAL: Final = ("event_type", "soeid", "project", "request_id", "credential")


class EventRepository(EventReader):
    """The table `telemetry_events`, which the usage repository fills."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, wanted: EventFilter, after: EventPlace | None, limit: int) -> list[TelemetryEvent]:
        async with reading(self._engine) as connection:
            rows = await connection.execute(_select(wanted, after, limit))
            return [read_fact(row._asdict(), TelemetryEvent) for row in rows]


def _select(wanted: EventFilter, after: EventPlace | None, limit: int) -> sa.Select[Any]:
    events = telemetry_events.c
    statement = sa.select(*readable_columns(telemetry_events, EVENT_COLUMNS))
    for name in _EQUAL:
        if (value := getattr(wanted, name)) is not None:
            statement = statement.where(events[name] == value)
    if wanted.since is not None:
        statement = statement.where(events.created_at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(events.created_at < wanted.until)
    if after is not None:
        known = sa.tuple_(sa.bindparam(None, after.created_at, UnixMicros), after.event_id)
        statement = statement.where(sa.tuple_(events.created_at, events.event_id) < known)
    return statement.order_by(events.created_at.desc(), events.event_id.desc()).limit(limit)
