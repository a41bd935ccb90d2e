"""What lists are filtered and paged by, as a query says it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from llm_gateway.flow.config.browser import LONGEST_SEARCH
from llm_gateway.flow.ports.usage import UsageOrder
from llm_gateway.resources.filters import TIME

PAGE_SIZE = 100
Text = Annotated[str | None, Query(max_length=300)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows per page, at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=1000, description="`next_cursor` of the previous page; omit it for the first page."),
]
Search = Annotated[
    str | None,
    Query(
        max_length=LONGEST_SEARCH,
        description="Only rows that hold this text, in either case, in their name or another column they go by.",
    ),
]
Since = Annotated[str | None, Query(max_length=64, description=f"Requests from this time on: {TIME}.")]
Until = Annotated[str | None, Query(max_length=64, description=f"Requests before this time: {TIME}.")]
FinishedSince = Annotated[
    str | None, Query(max_length=64, description=f"Requests that ended at this time or later: {TIME}.")
]
FinishedUntil = Annotated[
    str | None, Query(max_length=64, description=f"Requests that ended before this time: {TIME}.")
]
Order = Annotated[
    UsageOrder,
    Query(
        description="created_at: newest first. finished_at: oldest first, by the time a request ended, with a "
        "next_cursor on every page; an export continues from its last one."
    ),
]
