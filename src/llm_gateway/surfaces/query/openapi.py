"""The query gateway's part of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

_TEXT: Final = {"type": "string"}
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "query": {**_TEXT, "description": "The text of the query."},
    "model": {
        **_TEXT,
        "description": "A family (openai, gemini, mistral, claude, deepseek) or any model of /v1/models. Default: "
        "the best available one for the task type.",
    },
    "model_version": {**_TEXT, "description": "A model in place of the family's default, such as gpt-4o."},
    "task_type": {
        **_TEXT,
        "description": "text_generation, summarization, sentiment_analysis, question_answering, or one of the "
        "gateway's own.",
    },
    "request_id": {
        **_TEXT,
        "description": "Comes back in the answer, and stands in the usage row unless a header x-request-id does.",
    },
    "tenant": {
        **_TEXT,
        "description": "For whom the query is; a tenant of the credential itself counts first.",
    },
    "max_cost_usd": {
        "type": ["number", "string"],
        "description": "Decimal USD. A query that can cost more is refused with 402.",
    },
    "dry_run": {"type": "boolean", "default": False, "description": "Estimate the cost; call no provider."},
    "expected_response_tokens": {"type": "integer", "minimum": 0, "description": "Default: 1024."},
    "max_tokens": {"type": "integer", "minimum": 1, "description": "Tokens that the answer may have."},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "stream": {"type": "boolean", "default": False, "description": "Answer with server-sent events."},
}
_LEGACY: Final = ("query", "model", "task_type", "request_id", "max_tokens", "temperature", "stream")
_GATEWAY: Final = (*_LEGACY[:2], "model_version", *_LEGACY[2:], "max_cost_usd", "dry_run", "tenant")
_ESTIMATE: Final = (
    "query",
    "model",
    "model_version",
    "task_type",
    "expected_response_tokens",
    "max_tokens",
    "request_id",
)


def query_paths(query: str, status: str, gateway_query: str, estimate: str) -> dict[str, Any]:
    """Return the operations of these paths."""
    return {
        query: {"post": _operation("Send a query", _LEGACY, streams=True)},
        status: {"get": _operation("Show the status of all providers", ())},
        gateway_query: {
            "post": _operation("Send a query, with costs and metrics in the answer", _GATEWAY, streams=True)
        },
        estimate: {"post": _operation("Estimate what a query costs", _ESTIMATE)},
    }


def _operation(summary: str, fields: tuple[str, ...], *, streams: bool = False) -> dict[str, Any]:
    error = {"description": "An error: {error, error_type, code, param, request_id}."}
    content: dict[str, Any] = {"application/json": {}}
    if streams:
        content["text/event-stream"] = {}
    operation: dict[str, Any] = {
        "tags": ["Query gateway"],
        "summary": summary,
        "security": [{"Credential": []}],
        "responses": {"200": {"description": "Success.", "content": content}, "4XX": error, "5XX": error},
    }
    if fields:
        schema = {
            "type": "object",
            "required": ["query"],
            "properties": {name: _FIELDS[name] for name in fields},
            "additionalProperties": False,
        }
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
