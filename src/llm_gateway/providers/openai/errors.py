"""Reads the error bodies of OpenAI and compatible servers, and detects those that another server may not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llm_gateway.providers.base import About, UpstreamErrorBody

# For an event that is not JSON, after content has gone to the client.
NOT_JSON = UpstreamErrorBody(
    message="An event of the provider's stream is not JSON.", type="upstream_error", code="upstream_bad_reply"
)

# Codes and types, of the error itself, of Azure's `innererror` or of OpenRouter's `metadata`.
_NAMES: dict[str, About] = {
    "context_length_exceeded": "context_length",
    # llama.cpp
    "exceed_context_size_error": "context_length",
    "content_policy_violation": "content_policy",
    # Azure
    "content_filter": "content_policy",
    "ResponsibleAIPolicyViolation": "content_policy",
    "invalid_api_key": "own_secret",
    "incorrect_api_key": "own_secret",
    "authentication_error": "own_secret",
    # OpenAI
    "insufficient_quota": "account",
    "billing_hard_limit_reached": "account",
    "billing_not_active": "account",
    "access_terminated": "account",
    "account_deactivated": "account",
    "missing_scope": "account",
    "unsupported_country_region_territory": "account",
    # Moonshot, Together, DashScope, Groq, one-api
    "exceeded_current_quota_error": "account",
    "credit_limit": "account",
    "Arrearage": "account",
    "blocked_api_access": "account",
    "organization_restricted": "account",
    "insufficient_user_quota": "account",
    "insufficient_balance": "account",
    "insufficient_credits": "account",
    "payment_required": "account",
    "billing_error": "account",
    # OpenAI, Groq and others
    "model_not_found": "unserved",
    "model_not_available": "unserved",
    "model_not_supported": "unserved",
    "model_not_active": "unserved",
    "model_decommissioned": "unserved",
    "model_terms_required": "unserved",
    "model_permission_blocked_org": "unserved",
    "model_permission_blocked_project": "unserved",
    "unsupported_api_for_model": "unserved",
    # Mistral, Azure, GitHub
    "invalid_model": "unserved",
    "DeploymentNotFound": "unserved",
    "OperationNotSupported": "unserved",
    "unknown_model": "unserved",
}
# Messages of servers that have no code for it; see docs/providers/openai-family.md.
_CONTEXT_TEXTS = (
    # OpenAI, vLLM, DeepSeek, Mistral, OpenRouter, Ollama
    r"maximum context length",
    # xAI
    r"maximum prompt length",
    # llama.cpp
    r"exceeds the available context size",
    # LM Studio
    r"greater than the context length",
    # Together
    r"longer than the model's context length",
    r"`inputs` tokens \+ `max_new_tokens` must be <=",
    # Groq
    r"reduce the length of the messages",
    # OpenAI's Responses
    r"exceeds the context window",
)
_POLICY_TEXTS = (
    # Azure
    r"content management policy",
    # DeepSeek
    r"content exists risk",
    # xAI
    r"content violates usage guidelines",
)
# The following are matched at the start of a message only, since the rest may quote a client.
_SECRET_TEXTS = (
    # xAI answers 400 without a code.
    r"incorrect api key provided",
)
_ACCOUNT_TEXTS = (
    # OpenAI
    r"billing hard limit has been reached",
    r"your account is not active, please check your billing",
    # DeepSeek, and others after it
    r"insufficient (?:account )?balance",
    # xAI
    r"your (?:newly created )?team\b.{0,150}\b(?:credits|spending limit)",
    # OpenRouter
    r"insufficient credits",
    r"(?:api )?key limit exceeded",
    r"this request requires more credits",
    # Groq
    r"organi[sz]ation has (?:been|reached|exceeded)",
    # Together, Fireworks, Hugging Face
    r"credit limit exceeded",
    r"account .{1,100} is suspended",
    r"you have exceeded your monthly included credits",
    # Anthropic, behind OpenRouter and gateways
    r"your credit balance is too low",
)
_UNSERVED_TEXTS = (
    # OpenAI
    r"this is not a chat model",
    r"this model is only supported in",
    # vLLM, xAI, Hugging Face
    r"the (?:requested )?model [`'\"]?[^\s`'\"]{1,200}[`'\"]? does not exist",
    # Ollama
    r"model [`'\"][^`'\"]{1,200}[`'\"] not found",
    # DeepSeek, Mistral, OpenRouter, Zhipu
    r"model not exist",
    # Zhipu, SiliconFlow, and others
    r"(?:the )?(?:requested )?model (?:does not|doesn't) exist",
    r"(?:the )?(?:requested )?model (?:was |is |could )?not (?:be )?found",
    r"no such model",
    r"invalid model: ",
    r"\S{1,200} is not a valid model id",
    r"unknown model",
    # LM Studio answers 200.
    r"unexpected endpoint or method",
)
# `re` compiles them at the first error, and keeps them.
_STARTS: tuple[tuple[str, About], ...] = (
    ("|".join(_SECRET_TEXTS), "own_secret"),
    ("|".join(_ACCOUNT_TEXTS), "account"),
    ("|".join(_UNSERVED_TEXTS), "unserved"),
)
_CONTEXT = "|".join(_CONTEXT_TEXTS)
_POLICY = "|".join(_POLICY_TEXTS)
_LONGEST_SEARCHED = 8192
MESSAGE_FIELDS = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage")


def error_body_from(value: object) -> UpstreamErrorBody:
    """Find message, type, code and param in a decoded error body of any of the known shapes; never raises."""
    if not isinstance(value, dict):
        return UpstreamErrorBody()
    error = value.get("error", value)
    if isinstance(error, str):
        # xAI puts the code beside the text.
        error = {**value, "message": error}
    if not isinstance(error, dict):
        return UpstreamErrorBody()
    message = _message(error)
    return UpstreamErrorBody(
        message=message,
        type=_text(error.get("type")),
        code=_text(error.get("code")),
        param=_text(error.get("param")),
        about=_about(error, message),
    )


def _message(error: dict[str, Any]) -> str | None:
    for name in MESSAGE_FIELDS:
        value = error.get(name)
        if isinstance(value, dict):
            # Mistral
            value = value.get("detail", value.get("message"))
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list):
            return "; ".join(_complaints(value)) or None
    return None


def _complaints(found: list[Any]) -> Iterator[str]:
    """Format FastAPI's validation errors, as in `body.max_tokens: Extra inputs are not permitted`."""
    for complaint in found:
        if isinstance(complaint, dict) and isinstance(complaint.get("msg"), str):
            place = complaint.get("loc")
            where = ".".join(str(step) for step in place) if isinstance(place, list) else ""
            yield f"{where}: {complaint['msg']}" if where else complaint["msg"]


def _about(error: dict[str, Any], message: str | None) -> About | None:
    metadata, inner = error.get("metadata"), error.get("innererror")
    names = [error.get("code"), error.get("type")]
    texts = [message or ""]
    if isinstance(inner, dict):
        names.append(inner.get("code"))
    if isinstance(metadata, dict):
        # OpenRouter: its own name of the error, the upstream provider's message, and the flagged input.
        names.append(metadata.get("error_type"))
        texts.append(metadata["raw"] if isinstance(metadata.get("raw"), str) else "")
        if "flagged_input" in metadata:
            return "content_policy"
    for name in names:
        if isinstance(name, str) and name in _NAMES:
            return _NAMES[name]
    searched = "\n".join(texts)[:_LONGEST_SEARCHED]
    for pattern, about in _STARTS:
        if any(re.match(pattern, text, re.IGNORECASE) for text in texts):
            return about
    if re.search(_POLICY, searched, re.IGNORECASE):
        return "content_policy"
    return "context_length" if re.search(_CONTEXT, searched, re.IGNORECASE) else None


def _text(value: object) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    return str(value) if isinstance(value, (str, int)) else None
