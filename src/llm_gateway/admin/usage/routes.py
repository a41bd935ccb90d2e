"""`/admin/v1/usage`: every authenticated request, newest first, and one request with its attempts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import PAGE_SIZE, Cursor, Limit
from llm_gateway.admin.usage.schemas import (
    Since,
    Text,
    Until,
    UsageDetail,
    UsagePage,
    detail,
    place_after,
    place_cursor,
    row,
    wanted,
)
from llm_gateway.core.errors import NotFound
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.flow.ports.usage import UsageFilter

router = APIRouter(prefix="/usage", tags=["usage"])


@router.get("")
async def list_usage(
    services: Services,
    since: Since = None,
    until: Until = None,
    credential: Text = None,
    provider: Text = None,
    model: Text = None,
    outcome: Outcome | None = None,
    request_id: Text = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_SIZE,
) -> UsagePage:
    """List usage rows. Rows of requests that were answered before this one was sent are included."""
    chosen = wanted(
        since=since,
        until=until,
        credential=credential,
        provider=provider,
        model=model,
        outcome=outcome,
        request_id=request_id,
    )
    after = place_after(cursor)
    await services.flush()
    records = await services.usage.list(chosen, after, limit + 1)
    more = len(records) > limit
    page = records[:limit]
    return UsagePage(
        data=[row(record) for record in page], next_cursor=place_cursor(page[-1]) if more else None
    )


@router.get("/{request_id}")
async def get_usage(services: Services, request_id: Annotated[str, Path(max_length=300)]) -> UsageDetail:
    """Return the usage row of one request, and its attempts in order."""
    await services.flush()
    # Neither store holds a NUL in a text, and PostgreSQL does not even compare with one.
    records = (
        [] if "\0" in request_id else await services.usage.list(UsageFilter(request_id=request_id), None, 1)
    )
    if not records:
        raise NotFound(f"There is no usage row for the request {request_id!r}")
    return detail(records[0], await services.usage.attempts(request_id))
