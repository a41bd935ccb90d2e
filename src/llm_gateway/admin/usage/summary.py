"""`/admin/v1/usage/summary`: what usage adds up to, by time and by whose it is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from llm_gateway.admin.filters import Since, Text, Until
from llm_gateway.admin.services import Services
from llm_gateway.flow.ports.usage import InexactRange, SummaryTooLarge
from llm_gateway.flow.usage_summary import inexact_range, read_query, show_summary, too_large

router = APIRouter(prefix="/usage", tags=["usage"])

GroupBy = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Comma-separated: credential, tenant, project, provider, model, and quarter (of an "
        "hour), hour, day or month of `time_zone`. Without it, one group has all.",
    ),
]
TimeZone = Annotated[
    str | None, Query(max_length=64, description="An IANA name, such as Europe/Berlin. Default: `TIME_ZONE`.")
]


class Percentiles(BaseModel):
    """Milliseconds, at most 4.4 % off; null if there are no times."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class SummaryTotals(BaseModel):
    """Sums over requests."""

    requests: int
    errors: int = Field(description="Requests that failed, or were interrupted by the end of the process.")
    refused: int = Field(description="Requests that were refused before a provider was asked.")
    aborted: int = Field(description="Requests whose client disconnected.")
    cache_hits: int = Field(description="Requests that the reply cache answered.")
    unpriced: int = Field(
        description="Requests that used tokens at an unknown cost: `cost_usd` lacks theirs."
    )
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: str | None = Field(
        description="The known costs as decimal USD; null if no cost is known, and `unpriced` is not 0."
    )
    latency_ms: Percentiles | None = Field(None, description="Time from the request to the end of its reply.")
    ttft_ms: Percentiles | None = Field(None, description="Time to first token.")


class GroupLabels(BaseModel):
    """What a group is about: those of the fields that `group_by` names."""

    start: str | None = Field(None, description="When the quarter, hour, day or month begins, in UTC.")
    end: str | None = Field(None, description="When it ends, in UTC.")
    quarter: str | None = Field(
        None, description="A quarter of an hour: local time, with the offset from UTC."
    )
    hour: str | None = Field(None, description="Local time, with the offset from UTC.")
    day: str | None = None
    month: str | None = None
    credential: str | None = None
    tenant: str | None = None
    project: str | None = None
    provider: str | None = None
    model: str | None = None


# Labels come first.
class SummaryRow(SummaryTotals, GroupLabels):
    """One group."""


class Summary(BaseModel):
    """What usage adds up to. Groups without requests are left out."""

    since: str | None
    until: str | None
    time_zone: str
    group_by: list[str]
    data: list[SummaryRow]
    total: SummaryTotals
    is_complete: bool = Field(
        description="False: requests of the range may be missing, because the database does not take them, or "
        "because rows from before there were summaries are not added up yet."
    )


@router.get("/summary", response_model=Summary, response_model_exclude_unset=True)
async def summarize_usage(
    services: Services,
    since: Since = None,
    until: Until = None,
    group_by: GroupBy = None,
    time_zone: TimeZone = None,
    credential: Text = None,
    tenant: Text = None,
    project: Text = None,
    provider: Text = None,
    model: Text = None,
    percentiles: Annotated[bool, Query(description="false leaves them out, which is faster.")] = True,
) -> dict[str, Any]:
    """Add usage up. Any range is exact to the microsecond and the nano-dollar."""
    zone = services.time_zone if time_zone is None else time_zone
    query, names = read_query(
        since=since,
        until=until,
        group_by=group_by,
        time_zone=zone,
        filters={
            "credential": credential,
            "tenant": tenant,
            "project": project,
            "provider": provider,
            "model": model,
        },
        has_percentiles=percentiles,
    )
    is_complete = await services.flush()
    try:
        summary = await services.usage.summarize(query)
    except InexactRange as error:
        raise inexact_range(error) from None
    except SummaryTooLarge:
        raise too_large() from None
    shown = show_summary(summary, query, names, zone)
    return shown | {"is_complete": is_complete and summary.is_complete}
