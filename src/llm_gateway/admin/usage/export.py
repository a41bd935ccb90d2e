"""`/admin/v1/usage/export`: usage rows and charges as a file, streamed."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from llm_gateway.admin.filters import Since, Text, Until
from llm_gateway.admin.services import Services
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.ledger.records import Outcome
from llm_gateway.flow.billing.exporting import CONTENT_TYPES, export
from llm_gateway.http.streamed_file import StreamedFile
from llm_gateway.resources.usage import wanted

router = APIRouter(prefix="/usage", tags=["usage"])


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file.", "content": {name: {} for name in sorted({*CONTENT_TYPES.values()})}}
    },
)
async def export_usage(
    services: Services,
    format: Annotated[  # noqa: A002 - the API's name
        Literal["csv", "jsonl", "focus"],
        Query(
            description="csv, jsonl: a line for each request, newest first. focus: FOCUS 1.2, a line for each day, "
            "credential, model and meter, without requests whose cost is unknown."
        ),
    ] = "csv",
    since: Since = None,
    until: Until = None,
    credential: Text = None,
    provider: Text = None,
    model: Text = None,
    outcome: Outcome | None = None,
    tenant: Text = None,
    project: Text = None,
    agent: Text = None,
    end_user: Text = None,
    channel: Text = None,
    soeid: Text = None,
    time_zone: Annotated[
        str, Query(max_length=64, description="Whose days FOCUS lines are for, an IANA name.")
    ] = "UTC",
) -> StreamingResponse:
    """Stream usage rows, however many. A connection that breaks before its last chunk means an incomplete file."""
    chosen = wanted(
        since=since,
        until=until,
        finished_since=None,
        finished_until=None,
        credential=credential,
        provider=provider,
        model=model,
        outcome=outcome,
        request_id=None,
        tenant=tenant,
        project=project,
        agent=agent,
        end_user=end_user,
        channel=channel,
        soeid=soeid,
    )
    await services.flush()
    pieces = export(format, services.usage, chosen, zone=_zone(time_zone), account=services.account)
    name = "usage-focus.csv" if format == "focus" else f"usage.{format}"
    return await StreamedFile.begin(pieces, name, CONTENT_TYPES[format])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"time_zone: {name[:64]!r} is not a time zone of the IANA database, such as Europe/Berlin"
        raise Unprocessable(message, param="time_zone") from None
