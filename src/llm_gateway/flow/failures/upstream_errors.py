"""Turns a failed attempt into a failure for the retry rules, an error for the client, and a detail for the log."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import GatewayError, UpstreamFailed, UpstreamTimedOut, UpstreamUnavailable
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.routing.retry import Failure
from llm_gateway.flow.failures.causes import cause_of
from llm_gateway.flow.failures.recovery import AttemptFailed
from llm_gateway.flow.failures.redaction import refused
from llm_gateway.flow.ports.upstream import OversizedReply, TransportError
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.errors import BadReply, OversizedEvent

UNAUTHORIZED: Final = 401
_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404
_TOO_MANY, _UNAVAILABLE, _GATEWAY_TIMEOUT = 429, 503, 504
# Anthropic's status for an overload.
_OVERLOADED = 529
# Seconds. A longer wait is shortened to a day.
_LONGEST_RETRY_AFTER = 86_400.0
_ACCOUNT = "the provider refuses the gateway's account"
_UNSERVED = "the provider has no such model or endpoint"


def from_status(
    status: int,
    body: UpstreamErrorBody | None,
    wait: float | None,
    deployment: Deployment,
    request: ModelRequest | None = None,
) -> AttemptFailed:
    """Interpret an error status. `body` is that of an error; `wait` is the Retry-After header, in seconds."""
    error: GatewayError
    body = body or UpstreamErrorBody()
    wait = body.retry_after if wait is None else wait
    cause = cause_of(status, body, request)
    if cause == "own_secret":
        return AttemptFailed(
            Failure(reason="status", status=UNAUTHORIZED), key_refused(), f"status {UNAUTHORIZED}"
        )
    if cause == "account":
        return AttemptFailed(
            Failure(reason="account", status=status), account_refused(), f"status {status}: {_ACCOUNT}"
        )
    if cause == "unserved":
        failure = Failure(reason="unserved", status=status)
        return AttemptFailed(failure, _unserved(body, status, deployment), f"status {status}: {_UNSERVED}")
    if 400 <= status < 500:
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
        about=cause,
    )
    return AttemptFailed(failure, error, f"status {status}")


def from_reply(
    body: UpstreamErrorBody, deployment: Deployment, request: ModelRequest | None = None
) -> AttemptFailed:
    """Interpret an error inside a 2xx reply, before any content."""
    cause = cause_of(None, body, request)
    if cause == "own_secret":
        failure = Failure(reason="status", status=UNAUTHORIZED)
        return AttemptFailed(
            failure, key_refused(), "an error in a 2xx reply: the provider rejected the API key"
        )
    if cause == "account":
        failure = Failure(reason="account")
        return AttemptFailed(failure, account_refused(), f"an error in a 2xx reply: {_ACCOUNT}")
    if cause == "unserved":
        failure = Failure(reason="unserved")
        return AttemptFailed(
            failure, _unserved(body, _NOT_FOUND, deployment), f"an error in a 2xx reply: {_UNSERVED}"
        )
    message = "The provider failed before sending any content."
    if body.message is not None:
        message = refused(body, _UNAVAILABLE, deployment).message
    failure = Failure(reason="protocol", about=cause)
    return AttemptFailed(failure, UpstreamFailed(message), "an error in a 2xx reply, before any content")


def after_commit(body: UpstreamErrorBody, deployment: Deployment, request: ModelRequest) -> AttemptFailed:
    """Interpret an error inside a stream whose first bytes the client has; `error` is what ends the stream."""
    failed = from_reply(body, deployment, request)
    if failed.failure.reason in {"protocol", "unserved"}:
        failed.error = refused(body, _OK, deployment)
    return failed


def key_refused() -> UpstreamFailed:
    """Return the client's error when the provider rejects the gateway's own key."""
    message = "The provider rejected the gateway's API key. Ask the gateway administrator to update it."
    return UpstreamFailed(message, code="upstream_key_refused")


def account_refused() -> UpstreamFailed:
    """Return the client's error when the provider refuses the gateway's own account; it quotes no provider."""
    message = (
        "The provider refuses the gateway's account. Ask the gateway administrator to check its credit, its quota "
        "and its permissions at the provider."
    )
    return UpstreamFailed(message, code="upstream_account_refused")


def _unserved(body: UpstreamErrorBody, status: int, deployment: Deployment) -> GatewayError:
    """Return a 404 in the provider's words, except those of a 403, which describe the gateway's account."""
    if body.message is None or status == _FORBIDDEN:
        body = msgspec.structs.replace(
            body, message=f"The provider has no such model or no such endpoint (status {status})."
        )
    return refused(body, _NOT_FOUND, deployment)


def from_transport(fault: TransportError) -> AttemptFailed:
    """Interpret a transport error, before the reply was complete or had content."""
    error: GatewayError
    if isinstance(fault, OversizedReply):
        return too_large("the provider's reply is larger than MAX_REPLY_BYTES allows")
    if fault.kind == "timeout":
        error = UpstreamTimedOut("The provider did not answer in time.")
    elif fault.kind == "connect":
        error = UpstreamFailed("The provider could not be reached.", code="upstream_unreachable")
    elif fault.kind == "proxy":
        message = "The gateway's own proxy failed. Ask the gateway administrator to check it."
        error = UpstreamFailed(message, code="proxy_failed")
    elif fault.kind == "cut":
        error = UpstreamFailed(
            "The provider closed the connection before its answer was complete.", code="upstream_cut"
        )
    else:
        error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return AttemptFailed(Failure(reason=fault.kind), error, str(fault))


def bad_reply(bad: BadReply) -> AttemptFailed:
    """Interpret a reply that could not be decoded."""
    if isinstance(bad, OversizedEvent):
        return too_large(str(bad))
    error = UpstreamFailed("The provider's answer could not be read.", code="upstream_bad_reply")
    return AttemptFailed(Failure(reason="protocol"), error, str(bad))


def too_large(detail: str) -> AttemptFailed:
    """Interpret a reply over a limit of the gateway, which `detail` names: another one would be as large."""
    raised = ", or have the gateway administrator raise that setting" if "MAX_" in detail else ""
    message = f"{detail[:1].upper()}{detail[1:]}. Ask for a shorter answer{raised}."
    return AttemptFailed(
        Failure(reason="too_large"), UpstreamFailed(message, code="upstream_bad_reply"), detail
    )


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


def cut_error(fault: TransportError) -> GatewayError:
    """Return the error for a client whose stream was cut."""
    if fault.kind == "timeout":
        return UpstreamTimedOut("The provider sent nothing more in the middle of its answer.")
    return UpstreamFailed(
        "The connection to the provider broke in the middle of its answer.", code="upstream_cut"
    )
