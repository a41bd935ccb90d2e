"""Decides whether a request may go on: who it is, whether it may use the model, whether it is over a limit."""

from __future__ import annotations

from typing import Final

from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.snapshot import Principal, Snapshot
from llm_gateway.core.errors import Forbidden, RateLimited, Unauthenticated, Unavailable
from llm_gateway.flow.call import PresentedKey
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.limits import Verdict

# By far the most frequent time until the whole limit is free again: there was a request just now.
_WHOLE_SECOND: Final = b"1000ms"
ANONYMOUS: Final = Principal(Credential(id=0, name="anonymous", key_hash=b""))


def current_snapshot(gateway: Gateway, *, admitted: bool) -> Snapshot:
    """Return the configuration for this request, read once; raise Unavailable when no work is taken."""
    if gateway.lifecycle.draining:
        message = "The gateway is shutting down; send the request again."
        raise Unavailable(message, code="draining", retry_after=1)
    if not admitted:
        message = "The gateway has as many requests in flight as it may (MAX_CONCURRENCY); try again shortly."
        raise Unavailable(message, code="overloaded", retry_after=1)
    snapshot = gateway.snapshots.current
    if snapshot is None:
        message = "The gateway has no configuration yet: its database has not answered since it started."
        raise Unavailable(message, code="not_ready", retry_after=1)
    return snapshot


def authenticate(gateway: Gateway, snapshot: Snapshot, api_key: PresentedKey | None) -> Principal:
    """Return whose key it is; raise Unauthenticated."""
    if api_key is None:
        if gateway.options.allow_anonymous and not snapshot.has_credentials:
            return ANONYMOUS
        message = "No API key was sent. Send yours as 'Authorization: Bearer YOUR_KEY'."
        raise Unauthenticated(message)
    account = snapshot.account(api_key.digest(gateway.hasher))
    if account is None or not account.credential.is_enabled:
        message = "The API key is not valid: it is unknown or disabled. Ask the gateway's admin for one."
        raise Unauthenticated(message)
    return account


def authorise(account: Principal, model: str) -> None:
    """Raise Forbidden unless the credential may use the model."""
    if model not in account.models:
        message = f"This API key may not use the model '{model}'. Ask the gateway's admin to allow it."
        raise Forbidden(message, param="model")


def throttle(verdict: Verdict) -> None:
    """Raise RateLimited when the limiter let nothing through under the credential's limit."""
    if verdict.allowed:
        return
    limit = verdict.limit
    if limit == 0:
        message = "This API key is blocked: its rate limit is 0 requests per second."
    else:
        message = f"Rate limit reached: {limit} requests per second for this API key. Try again shortly."
    error = RateLimited(message, retry_after=max(verdict.retry_after, 1.0))
    error.headers = rate_limit_headers(verdict)
    raise error


def rate_limit_headers(verdict: Verdict) -> tuple[tuple[bytes, bytes], ...]:
    """Return OpenAI's x-ratelimit-* headers."""
    after = verdict.reset_after
    return (
        (b"x-ratelimit-limit-requests", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % verdict.remaining),
        (
            b"x-ratelimit-reset-requests",
            _WHOLE_SECOND if after == 1.0 else b"%dms" % max(round(after * 1000), 0),
        ),
    )
