"""How stored telemetry events are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from llm_gateway.core.ledger.telemetry import TelemetryEvent


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are meant: all given conditions must match. Times are Unix microseconds."""

    # When an event arrived: inclusive, exclusive.
    since: int | None = None
    until: int | None = None
    event_type: str | None = None
    soeid: str | None = None
    project: str | None = None
    request_id: str | None = None
    credential: str | None = None


class EventPlace(msgspec.Struct, frozen=True):
    """A place in the list of events: that of the last event of a page."""

    created_at: int
    event_id: str


class EventReader(Protocol):
    """Reads stored events. May raise StoreUnavailable."""

    async def list(
        self, wanted: EventFilter, after: EventPlace | None, limit: int
    ) -> Sequence[TelemetryEvent]:
        """Return up to `limit` events that come after `after`, newest first."""
