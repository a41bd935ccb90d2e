"""The agents' API in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

PROXY_PATH: Final = "/internal/llm/proxy"
MODELS_PATH: Final = "/internal/llm/models"
USAGE_PATH: Final = "/internal/llm/usage"

_TAG: Final = "Agents"
_SECRET: Final = {
    "name": "X-Internal-Secret",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "The gateway's LLM_PROXY_SECRET.",
}
_FILTERS: Final = {
    "agent_id": "Only requests of this agent.",
    "microdao_id": "Only requests for this microDAO.",
    "channel_id": "Only requests for this channel.",
    "since": "Requests from this time on: an ISO 8601 time (UTC unless it has an offset) or Unix seconds.",
    "until": "Requests before this time, likewise.",
}
_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_INTEGER: Final = {"type": "integer"}
_OBJECT: Final = {"type": "object"}
_OBJECTS: Final = {"type": "array", "items": _OBJECT}
# OpenAI's fields that are sent to the provider as they are.
_PASSED: Final[dict[str, Any]] = {
    "max_tokens": _INTEGER,
    "temperature": _NUMBER,
    "tools": _OBJECTS,
    "tool_choice": {"type": ["string", "object"]},
    "parallel_tool_calls": {"type": "boolean"},
    "functions": _OBJECTS,
    "function_call": {"type": ["string", "object"]},
    "top_p": _NUMBER,
    "frequency_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
    "stop": {"type": ["string", "array"]},
    "seed": _INTEGER,
    "response_format": _OBJECT,
    "max_completion_tokens": _INTEGER,
    "logit_bias": _OBJECT,
    "reasoning_effort": _TEXT,
    "user": _TEXT,
}
_REPLY: Final[dict[str, Any]] = {
    "content": {**_TEXT, "description": "The answer; empty if the model calls tools instead."},
    "usage": {
        "type": "object",
        "properties": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _INTEGER),
    },
    "provider": {**_TEXT, "description": "The `provider_key` of the provider that answered."},
    "model_resolved": {**_TEXT, "description": "The provider's name of the model."},
    "latency_ms": {**_NUMBER, "description": "Milliseconds from the request to the answer."},
    "tool_calls": {**_OBJECTS, "description": "As in OpenAI's API; only if the model calls tools."},
    "function_call": {**_OBJECT, "description": "As in OpenAI's API; only in answers to `functions`."},
    "finish_reason": {**_TEXT, "description": "Why the answer ended; left out if it is `stop`."},
}
_MODEL: Final[dict[str, Any]] = {
    "name": _TEXT,
    "provider": _TEXT,
    "physical_name": _TEXT,
    "max_tokens": {"type": ["integer", "null"]},
}
_TOTALS: Final[dict[str, Any]] = {
    "total_requests": {**_INTEGER, "description": "Including those that failed or were refused."},
    "total_tokens": _INTEGER,
    "avg_latency_ms": {**_NUMBER, "description": "Without requests that were refused; 0 without any other."},
    "success_rate": {**_NUMBER, "description": "From 0 to 1; 0 without requests."},
    "prompt_tokens": _INTEGER,
    "completion_tokens": _INTEGER,
    "cost_usd": {**_TEXT, "description": "Decimal USD, as far as costs are known."},
    "unpriced_requests": {**_INTEGER, "description": "Requests that used tokens at an unknown cost."},
    "requests_per_minute": {"type": ["integer", "null"], "description": "An agent's limit; null = none."},
    "is_complete": {"type": "boolean", "description": "False while the database takes no usage rows."},
}


def agents_paths() -> dict[str, Any]:
    """Return this surface's part of the OpenAPI document."""
    proxy = _operation("Ask a model on behalf of an agent", _REPLY)
    proxy["responses"]["200"]["content"]["text/event-stream"] = {}
    proxy["requestBody"] = {"required": True, "content": {"application/json": {"schema": _request()}}}
    usage = _operation("Show what agents' requests used", _TOTALS)
    usage["parameters"] += [
        {"name": name, "in": "query", "required": False, "schema": _TEXT, "description": text}
        for name, text in _FILTERS.items()
    ]
    models = {"models": {"type": "array", "items": {"type": "object", "properties": _MODEL}}}
    return {
        PROXY_PATH: {"post": proxy},
        MODELS_PATH: {"get": _operation("List the models that agents may use", models)},
        USAGE_PATH: {"get": usage},
    }


def _request() -> dict[str, Any]:
    metadata = dict.fromkeys(("agent_id", "microdao_id", "channel_id"), _TEXT)
    return {
        "type": "object",
        "required": ["model", "messages"],
        "additionalProperties": False,
        "properties": {
            "model": _TEXT,
            "messages": {**_OBJECTS, "description": "As in OpenAI's API."},
            "metadata": {"type": "object", "properties": metadata, "additionalProperties": False},
            "stream": {"type": "boolean", "default": False},
            **_PASSED,
        },
    }


def _operation(summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    error = {"description": 'An error: {"detail": ..., "error": {type, code, param, request_id}}.'}
    content = {"application/json": {"schema": {"type": "object", "properties": answer}}}
    return {
        "tags": [_TAG],
        "summary": summary,
        "parameters": [_SECRET],
        "responses": {"200": {"description": "The answer.", "content": content}, "4XX": error, "5XX": error},
    }
