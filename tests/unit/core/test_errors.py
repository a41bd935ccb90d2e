"""Each error has the status, type and code that clients rely on, and says what a usage record calls it."""

from __future__ import annotations

import json

import pytest

from llm_gateway.core import errors
from llm_gateway.core.errors import (
    GatewayError,
    InternalError,
    QuotaExceeded,
    RateLimited,
    UpstreamError,
    UpstreamRefused,
)
from llm_gateway.surfaces.openai.errors import OPENAI_ERRORS

INVALID = "invalid_request_error"
# The class, and its status, type, code and outcome.
TABLE = [
    ("GatewayError", 500, "server_error", None, "rejected"),
    ("BadRequest", 400, INVALID, "invalid_request", "rejected"),
    ("BodyTooLarge", 413, INVALID, "request_too_large", "rejected"),
    ("BodyTimedOut", 408, INVALID, "request_timeout", "rejected"),
    ("Unauthenticated", 401, INVALID, "invalid_api_key", "rejected"),
    ("Forbidden", 403, "permission_error", "model_not_allowed", "rejected"),
    ("ModelNotPriced", 403, "permission_error", "model_not_priced", "rejected"),
    ("NotFound", 404, INVALID, "not_found", "rejected"),
    ("ModelNotFound", 404, INVALID, "model_not_found", "rejected"),
    ("MethodNotAllowed", 405, INVALID, "method_not_allowed", "rejected"),
    ("UpgradeRequired", 426, INVALID, "websocket_not_supported", "rejected"),
    ("Conflict", 409, INVALID, "conflict", "rejected"),
    ("PreconditionFailed", 412, INVALID, "precondition_failed", "rejected"),
    ("Unprocessable", 422, INVALID, "invalid_value", "rejected"),
    ("RateLimited", 429, "rate_limit_error", "rate_limit_exceeded", "rejected"),
    ("CostRefused", 402, INVALID, "max_cost_exceeded", "rejected"),
    ("Unavailable", 503, "server_error", "unavailable", "rejected"),
    ("InternalError", 500, "server_error", "internal_error", "error"),
    ("UpstreamError", 502, "upstream_error", "upstream_error", "error"),
    ("UpstreamFailed", 502, "upstream_error", "upstream_error", "error"),
    ("UpstreamUnavailable", 503, "upstream_error", "upstream_unavailable", "error"),
    ("UpstreamTimedOut", 504, "upstream_error", "upstream_timeout", "error"),
]


@pytest.mark.parametrize(("name", "status", "error_type", "code", "outcome"), TABLE)
def test_an_error_has_its_status_type_code_and_outcome(
    name: str, status: int, error_type: str, code: str | None, outcome: str
) -> None:
    error: GatewayError = getattr(errors, name)("What happened.")
    assert (error.status, error.type, error.code, error.outcome) == (status, error_type, code, outcome)
    assert (error.param, error.retry_after, error.headers) == (None, None, ())


def test_every_error_is_in_the_table() -> None:
    """Two are not: the provider's own refusal brings its status and type along, and a quota has details."""
    here = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, GatewayError)
    }
    assert here == {name for name, *_ in TABLE} | {"UpstreamRefused", "QuotaExceeded"}


@pytest.mark.parametrize("name", [name for name, *_ in TABLE])
def test_an_error_is_rendered_with_its_message_and_param(name: str) -> None:
    error: GatewayError = getattr(errors, name)("Say it so.", param="messages[0]")
    status, headers, body = OPENAI_ERRORS.error_response(error, "0190")
    assert status == error.status
    assert (b"content-type", b"application/json") in headers
    assert json.loads(body) == {
        "error": {"message": "Say it so.", "type": error.type, "param": "messages[0]", "code": error.code}
    }


def test_a_code_of_its_own_replaces_the_code_of_the_class_for_one_error_only() -> None:
    assert RateLimited("Wait.", code="budget_exceeded", retry_after=1.5).code == "budget_exceeded"
    assert RateLimited("Wait.").code == "rate_limit_exceeded"


def test_the_message_is_the_text_of_the_exception() -> None:
    error = RateLimited("Wait.", retry_after=1.5)
    assert (str(error), error.message, error.retry_after) == ("Wait.", "Wait.", 1.5)


def test_a_refusal_of_the_provider_is_passed_on_as_it_is() -> None:
    refused = UpstreamRefused(
        "Bad model.", status=418, type="teapot_error", code="short", param="model", retry_after=2.0
    )
    assert isinstance(refused, UpstreamError)
    assert (refused.status, refused.type, refused.code, refused.param, refused.retry_after) == (
        418,
        "teapot_error",
        "short",
        "model",
        2.0,
    )


def test_a_refusal_without_a_type_and_code_gets_a_type_and_no_code() -> None:
    """The code of the gateway's own errors would claim that the provider failed."""
    refused = UpstreamRefused("Bad model.", status=400)
    assert (refused.type, refused.code) == (INVALID, None)


def test_an_internal_error_tells_nothing_but_where_to_look() -> None:
    error = errors.internal_error()
    assert isinstance(error, InternalError)
    assert "log" in error.message
    assert "request id" in error.message


def test_a_quota_says_what_was_reached_and_when_it_is_free_again() -> None:
    error = QuotaExceeded(
        "Spent.", scope="tenant", limit="10.00", used="9.99", held="0.02", reset_at=1_800_000_000_000_001
    )
    assert (error.status, error.outcome, error.waiting_helps, error.retry_after) == (
        429,
        "rejected",
        False,
        None,
    )
    answer = OPENAI_ERRORS.error_response(error, "an-id")
    assert json.loads(answer.body)["error"] == {
        "message": "Spent.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
        "scope": "tenant",
        "limit": "10.00",
        "used": "9.99",
        "held": "0.02",
        "reset_at": "2027-01-15T08:00:01Z",
    }


def test_a_quota_without_a_window_has_no_reset() -> None:
    error = QuotaExceeded("Spent.", scope="agent", limit=5, used=5, held=0, reset_at=None)
    assert error.details == {"scope": "agent", "limit": 5, "used": 5, "held": 0, "reset_at": None}
