"""Translates Google's error bodies (status, message, details) into OpenAI's error types and codes."""

from __future__ import annotations

import re

import msgspec

from llm_gateway.providers.base import About, UpstreamErrorBody

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
# Of google.rpc.ErrorInfo: what the gateway's project or key may not do.
_ACCOUNT_REASONS = frozenset(
    {
        "BILLING_DISABLED", "SERVICE_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID", "USER_PROJECT_DENIED",
        "API_KEY_SERVICE_BLOCKED", "API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED",
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    }
)  # fmt: skip
# Matched at the start, since the rest of a message may quote a client.
_ACCOUNT = re.compile(
    r"(?i)your prepayment credits|your project .{0,60}spending cap|this api method requires billing"
    r"|gemini api free tier is not available|user location is not supported"
    r"|.{0,80}\bplease enable billing"
)
_MODEL = re.compile(r"(?i)(?:the )?(?:publisher )?(?:models?\b|`?projects/[^\s`]+/models/)")
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
    searched = (status.message or "")[:_LONGEST_SEARCHED]
    about = _about(status.status, searched, details)
    if _TOO_LONG.search(searched):
        about, code = "context_length", "context_length_exceeded"
    elif _POLICY.search(searched):
        about, code = "content_policy", "content_policy_violation"
    return UpstreamErrorBody(
        message=status.message, type=kind, code=code, about=about, retry_after=_retry_after(details)
    )


def _about(status: str | None, message: str, details: list[_Detail]) -> About | None:
    if status == "UNAUTHENTICATED":
        return "own_secret"
    if any(detail.reason in _ACCOUNT_REASONS for detail in details) or _ACCOUNT.match(message):
        return "account"
    if status == "NOT_FOUND" and _MODEL.match(message):
        return "unserved"
    return None


def _retry_after(details: list[_Detail]) -> float | None:
    """Return the delay of google.rpc.RetryInfo, in seconds."""
    for detail in details:
        seconds = _SECONDS.fullmatch(detail.retry_delay or "")
        if seconds is not None:
            return float(seconds[1])
    return None
