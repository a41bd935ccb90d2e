"""The log of queries, which has what their clients asked."""

from __future__ import annotations

from typing import Protocol

import msgspec


class LoggedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One query. `created_at` is in Unix microseconds; `request_id` is the gateway's, as in the access log."""

    created_at: int
    request_id: str
    client_request_id: str | None
    # The public model that is asked first.
    model: str
    task_type: str | None
    query: str


class QueryLog(Protocol):
    """Takes queries before they are sent."""

    def query(self, query: LoggedQuery) -> None:
        """Write a line. Never blocks, never raises; may be called from any thread."""
