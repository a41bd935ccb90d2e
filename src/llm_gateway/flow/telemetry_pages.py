"""Cursors of lists of telemetry events."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.flow.paging import bad_cursor, make_cursor, read_cursor
from llm_gateway.flow.ports.telemetry import EventPlace

# What the cursors begin with: no list takes those of another.
_MARK: Final = "t"


def event_cursor(event: TelemetryEvent) -> str:
    """Return the cursor of the page that starts after `event`."""
    return make_cursor(f"{_MARK}{event.created_at}.{event.event_id}")


def event_after(cursor: str | None) -> EventPlace | None:
    """Return the place that `cursor` stands for, None for the start of the list; raise Unprocessable."""
    if cursor is None:
        return None
    known = read_cursor(cursor)
    at, _, event_id = known[1:].partition(".")
    if known[:1] != _MARK or not (at.isascii() and at.isdigit() and len(at) < 18) or "\0" in event_id:
        raise bad_cursor()
    return EventPlace(int(at), event_id)
