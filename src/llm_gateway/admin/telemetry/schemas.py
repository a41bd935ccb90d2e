"""Telemetry events as the admin API shows them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.core.times import iso_time
from llm_gateway.resources.filters import TIME

Since = Annotated[
    str | None, Query(max_length=64, description=f"Events that arrived at this time or later: {TIME}.")
]
Until = Annotated[
    str | None, Query(max_length=64, description=f"Events that arrived before this time: {TIME}.")
]


class EventRow(BaseModel):
    """One event. From `request_id` on, it is what its client says: nothing is checked, and nothing is billed."""

    event_id: str
    created_at: str = Field(description="When it arrived.")
    event_type: str
    credential: str = Field(description="Who sent it, as the gateway knows it.")
    end_user: str | None = Field(description="The user of the token that it was sent with.")
    source_ip: str | None = Field(description="The address that it was sent from.")
    request_id: str | None
    client_ip: str | None
    soeid: str | None
    project: str | None
    target_service: str | None
    endpoint: str | None
    method: str | None
    status_code: int | None
    latency_ms: float | None
    request_bytes: int | None
    response_bytes: int | None
    attributes: dict[str, Any] | None = Field(description="All other members of what was sent.")


class EventPage(BaseModel):
    """One page of events."""

    data: list[EventRow]
    next_cursor: str | None
    is_complete: bool = Field(
        description="False: events that have arrived may be missing, because the database does not take them."
    )


def event_row(event: TelemetryEvent) -> EventRow:
    """Return a stored event as the API shows it."""
    return EventRow(**msgspec.structs.asdict(event) | {"created_at": iso_time(event.created_at)})
