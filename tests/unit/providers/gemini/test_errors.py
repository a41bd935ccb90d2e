"""Google's error bodies in OpenAI's terms."""

from __future__ import annotations

import json
import time

import pytest

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.gemini.errors import error_body_from
from tests.fakes.gemini_wire import (
    unary,
)


def refusal(name: str) -> UpstreamErrorBody:
    return error_body_from(unary(name))


def test_types_and_codes() -> None:
    limit = refusal("error-rate-limit")
    assert (limit.type, limit.code, limit.retry_after) == ("rate_limit_error", "rate_limit_exceeded", 34.4)
    long = refusal("error-too-long")
    assert (long.type, long.code, long.about) == (
        "invalid_request_error",
        "context_length_exceeded",
        "context_length",
    )
    assert refusal("error-no-model").code == "model_not_found"
    assert refusal("error-overloaded").type == "server_error"
    assert (refusal("error-thinking-level").type, refusal("error-thinking-level").about) == (
        "invalid_request_error",
        None,
    )
    policy = {"error": {"message": "The prompt violates the Generative AI Prohibited Use policy."}}
    assert error_body_from(json.dumps(policy).encode()).about == "content_policy"
    assert error_body_from(b"[" + unary("error-no-model") + b"]") == refusal("error-no-model")


def test_a_rejected_gateway_key_is_not_blamed_on_the_client() -> None:
    told = refusal("error-bad-key")
    assert told.type == "upstream_error"
    assert told.message is not None
    assert "gateway's API key" in told.message
    assert told.about == "own_secret"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error": "x"}', b"\xff", b"[" * 5000])
def test_any_body_is_accepted(body: bytes) -> None:
    assert error_body_from(body).about is None


def test_a_long_message_is_read_in_time() -> None:
    body = json.dumps({"error": {"message": "token count " * 20_000, "status": "INTERNAL"}}).encode()
    begun = time.monotonic()
    assert error_body_from(body).about is None
    # A search through all of it takes some seconds.
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("delay", "seconds"), [("34.07s", 34.07), ("0s", 0.0), ("9" * 400 + "s", None), ("-1s", None)]
)
def test_retry_delay_in_seconds(delay: str, seconds: float | None) -> None:
    error = {"message": "Slow down.", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": delay}]}
    assert error_body_from(json.dumps({"error": error}).encode()).retry_after == seconds


def test_only_the_first_of_several_errors_is_read() -> None:
    first = {"error": {"message": "One.", "status": "NOT_FOUND"}}
    second = {"error": {"message": "Two.", "status": "INTERNAL"}}
    assert error_body_from(json.dumps([first, second]).encode()).message == "One."


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        ("FAILED_PRECONDITION", "invalid_request_error", "failed_precondition"),
        ("UNAUTHENTICATED", "authentication_error", "unauthenticated"),
        ("PERMISSION_DENIED", "permission_error", "permission_denied"),
        ("DATA_LOSS", "server_error", "data_loss"),
        (None, "server_error", None),
    ],
)
def test_each_status_has_a_type_and_a_code(status: str | None, kind: str, code: str | None) -> None:
    read = error_body_from(json.dumps({"error": {"message": "x", "status": status}}).encode())
    assert (read.type, read.code) == (kind, code)


@pytest.mark.parametrize(
    ("code", "status", "message", "reason", "about"),
    [
        (404, "NOT_FOUND", "models/g-0 is not found for API version v1beta", None, "unserved"),
        (404, "NOT_FOUND", "Publisher Model `projects/p/locations/l/publishers/google/models/g` was not found", None,
         "unserved"),
        (404, "NOT_FOUND", "CachedContent not found (or permission denied)", None, None),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", None, "account"),
        (400, "FAILED_PRECONDITION", "Gemini API free tier is not available in your country.", None, "account"),
        (400, "FAILED_PRECONDITION", "Quota is used up. Please enable billing on your project.", None, "account"),
        (400, "FAILED_PRECONDITION", "The File x is not in an ACTIVE state.", None, None),
        (403, "PERMISSION_DENIED", "This API method requires billing to be enabled.", "BILLING_DISABLED", "account"),
        (403, "PERMISSION_DENIED", "Generative Language API has not been used", "SERVICE_DISABLED", "account"),
        (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio.", None, "account"),
        (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.",
         None, None),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", None, "own_secret"),
    ],
)  # fmt: skip
def test_a_refusal_is_about_the_account_a_model_or_the_request(
    code: int, status: str, message: str, reason: str | None, about: str | None
) -> None:
    details = [] if reason is None else [{"reason": reason}]
    error = {"code": code, "status": status, "message": message, "details": details}
    assert error_body_from(json.dumps({"error": error}).encode()).about == about
