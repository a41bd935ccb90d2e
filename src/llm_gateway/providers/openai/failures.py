"""Finds the failures that OpenAI and compatible servers report with status 200: in replies, events and choices."""

from __future__ import annotations

from typing import Any

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.openai.errors import MESSAGE_FIELDS, error_body_from
from llm_gateway.wire.openai_chat.finish_reasons import ending_reason, is_failure

# For a stream that ended as whole streams do, but without any content or finish reason.
NO_ANSWER = UpstreamErrorBody(
    message="The provider ended its stream without an answer.",
    type="upstream_error",
    code="upstream_bad_reply",
)
# Values of `error` that mean that there is none.
_NO_ERROR = frozenset({"", "0", "false", "no", "none", "null", "ok", "success"})
_CODES = ("code", "status_code", "statusCode", "error_code", "errorCode", "errno", "errcode")
_FAILED_STATES = frozenset({"error", "fail", "failed", "failure"})
_LEAST_ERROR_STATUS = 400
_SUCCESS = frozenset({*_NO_ERROR, "200"})
_ANSWERS = ("choices", "data", "output")
_LONGEST_REASON = 50


def error_in(value: object) -> UpstreamErrorBody | None:
    """Return the error that a decoded reply or event with status 200 reports; None if it reports none.

    Besides `error`, servers send `{"object": "error", "message": ...}` and `{"code": 401, "msg": ...}`.
    """
    if not isinstance(value, dict):
        return None
    if _is_error(value.get("error")):
        return error_body_from(value)
    if any(value.get(name) for name in _ANSWERS):
        return None
    rest = {name: field for name, field in value.items() if name != "error"}
    named = "error" in (value.get("object"), value.get("type"))
    if named or (
        any(rest.get(name) for name in MESSAGE_FIELDS) and (_has_error_code(rest) or len(rest) == 1)
    ):
        return error_body_from(rest)
    return None


def failed_choice(value: object) -> UpstreamErrorBody | None:
    """Return the failure that a choice of a decoded reply or chunk reports, in its `error` or finish reason."""
    choices = value.get("choices") if isinstance(value, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        if _is_error(choice.get("error")):
            return error_body_from({"error": choice["error"]})
        reason = ending_reason(choice.get("finish_reason"))
        if reason is not None and is_failure(reason):
            message = f"The provider ended its answer with the finish reason '{reason[:_LONGEST_REASON]}'."
            return UpstreamErrorBody(message=message, type="upstream_error", code="upstream_error")
    return None


def _is_error(value: object) -> bool:
    """Tell whether `error` has a value that says something: `false`, `{}` and `{"message": null}` do not."""
    if isinstance(value, str):
        return value.strip().lower() not in _NO_ERROR
    if isinstance(value, dict):
        return any(value.values())
    return bool(value)


def _has_error_code(value: dict[str, Any]) -> bool:
    if value.get("success") is False or value.get("ok") is False:
        return True
    status = value.get("status")
    if isinstance(status, str) and status.strip().lower() in _FAILED_STATES:
        return True
    if isinstance(status, int) and status >= _LEAST_ERROR_STATUS:
        return True
    codes = (value.get(name) for name in _CODES)
    return any(code is not None and str(code).strip().lower() not in _SUCCESS for code in codes)
