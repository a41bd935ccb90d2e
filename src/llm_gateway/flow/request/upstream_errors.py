"""Turns a failed attempt into a failure for the retry rules, an error for the client, and a detail for the log."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from llm_gateway.core.config.snapshot import Deployment
from llm_gateway.core.errors import GatewayError, UpstreamFailed, UpstreamTimedOut, UpstreamUnavailable
from llm_gateway.core.routing.retry import Failure
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.recovery import AttemptFailed
from llm_gateway.flow.request.redaction import refused
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.errors import BadReply

UNAUTHORIZED: Final = 401
_TOO_MANY, _UNAVAILABLE, _GATEWAY_TIMEOUT = 429, 503, 504
# Anthropic's status for an overload.
_OVERLOADED = 529
# Seconds. A longer wait is shortened to a day.
_LONGEST_RETRY_AFTER = 86_400.0


def from_status(
    status: int, body: UpstreamErrorBody | None, wait: float | None, deployment: Deployment
) -> AttemptFailed:
    """Interpret an error status. `body` is that of a 4xx; `wait` is the Retry-After header, in seconds."""
    error: GatewayError
    body = body or UpstreamErrorBody()
    wait = body.retry_after if wait is None else wait
    if status == UNAUTHORIZED or body.about == "own_secret":
        status = UNAUTHORIZED
        message = "The provider rejected the gateway's API key. Ask the gateway administrator to update it."
        error = UpstreamFailed(message, code="upstream_key_refused")
    elif 400 <= status < 500:
        error = refused(body, status, deployment, wait)
        if status == _TOO_MANY:
            error.type, error.code = "rate_limit_error", error.code or "rate_limit_exceeded"
    elif status in {_UNAVAILABLE, _OVERLOADED}:
        error = UpstreamUnavailable("The provider is overloaded; try again.", retry_after=wait)
    elif status == _GATEWAY_TIMEOUT:
        error = UpstreamTimedOut("The provider reports a timeout.")
    else:
        error = UpstreamFailed(f"The provider failed with status {status}.")
    failure = Failure(
        reason="status",
        status=status,
        retry_after=wait if status in {_TOO_MANY, _UNAVAILABLE, _OVERLOADED} else None,
        about=_about_request(body),
    )
    return AttemptFailed(failure, error, f"status {status}")


def from_reply(body: UpstreamErrorBody, deployment: Deployment) -> AttemptFailed:
    """Interpret an error inside a 2xx reply, before any content."""
    message = "The provider failed before sending any content."
    if body.message is not None:
        message = refused(body, _UNAVAILABLE, deployment).message
    failure = Failure(reason="protocol", about=_about_request(body))
    return AttemptFailed(failure, UpstreamFailed(message), "an error in a 2xx reply, before any content")


def from_transport(fault: TransportError) -> AttemptFailed:
    """Interpret a transport error, before the reply was complete or had content."""
    error: GatewayError
    if fault.kind == "timeout":
        error = UpstreamTimedOut("The provider did not answer in time.")
    elif fault.kind == "connect":
        error = UpstreamFailed("The provider could not be reached.", code="upstream_unreachable")
    elif fault.kind == "cut":
        error = UpstreamFailed(
            "The provider closed the connection before its answer was complete.", code="upstream_cut"
        )
    else:
        error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return AttemptFailed(Failure(reason=fault.kind), error, str(fault))


def bad_reply(bad: BadReply) -> AttemptFailed:
    """Interpret a reply that could not be decoded."""
    error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return AttemptFailed(Failure(reason="protocol"), error, str(bad))


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header, given in seconds or as a date; None when it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None


def _about_request(body: UpstreamErrorBody) -> Literal["context_length", "content_policy"] | None:
    return None if body.about == "own_secret" else body.about
