"""Translates Anthropic's errors to OpenAI's types and codes."""

from __future__ import annotations

import re

from llm_gateway.providers.base import About, UpstreamErrorBody
from llm_gateway.wire.anthropic_messages.messages import UNREADABLE, decode_error

# OpenAI's type and code for each of Anthropic's error types.
_ERRORS: dict[str, tuple[str, str | None]] = {
    "invalid_request_error": ("invalid_request_error", None),
    "authentication_error": ("authentication_error", "invalid_api_key"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "permission_error": ("permission_error", "permission_denied"),
    "not_found_error": ("invalid_request_error", "not_found"),
    "conflict_error": ("invalid_request_error", "conflict"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "timeout_error": ("server_error", "timeout"),
    "api_error": ("server_error", "api_error"),
    "overloaded_error": ("server_error", "overloaded"),
}
_TOO_LONG = re.compile(
    r"prompt is too long|exceeds? (?:the )?context (?:limit|window)|context_length", re.IGNORECASE
)
_POLICY = re.compile(r"content filtering policy|usage polic(?:y|ies)", re.IGNORECASE)
# Anthropic has no code for these. They are matched at the start, since the rest of a message may quote a client.
_ACCOUNT = re.compile(
    r"your credit balance is too low|you have reached your specified (?:workspace )?api usage limits"
    r"|(?:this|your) (?:account|organi[sz]ation|workspace) (?:has|is|does)",
    re.IGNORECASE,
)
_MODEL = re.compile(r"models?\b(?!.{0,40}\b(?:file|image)\b)", re.IGNORECASE)
_ABOUT: dict[str, About] = {"authentication_error": "own_secret", "billing_error": "account"}


def error_body_from(body: bytes) -> UpstreamErrorBody:
    """Translate an error body or error event; return an empty result if it cannot be read."""
    try:
        error = decode_error(body).error
    except UNREADABLE:
        return UpstreamErrorBody()
    message = error.message or ""
    kind, code = _ERRORS.get(error.type, (error.type or None, None))
    own_code = error.details.error_code if error.details is not None else None
    if _TOO_LONG.search(message):
        return UpstreamErrorBody(
            message=message, type=kind, code="context_length_exceeded", about="context_length"
        )
    if _POLICY.search(message):
        return UpstreamErrorBody(
            message=message, type=kind, code="content_policy_violation", about="content_policy"
        )
    about = "account" if _ACCOUNT.match(message) else _ABOUT.get(error.type)
    if error.type == "not_found_error" and _MODEL.match(message):
        code, about = "model_not_found", "unserved"
    return UpstreamErrorBody(message=error.message, type=kind, code=own_code or code, about=about)
