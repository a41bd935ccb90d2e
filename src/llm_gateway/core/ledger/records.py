"""The facts about requests and their attempts, as the journal, usage tables, metrics and access log use them."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_gateway.core.ledger.usage import UsageSource

# None of these structs can be part of a reference cycle, so the garbage collector skips them (gc=False).
# Who says what a request cost: the provider in its reply, the price book, an administrator's price, or nobody.
CostSource = Literal["provider", "catalog", "override", "none"]
# By unit: the quantity, without the parts that are billed by units of their own, and its nano-USD.
Breakdown = dict[str, tuple[int | float, int]]
Outcome = Literal["ok", "error", "aborted", "interrupted", "rejected"]
# What followed a failed attempt: another deployment, another model, the same deployment again, or the error for the
# client, because nothing was left to try (`give_up`) or because the retry budget was spent (`over_budget`).
NextStep = Literal["failover", "fallback", "retry", "give_up", "over_budget"]


class AttemptBegun(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="begin"):
    """Written before an upstream is called, so that a crash leaves a trace of the call.

    `created_at` (of the request) and `started_at` (of the attempt) are Unix microseconds. `attempts` numbers the
    attempts of a request from 1; the last one with a request id stands for the request. It is made by position,
    which is several times as fast as by name.
    """

    request_id: str
    created_at: int
    client_request_id: str | None
    credential: str | None
    provider: str
    model: str
    upstream_model: str
    endpoint: str
    method: str
    stream: bool
    request_bytes: int
    attempts: int
    client_ip: str | None
    config_version: int
    # None = at `created_at`, to the millisecond; journals written before there were attempt rows have none, too.
    started_at: int | None = None


class AttemptEnded(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="t", tag="attempt"):
    """One attempt of a request: how it went, and what followed.

    The journal holds this for failed attempts only. For an attempt that ended with its request, the attempt row is
    made from the request's `UsageRecord` (see `last_attempt`).

    `started_at` is Unix microseconds. `latency_ms` is the time spent waiting for the provider, `ttft_ms` the time
    from the attempt's start to its first content; both are None when unknown. `status` is the provider's HTTP
    status, None if there was none. `reason` says why the attempt is not `ok`. `detail` is the gateway's own text
    and holds no secret, URL or text of a provider. Token counts are None when nothing was used, or none is known.
    The fields from `cost_nano_usd` on mean what they mean in a `UsageRecord`, for this attempt alone.
    """

    request_id: str
    attempt: int
    started_at: int
    provider: str
    model: str
    upstream_model: str
    outcome: Outcome
    status: int | None = None
    reason: str | None = None
    detail: str | None = None
    next_step: NextStep | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: UsageSource | None = None
    cache_write_tokens: int | None = None
    cost_nano_usd: int | None = None
    cost_source: CostSource | None = None
    unpriced: str | None = None
    cost_breakdown: Breakdown | None = None
    price_version: str | None = None
    served_tier: str | None = None
    quantities: dict[str, int | float] | None = None


class UsageRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="t", tag="end"):
    """The single fact about a finished request.

    `created_at` and `attempt_started_at` (of the last attempt) are Unix microseconds, `*_ms` are milliseconds with
    a fraction, `*_bytes` are bodies without headers. `credential` and `provider` are names (a credential's `name`,
    a `provider_key`), `model` is the public name, `endpoint` the path. Token counts are None when nothing was used.
    `latency_ms` is the time from the request's first byte to the reply's end; `upstream_latency_ms` is the part of
    it spent waiting for the last attempt's provider; `ttft_ms` is None unless content came. With `cache_hit` the
    reply came from the reply cache: `provider`, `upstream_model` and the tokens are those of the original request,
    and no provider was called. It is made by position, which is several times as fast as by name.

    `cost_nano_usd` is the cost of all attempts; None = unknown, for the reason `unpriced`
    (`core.pricing.cost.UnknownCost`), or nothing was used. `cost_breakdown` adds up to it. `price_version` names the
    prices that applied. `cached_in_prompt` says that `cached_tokens` and `cache_write_tokens` are part of
    `prompt_tokens`; None in records from before there were costs. `requested_tier` and `served_tier` are service
    tiers. `tenant` to `tags` say on whose behalf the request was sent. `requests` is above 1 if the record stands for
    several refused requests. `quantities` has what the provider stated beside tokens (`UsageDetails.quantities`), so
    that the request can be priced again.
    """

    request_id: str
    created_at: int
    endpoint: str
    method: str
    stream: bool
    status_code: int
    outcome: Outcome
    client_request_id: str | None = None
    credential: str | None = None
    provider: str | None = None
    model: str | None = None
    upstream_model: str | None = None
    error_type: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: UsageSource | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    latency_ms: float = 0.0
    upstream_latency_ms: float | None = None
    ttft_ms: float | None = None
    attempts: int = 0
    client_ip: str | None = None
    config_version: int | None = None
    cache_hit: bool = False
    # Not a column of the usage table: the last attempt's row has it. None = at `created_at`, to the millisecond.
    attempt_started_at: int | None = None
    cache_write_tokens: int | None = None
    cached_in_prompt: bool | None = None
    cost_nano_usd: int | None = None
    cost_source: CostSource | None = None
    unpriced: str | None = None
    cost_breakdown: Breakdown | None = None
    price_version: str | None = None
    requested_tier: str | None = None
    served_tier: str | None = None
    # As the client stated it; None = not stated, or it is no number.
    temperature: float | None = None
    tenant: str | None = None
    project: str | None = None
    agent: str | None = None
    end_user: str | None = None
    channel: str | None = None
    soeid: str | None = None
    tags: dict[str, str] | None = None
    requests: int = 1
    quantities: dict[str, int | float] | None = None


def interrupted(begun: AttemptBegun) -> UsageRecord:
    """Return the record of a request whose process died before its end: nothing is known of a reply."""
    return UsageRecord(
        request_id=begun.request_id,
        created_at=begun.created_at,
        client_request_id=begun.client_request_id,
        credential=begun.credential,
        provider=begun.provider,
        model=begun.model,
        upstream_model=begun.upstream_model,
        endpoint=begun.endpoint,
        method=begun.method,
        stream=begun.stream,
        status_code=0,
        outcome="interrupted",
        error_type="interrupted",
        request_bytes=begun.request_bytes,
        attempts=begun.attempts,
        client_ip=begun.client_ip,
        config_version=begun.config_version,
        attempt_started_at=begun.started_at,
    )


def finished_at(record: UsageRecord) -> int:
    """Return when the request ended, in Unix microseconds; PostgreSQL computes it as well, and rounds alike."""
    return record.created_at + round(record.latency_ms * 1000)


def last_attempt(record: UsageRecord) -> AttemptEnded | None:
    """Return the attempt that ended together with its request; None if the request had no attempt.

    It is wrong for a last attempt that has an `AttemptEnded` of its own, which then takes precedence: one that
    failed, or one whose cost is not that of the request because an attempt before it had a cost, too.
    """
    if not record.attempts:
        return None
    started_at = record.created_at if record.attempt_started_at is None else record.attempt_started_at
    ttft_ms = record.ttft_ms
    if ttft_ms is not None:
        ttft_ms = max(ttft_ms - (started_at - record.created_at) / 1000, 0.0)
    return AttemptEnded(
        request_id=record.request_id,
        attempt=record.attempts,
        started_at=started_at,
        provider=record.provider or "",
        model=record.model or "",
        upstream_model=record.upstream_model or "",
        outcome=record.outcome,
        # Any other status is the gateway's own word to its client.
        status=record.status_code if 200 <= record.status_code < 300 else None,
        reason=record.error_type,
        latency_ms=record.upstream_latency_ms,
        ttft_ms=ttft_ms,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        total_tokens=record.total_tokens,
        cached_tokens=record.cached_tokens,
        reasoning_tokens=record.reasoning_tokens,
        usage_source=record.usage_source,
        cache_write_tokens=record.cache_write_tokens,
        cost_nano_usd=record.cost_nano_usd,
        cost_source=record.cost_source,
        unpriced=record.unpriced,
        cost_breakdown=record.cost_breakdown,
        price_version=record.price_version,
        served_tier=record.served_tier,
        quantities=record.quantities,
    )
