"""Reads the error bodies of OpenAI and compatible servers, and detects errors that another model may not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from llm_gateway.providers.base import UpstreamErrorBody

# For an event that is not JSON, after content has gone to the client.
NOT_JSON = UpstreamErrorBody(
    message="An event of the provider's stream is not JSON.", type="upstream_error", code="upstream_bad_reply"
)

About = Literal["context_length", "content_policy"]

# Codes and types, of the error itself, of Azure's `innererror` or of OpenRouter's `metadata`.
_NAMES: dict[str, About] = {
    "context_length_exceeded": "context_length",
    # llama.cpp
    "exceed_context_size_error": "context_length",
    "content_policy_violation": "content_policy",
    # Azure
    "content_filter": "content_policy",
    "ResponsibleAIPolicyViolation": "content_policy",
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
_CONTEXT = re.compile("|".join(_CONTEXT_TEXTS), re.IGNORECASE)
_POLICY = re.compile("|".join(_POLICY_TEXTS), re.IGNORECASE)
_LONGEST_SEARCHED = 8192


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
    for name in ("message", "detail"):
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
    if _POLICY.search(searched):
        return "content_policy"
    return "context_length" if _CONTEXT.search(searched) else None


def _text(value: object) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    return str(value) if isinstance(value, (str, int)) else None
