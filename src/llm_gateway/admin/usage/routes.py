"""`/admin/v1/usage`: every request that was taken on, newest first."""

from __future__ import annotations

from fastapi import APIRouter

from llm_gateway.admin.services import Services
from llm_gateway.admin.shapes import PAGE_SIZE, Cursor, Limit
from llm_gateway.admin.usage.schemas import (
    Since,
    Text,
    Until,
    UsagePage,
    place_after,
    place_cursor,
    row,
    wanted,
)
from llm_gateway.core.ledger.records import Outcome

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
    """List usage rows; those of requests that were answered before this one was sent are all there."""
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
