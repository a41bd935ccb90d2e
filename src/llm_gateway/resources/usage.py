"""Usage rows and attempts as the admin API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from llm_gateway.core.ledger.records import (
    AttemptEnded,
    CostSource,
    NextStep,
    Outcome,
    UsageRecord,
    finished_at,
)
from llm_gateway.core.ledger.usage import UsageSource
from llm_gateway.core.money import usd_text
from llm_gateway.core.times import iso_time
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.resources.filters import storable, time_of

_SOURCE = (
    "Where the token counts come from: `provider` (stated), `counted` (with a tokenizer) or `estimated` (from "
    "lengths). If prompt and completion differ, both with a slash, the prompt first: `provider/counted`."
)


class MeterCost(BaseModel):
    """What was billed by one unit of the price book, without the parts that are billed by units of their own."""

    unit: str = Field(description="Such as `output_tokens`.")
    quantity: int | float
    cost_usd: str = Field(description="Decimal USD.")


class Costs(BaseModel):
    """What a request or an attempt cost. All null if nothing was used."""

    cost_usd: str | None = Field(
        description="Decimal USD; null if nothing was used, or if the cost is not known (see `unpriced`)."
    )
    cost_source: CostSource | None = Field(
        description="Where it comes from: the reply of the `provider`, the price book (`catalog`), an "
        "administrator's price (`override`), or nowhere (`none`: it is not known); null if nothing was used."
    )
    unpriced: str | None = Field(
        description="Why the cost is not known; null if it is, or if nothing was used."
    )
    cost_breakdown: list[MeterCost] | None = Field(
        description="What was billed by each unit. It adds up to `cost_usd`. null if the provider stated the cost, "
        "or if it is not known."
    )
    price_version: str | None = Field(
        description="The prices that applied: the price book's, or an override's."
    )
    served_tier: str | None = Field(description="The service tier in the reply; null for the ordinary one.")
    quantities: dict[str, float] | None = Field(
        description="What the provider stated beside tokens, by unit of the price book."
    )
    cache_write_tokens: int | None = Field(
        description="Tokens written to the provider's cache, part of the prompt's."
    )


class UsageRow(Costs):
    """One request. `*_ms` in milliseconds, `*_bytes` without headers; null if unknown or not applicable."""

    request_id: str
    created_at: str
    finished_at: str
    client_request_id: str | None
    credential: str | None
    provider: str | None
    model: str | None
    upstream_model: str | None
    endpoint: str
    method: str
    stream: bool
    status_code: int
    outcome: Outcome
    error_type: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    usage_source: UsageSource | None = Field(description=_SOURCE)
    request_bytes: int
    response_bytes: int
    latency_ms: float
    upstream_latency_ms: float | None
    ttft_ms: float | None
    attempts: int
    client_ip: str | None
    config_version: int | None
    cache_hit: bool
    cached_in_prompt: bool | None = Field(
        description="Whether `cached_tokens` and `cache_write_tokens` are part of `prompt_tokens`; null in rows from "
        "before there were costs."
    )
    requested_tier: str | None = Field(description="The service tier that the client asked for.")
    tenant: str | None
    project: str | None
    agent: str | None = Field(description="The agent that the request names.")
    end_user: str | None = Field(description="The user that the request names.")
    channel: str | None = Field(description="The channel that the request names.")
    soeid: str | None = Field(description="The SOEID that the request names.")
    tags: dict[str, str] | None = Field(description="The tags that the request names.")
    requests: int = Field(description="Above 1 if the row stands for several refused requests.")
    temperature: float | None = Field(description="As the client stated it.")


class AttemptRow(Costs):
    """One attempt of a request. `*_ms` in milliseconds; null if unknown or not applicable."""

    attempt: int
    started_at: str
    provider: str
    model: str
    upstream_model: str
    outcome: Outcome
    status: int | None
    reason: str | None
    detail: str | None
    next_step: NextStep | None
    latency_ms: float | None
    ttft_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    usage_source: UsageSource | None = Field(description=_SOURCE)


class UsageDetail(UsageRow):
    """One request with its attempts, in the order they were made."""

    attempt_details: list[AttemptRow]


class UsagePage(BaseModel):
    """One page of usage rows."""

    data: list[UsageRow]
    next_cursor: str | None
    is_complete: bool = Field(
        description="False: rows of requests that have ended may be missing, because the database does not take them."
    )


def row(record: UsageRecord) -> UsageRow:
    """Return a stored record as the API shows it."""
    return UsageRow(**_values(record))


def detail(record: UsageRecord, attempts: Sequence[AttemptEnded]) -> UsageDetail:
    """Return a stored record with its attempts as the API shows it."""
    return UsageDetail(**_values(record), attempt_details=[_attempt_row(attempt) for attempt in attempts])


def _values(record: UsageRecord) -> dict[str, Any]:
    return (
        msgspec.structs.asdict(record)
        | _costs(record)
        | {"created_at": iso_time(record.created_at), "finished_at": iso_time(finished_at(record))}
    )


def _attempt_row(attempt: AttemptEnded) -> AttemptRow:
    values = msgspec.structs.asdict(attempt) | _costs(attempt)
    return AttemptRow(**values | {"started_at": iso_time(attempt.started_at)})


def _costs(fact: UsageRecord | AttemptEnded) -> dict[str, Any]:
    breakdown = fact.cost_breakdown
    return {
        "cost_usd": None if fact.cost_nano_usd is None else usd_text(fact.cost_nano_usd),
        "cost_breakdown": breakdown
        and [
            MeterCost(unit=unit, quantity=quantity, cost_usd=usd_text(nano_usd))
            for unit, (quantity, nano_usd) in breakdown.items()
        ],
    }


def wanted(
    *,
    since: str | None,
    until: str | None,
    finished_since: str | None,
    finished_until: str | None,
    credential: str | None,
    provider: str | None,
    model: str | None,
    outcome: Outcome | None,
    request_id: str | None,
    tenant: str | None,
    project: str | None,
    agent: str | None,
    end_user: str | None,
    channel: str | None = None,
    soeid: str | None = None,
) -> UsageFilter:
    """Return the filter that a query asks for; raise Unprocessable."""
    return UsageFilter(
        since=time_of("since", since),
        until=time_of("until", until),
        finished_since=time_of("finished_since", finished_since),
        finished_until=time_of("finished_until", finished_until),
        credential=storable("credential", credential),
        provider=storable("provider", provider),
        model=storable("model", model),
        outcome=outcome,
        request_id=storable("request_id", request_id),
        tenant=storable("tenant", tenant),
        project=storable("project", project),
        agent=storable("agent", agent),
        end_user=storable("end_user", end_user),
        channel=storable("channel", channel),
        soeid=storable("soeid", soeid),
    )
