"""How Anthropic's errors become OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.anthropic.errors import error_body_from
from llm_gateway.providers.base import UpstreamErrorBody
from tests.fakes.anthropic_wire import FOLDER


@pytest.mark.parametrize(
    ("name", "kind", "code", "about"),
    [
        ("400_invalid_request", "invalid_request_error", None, None),
        ("400_prompt_too_long", "invalid_request_error", "context_length_exceeded", "context_length"),
        ("400_content_filter", "invalid_request_error", "content_policy_violation", "content_policy"),
        ("401_authentication", "authentication_error", "invalid_api_key", "own_secret"),
        ("402_billing", "insufficient_quota", "insufficient_quota", "account"),
        ("403_permission", "permission_error", "permission_denied", None),
        ("404_not_found", "invalid_request_error", "model_not_found", "unserved"),
        ("429_rate_limit", "rate_limit_error", "rate_limit_exceeded", None),
        ("500_api", "server_error", "api_error", None),
        ("504_timeout", "server_error", "timeout", None),
        ("529_overloaded", "server_error", "overloaded", None),
    ],
)
def test_error_types_become_openais(name: str, kind: str, code: str | None, about: Any) -> None:
    body = (FOLDER / "errors" / f"{name}.json").read_bytes()
    told = error_body_from(body)
    assert told == UpstreamErrorBody(
        message=json.loads(body)["error"]["message"], type=kind, code=code, about=about
    )


def test_anthropics_error_codes_and_unknown_types_are_kept() -> None:
    error = {"type": "invalid_request_error", "message": "x", "details": {"error_code": "tool_name_conflict"}}
    assert error_body_from(json.dumps({"error": error}).encode()).code == "tool_name_conflict"
    unknown = {"type": "a_new_error", "message": "x"}
    assert error_body_from(json.dumps({"error": unknown}).encode()).type == "a_new_error"


@pytest.mark.parametrize(
    ("message", "about"),
    [
        ("prompt is too long: 250000 tokens > 200000 maximum", "context_length"),
        ("input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000", "context_length"),
        ("This request exceeds the context window.", "context_length"),
        ("Output blocked by content filtering policy", "content_policy"),
        ("This request violates our Usage Policy", "content_policy"),
        ("max_tokens: must be positive", None),
        (
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            "account",
        ),
        (
            "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
            "account",
        ),
        ("This organization has been disabled.", "account"),
        ("messages.0.role: Input should be 'user', not 'Your credit balance is too low'", None),
    ],
)
def test_the_cause_is_read_from_the_message(message: str, about: str | None) -> None:
    error = {"type": "invalid_request_error", "message": message, "details": {"error_code": "own"}}
    told = error_body_from(json.dumps({"error": error}).encode())
    codes = {"context_length": "context_length_exceeded", "content_policy": "content_policy_violation"}
    assert (told.about, told.code, told.message) == (about, codes.get(about or "", "own"), message)


def test_only_a_missing_model_is_model_not_found() -> None:
    error = {"type": "not_found_error", "message": "file_011 was not found"}
    assert error_body_from(json.dumps({"error": error}).encode()).code == "not_found"


def test_an_error_without_type_and_message_is_empty() -> None:
    assert error_body_from(b'{"error": {}}') == UpstreamErrorBody()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 5}', b"\xff\xfe"])
def test_unreadable_error_bodies_are_empty(body: bytes) -> None:
    assert error_body_from(body) == UpstreamErrorBody()


@pytest.mark.parametrize("message", ["File not found: file_011CNha8iCJcU1wXNR6q4V8w", "Not found"])
def test_not_found_is_about_a_model_only_when_it_says_so(message: str) -> None:
    error = {"type": "not_found_error", "message": message}
    told = error_body_from(json.dumps({"error": error}).encode())
    assert (told.code, told.about) == ("not_found", None)
