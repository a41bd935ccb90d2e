"""Usage rows and attempts as the admin API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import BaseModel

from llm_gateway.admin.times import iso_time, read_time
from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.ledger.records import AttemptEnded, NextStep, Outcome, UsageRecord
from llm_gateway.core.ledger.usage import UsageSource
from llm_gateway.flow.paging import bad_cursor, make_cursor, read_cursor
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace

_TIME = "an ISO 8601 time (UTC unless it has an offset) or Unix seconds"
Since = Annotated[str | None, Query(max_length=64, description=f"Requests from this time on: {_TIME}.")]
Until = Annotated[str | None, Query(max_length=64, description=f"Requests before this time: {_TIME}.")]
Text = Annotated[str | None, Query(max_length=300)]


class UsageRow(BaseModel):
    """One request. `*_ms` in milliseconds, `*_bytes` without headers; null if unknown or not applicable."""

    request_id: str
    created_at: str
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
    usage_source: UsageSource | None
    request_bytes: int
    response_bytes: int
    latency_ms: float
    upstream_latency_ms: float | None
    ttft_ms: float | None
    attempts: int
    client_ip: str | None
    config_version: int | None
    cache_hit: bool


class AttemptRow(BaseModel):
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
    usage_source: UsageSource | None


class UsageDetail(UsageRow):
    """One request with its attempts, in the order they were made."""

    attempt_details: list[AttemptRow]


class UsagePage(BaseModel):
    """One page of usage rows, newest first."""

    data: list[UsageRow]
    next_cursor: str | None


def row(record: UsageRecord) -> UsageRow:
    """Return a stored record as the API shows it."""
    return UsageRow(**_values(record))


def detail(record: UsageRecord, attempts: Sequence[AttemptEnded]) -> UsageDetail:
    """Return a stored record with its attempts as the API shows it."""
    return UsageDetail(**_values(record), attempt_details=[_attempt_row(attempt) for attempt in attempts])


def _values(record: UsageRecord) -> dict[str, Any]:
    return msgspec.structs.asdict(record) | {"created_at": iso_time(record.created_at)}


def _attempt_row(attempt: AttemptEnded) -> AttemptRow:
    return AttemptRow(**msgspec.structs.asdict(attempt) | {"started_at": iso_time(attempt.started_at)})


def wanted(
    *,
    since: str | None,
    until: str | None,
    credential: str | None,
    provider: str | None,
    model: str | None,
    outcome: Outcome | None,
    request_id: str | None,
) -> UsageFilter:
    """Return the filter that a query asks for; raise Unprocessable."""
    return UsageFilter(
        since=_time("since", since),
        until=_time("until", until),
        credential=_storable("credential", credential),
        provider=_storable("provider", provider),
        model=_storable("model", model),
        outcome=outcome,
        request_id=_storable("request_id", request_id),
    )


def _time(name: str, text: str | None) -> int | None:
    try:
        return None if text is None else read_time(text)
    except (ValueError, OverflowError):
        raise Unprocessable(f"{name} must be {_TIME}", param=name) from None


def _storable(name: str, text: str | None) -> str | None:
    if text is not None and "\0" in text:
        raise Unprocessable(f"{name} must not hold a NUL character", param=name)
    return text


def place_cursor(record: UsageRecord) -> str:
    """Return the cursor of the page that starts after `record`."""
    return make_cursor(f"{record.created_at}.{record.request_id}")


def place_after(cursor: str | None) -> UsagePlace | None:
    """Return the place that `cursor` stands for, None for the start of the list; raise Unprocessable."""
    if cursor is None:
        return None
    created_at, _, request_id = read_cursor(cursor).partition(".")
    if not (created_at.isascii() and created_at.isdigit() and len(created_at) < 18) or "\0" in request_id:
        raise bad_cursor()
    return UsagePlace(int(created_at), request_id)
