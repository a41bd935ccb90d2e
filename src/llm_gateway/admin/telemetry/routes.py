"""`/admin/v1/telemetry`: the events that clients reported, newest first."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.filters import PAGE_SIZE, Cursor, Limit, Text
from llm_gateway.admin.services import Services
from llm_gateway.admin.telemetry.schemas import EventPage, Since, Until, event_row
from llm_gateway.flow.ports.telemetry import EventFilter
from llm_gateway.flow.telemetry_pages import event_after, event_cursor
from llm_gateway.resources.filters import storable, time_of

router = APIRouter(prefix="/telemetry", tags=["telemetry"])


@router.get("")
async def list_events(
    services: Services,
    since: Since = None,
    until: Until = None,
    event_type: Text = None,
    soeid: Text = None,
    project: Text = None,
    request_id: Text = None,
    credential: Text = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_SIZE,
) -> EventPage:
    """List events that clients reported. Those that arrived before this request are included if `is_complete`."""
    wanted = EventFilter(
        since=time_of("since", since),
        until=time_of("until", until),
        event_type=storable("event_type", event_type),
        soeid=storable("soeid", soeid),
        project=storable("project", project),
        request_id=storable("request_id", request_id),
        credential=storable("credential", credential),
    )
    after = event_after(cursor)
    is_complete = await services.flush()
    events = await services.events.list(wanted, after, limit + 1)
    page = events[:limit]
    return EventPage(
        data=[event_row(event) for event in page],
        next_cursor=event_cursor(page[-1]) if len(events) > limit else None,
        is_complete=is_complete,
    )
