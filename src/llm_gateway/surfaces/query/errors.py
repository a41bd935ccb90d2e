"""Errors as clients of the query gateway get them: a sentence for people, and fields for programs."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from llm_gateway.core.errors import (
    BadRequest,
    BodyTimedOut,
    CostRefused,
    Forbidden,
    GatewayError,
    InternalError,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimedOut,
    UpstreamUnavailable,
)
from llm_gateway.flow.ports.dialect import ErrorFormat, ErrorResponse, Headers

JSON_HEADERS: Final[Headers] = ((b"content-type", b"application/json"),)
_TOO_MANY: Final = 429
# In the order in which they are looked up: the first class that an error is of counts.
_TYPES: Final[tuple[tuple[type[GatewayError], str], ...]] = (
    (UpstreamTimedOut, "timeout"),
    (BodyTimedOut, "timeout"),
    (UpstreamUnavailable, "unavailable"),
    (Unavailable, "unavailable"),
    (RateLimited, "rate_limit"),
    (QuotaExceeded, "quota"),
    (CostRefused, "cost_limit"),
    (Unauthenticated, "authentication"),
    (Forbidden, "permission"),
    (NotFound, "not_found"),
    (BadRequest, "invalid_request"),
    (UpstreamError, "provider_error"),
    (InternalError, "internal"),
)
_LATER: Final = "Try again later, or send another model."


class QueryErrors(ErrorFormat):
    """Renders `{"error", "error_type", "code", "param", "request_id"}`, and the details that some errors have.

    `request_id` is the client's own, where it has sent one.
    """

    # The client's id of the request; None = it sent none, or that is not known yet.
    client_request_id: str | None = None

    def error_response(self, error: GatewayError, request_id: str) -> ErrorResponse:
        fields = error_fields(error, self.client_request_id or request_id)
        return ErrorResponse(error.status, JSON_HEADERS, msgspec.json.encode(fields))


QUERY_ERRORS: Final = QueryErrors()


def error_fields(error: GatewayError, request_id: str | None) -> dict[str, str | int | None]:
    """Return the fields of an error's body."""
    fields: dict[str, str | int | None] = {
        "error": friendly(error),
        "error_type": error_type(error),
        "code": error.code,
        "param": error.param,
        "request_id": request_id,
    }
    if (seconds := _seconds(error)) is not None:
        fields["retry_after"] = seconds
    if error.details is not None:
        fields.update(error.details)
    return fields


def error_type(error: GatewayError) -> str:
    """Return the kind of an error, by what can be done about it."""
    if isinstance(error, UpstreamRefused):
        return "rate_limit" if error.status == _TOO_MANY else "provider_refused"
    return next((name for kind, name in _TYPES if isinstance(error, kind)), "invalid_request")


def friendly(error: GatewayError) -> str:
    """Return a sentence for whoever wrote the query."""
    seconds = _seconds(error)
    soon = "in a moment" if seconds is None else f"in {seconds} second{'s' if seconds > 1 else ''}"
    if isinstance(error, UpstreamError):
        return _of_provider(error, soon)
    if isinstance(error, RateLimited) and error.waiting_helps is not False:
        return f"Too many requests: try again {soon}. ({error.message})"
    if isinstance(error, Unavailable):
        return f"The gateway cannot take the query now: try again {soon}. ({error.message})"
    if isinstance(error, InternalError):
        return "Something went wrong in the gateway. Try again; if it happens again, report the request_id."
    return error.message


def _of_provider(error: UpstreamError, soon: str) -> str:
    if isinstance(error, UpstreamTimedOut):
        return "The model took too long to answer. Try again, send a shorter query, or send another model."
    if isinstance(error, UpstreamUnavailable):
        return f"The model's provider is overloaded. Try again {soon}, or send another model."
    if isinstance(error, UpstreamRefused):
        if error.status == _TOO_MANY and error.waiting_helps:
            return f"The model's provider gets too many requests. Try again {soon}, or send another model."
        return f"The model's provider refused the query: {error.message}"
    # Its message says what an operator has to correct.
    return f"The model is not available at the moment. {_LATER} ({error.message})"


def _seconds(error: GatewayError) -> int | None:
    """Return when the query may be sent again, as the header Retry-After says it; None if it says nothing."""
    if error.waiting_helps is False or (error.retry_after is None and not error.waiting_helps):
        return None
    return max(math.ceil(error.retry_after or 0), 1)
