"""`/admin/v1/usage`: every authenticated request, newest first, and one request with its attempts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from llm_gateway.admin.filters import (
    PAGE_SIZE,
    Cursor,
    FinishedSince,
    FinishedUntil,
    Limit,
    Order,
    Since,
    Text,
    Until,
)
from llm_gateway.admin.services import Services
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.flow.usage_pages import find_request, place_after, place_cursor
from llm_gateway.resources.usage import UsageDetail, UsagePage, detail, row, wanted

router = APIRouter(prefix="/usage", tags=["usage"])


@router.get("")
async def list_usage(
    services: Services,
    since: Since = None,
    until: Until = None,
    finished_since: FinishedSince = None,
    finished_until: FinishedUntil = None,
    credential: Text = None,
    provider: Text = None,
    model: Text = None,
    outcome: Outcome | None = None,
    request_id: Text = None,
    tenant: Text = None,
    project: Text = None,
    agent: Text = None,
    end_user: Text = None,
    channel: Text = None,
    soeid: Text = None,
    order: Order = "created_at",
    cursor: Cursor = None,
    limit: Limit = PAGE_SIZE,
) -> UsagePage:
    """List usage rows. Rows of requests that ended before this one was sent are included if `is_complete`."""
    chosen = wanted(
        since=since,
        until=until,
        finished_since=finished_since,
        finished_until=finished_until,
        credential=credential,
        provider=provider,
        model=model,
        outcome=outcome,
        request_id=request_id,
        tenant=tenant,
        project=project,
        agent=agent,
        end_user=end_user,
        channel=channel,
        soeid=soeid,
    )
    after = place_after(cursor, order)
    is_complete = await services.flush()
    records = await services.usage.list(chosen, after, limit + 1, order)
    page = records[:limit]
    next_cursor = None
    if len(records) > limit or (page and order == "finished_at"):
        next_cursor = place_cursor(page[-1], order)
    elif order == "finished_at":
        # Nothing new: the export goes on from where it was.
        next_cursor = cursor
    return UsagePage(data=[row(record) for record in page], next_cursor=next_cursor, is_complete=is_complete)


@router.get("/{request_id}")
async def get_usage(services: Services, request_id: Annotated[str, Path(max_length=300)]) -> UsageDetail:
    """Return the usage row of one request, and its attempts in order."""
    record, attempts = await find_request(services.usage, services.flush, request_id)
    return detail(record, attempts)
