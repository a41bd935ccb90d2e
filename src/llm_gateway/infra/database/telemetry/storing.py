"""Stores a batch of telemetry events; those that are stored already stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.infra.database.facts.fitting import Line
from llm_gateway.infra.database.facts.inserting import (
    column_names,
    document,
    sent_columns,
    sqlite_insert,
    stored_columns,
    stored_values,
)
from llm_gateway.infra.database.telemetry.table import telemetry_events
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

EVENT_COLUMNS: Final = tuple(column.name for column in telemetry_events.columns)
_CONFLICT: Final = "ON CONFLICT (event_id) DO NOTHING"
# As for usage rows, one JSON document for a batch, which the server takes apart.
POSTGRES_EVENTS: Final = f"""
INSERT INTO telemetry_events ({column_names(telemetry_events)}) SELECT {stored_columns(telemetry_events)}
FROM json_to_recordset($1::json) AS sent ({sent_columns(telemetry_events)})
{_CONFLICT}"""  # noqa: S608 - our own names
SQLITE_EVENTS: Final = sqlite_insert(telemetry_events, EVENT_COLUMNS, _CONFLICT)

_event_values = attrgetter(*EVENT_COLUMNS)


async def store_events(connection: AsyncConnection, events: Sequence[Line[TelemetryEvent]]) -> None:
    """Store the events in the transaction of `connection`."""
    if not events:
        return
    if connection.dialect.name == "postgresql":
        await connection.exec_driver_sql(POSTGRES_EVENTS, (document(events),))
    else:
        rows = [stored_values(_event_values(line.fact)) for line in events]
        await connection.exec_driver_sql(SQLITE_EVENTS, rows)
