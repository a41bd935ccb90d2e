"""Translates Google's error bodies (status, message, details) into OpenAI's error types and codes."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from llm_gateway.providers.base import UpstreamErrorBody

# OpenAI's type and code for each google.rpc.Code; any other status is a server error.
_TYPES_AND_CODES = {
    "INVALID_ARGUMENT": ("invalid_request_error", "invalid_argument"),
    "FAILED_PRECONDITION": ("invalid_request_error", "failed_precondition"),
    "OUT_OF_RANGE": ("invalid_request_error", "out_of_range"),
    "NOT_FOUND": ("invalid_request_error", "model_not_found"),
    "UNAUTHENTICATED": ("authentication_error", "unauthenticated"),
    "PERMISSION_DENIED": ("permission_error", "permission_denied"),
    "RESOURCE_EXHAUSTED": ("rate_limit_error", "rate_limit_exceeded"),
}
_TOO_LONG = re.compile(
    r"(?i)token count .*exceeds|exceeds the maximum (?:number of tokens|input)|input .{0,20}too long"
)
_POLICY = re.compile(
    r"(?i)prohibited use policy|responsible ai|safety polic|blocked .{0,40}(?:safety|policy)"
)
# These searches take quadratic time, so they see only the start of a long message.
_LONGEST_SEARCHED = 8192
_BAD_KEY = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED"})
# The digits are limited because a longer number is useless as a delay and may overflow to infinity.
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


class _Detail(msgspec.Struct, rename="camel"):
    reason: str | None = None
    retry_delay: str | None = None


class _Status(msgspec.Struct):
    message: str | None = None
    status: str | None = None
    details: list[_Detail] | None = None


class _Body(msgspec.Struct):
    error: _Status


_decode = msgspec.json.Decoder(_Body | list[_Body]).decode


def error_body_from(body: bytes) -> UpstreamErrorBody:
    """Read `{"error": {"code", "message", "status", "details"}}`, or a list of such errors; never raises."""
    try:
        read = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UpstreamErrorBody()
    if isinstance(read, list):
        if not read:
            return UpstreamErrorBody()
        read = read[0]
    return _refusal(read.error)


def _refusal(status: _Status) -> UpstreamErrorBody:
    details = status.details or []
    if any(detail.reason in _BAD_KEY for detail in details):
        # Google answers 400, as for an invalid request of the client.
        message = "The provider rejected the gateway's API key. Ask the gateway administrator to update it."
        return UpstreamErrorBody(
            message=message, type="upstream_error", code="upstream_key_refused", about="own_secret"
        )
    kind, code = _TYPES_AND_CODES.get(
        status.status or "", ("server_error", (status.status or "").lower() or None)
    )
    about: Literal["context_length", "content_policy"] | None = None
    searched = (status.message or "")[:_LONGEST_SEARCHED]
    if _TOO_LONG.search(searched):
        about, code = "context_length", "context_length_exceeded"
    elif _POLICY.search(searched):
        about, code = "content_policy", "content_policy_violation"
    return UpstreamErrorBody(
        message=status.message, type=kind, code=code, about=about, retry_after=_retry_after(details)
    )


def _retry_after(details: list[_Detail]) -> float | None:
    """Return the delay of google.rpc.RetryInfo, in seconds."""
    for detail in details:
        seconds = _SECONDS.fullmatch(detail.retry_delay or "")
        if seconds is not None:
            return float(seconds[1])
    return None
