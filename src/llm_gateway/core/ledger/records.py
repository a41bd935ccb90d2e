"""Usage facts: what the journal, the usage table, the metrics and the access log all read."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_gateway.core.ledger.usage import UsageSource

# None of these can be a part of a cycle: the collector need not look at them (gc=False).
Outcome = Literal["ok", "error", "aborted", "interrupted", "rejected"]
AfterFailure = Literal["failover", "fallback", "retry", "give_up", "over_budget"]


class AttemptBegun(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="t", tag="begin"):
    """Written before an upstream is called, so that a crash leaves a trace of the call.

    Times are Unix microseconds. The last one with a request id wins.
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


class AttemptFailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt that led to no reply; `detail` is ours and holds no secret, URL or provider text."""

    request_id: str
    provider: str
    model: str
    upstream_model: str
    reason: str
    status: int | None
    detail: str
    # What came of it: another deployment, another model, the same deployment again, or the error for the client,
    # be it since nothing was left to try or since the retry budget was spent.
    then: AfterFailure = "give_up"


class UsageRecord(msgspec.Struct, frozen=True, gc=False, tag_field="t", tag="end"):
    """The single fact about a finished request.

    `created_at` is Unix microseconds, `*_ms` are milliseconds with a fraction, `*_bytes` are bodies
    without headers. `credential` and `provider` are names (a credential's `name`, a `provider_key`),
    `model` is the public name, `endpoint` the path. Token counts are None when nothing was used.
    `latency_ms` is from the request's first byte to the reply's end; `upstream_latency_ms` is the part
    of it spent waiting for the last attempt's provider; `ttft_ms` is None unless content came. With
    `cache_hit` a kept reply was sent again: `provider`, `upstream_model` and the tokens are those of the
    request that it was made for, and nothing was asked of the provider. (By position, which the meter uses, it is
    made several times as fast as by name.)
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


def interrupted(begun: AttemptBegun) -> UsageRecord:
    """Close a request that began and whose process died before its end: no reply is known of."""
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
    )
