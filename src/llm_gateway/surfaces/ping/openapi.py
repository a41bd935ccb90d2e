"""dgen-ping's part of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from llm_gateway.surfaces.ping.paths import (
    CHAT_PATH,
    COMPLETION_PATH,
    GENERATE_PATH,
    INFO_PATH,
    TELEMETRY_PATH,
    VERIFY_PATH,
)

_TEXT: Final = {"type": "string"}
_SIZE: Final = {"type": "integer", "minimum": 0, "description": "Bytes."}
_TIME: Final = {"type": "string", "format": "date-time"}
_MESSAGES: Final = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {"role": _TEXT, "content": {"type": ["string", "array"]}},
    },
    "description": "In place of `prompt`: OpenAI's messages.",
}
_COMPLETION: Final[dict[str, Any]] = {
    "prompt": {"type": "string", "minLength": 1},
    "model": {"type": "string", "description": "Default: DEFAULT_MODEL."},
    "temperature": {
        "type": "number",
        "minimum": 0,
        "maximum": 2,
        "description": "Default: DEFAULT_TEMPERATURE.",
    },
    "max_tokens": {"type": "integer", "minimum": 1, "description": "Default: DEFAULT_MAX_TOKENS."},
    "soeid": {"type": "string", "description": "Default: the user of the token."},
    "project_name": {"type": "string", "default": "default_project"},
    "stream": {
        "type": "boolean",
        "default": False,
        "description": 'Send events `{"completion": "<part>"}`; the last one has `model` and `metadata`.',
    },
}
_REPLY: Final = {
    "completion": _TEXT,
    "model": _TEXT,
    "metadata": {
        "type": "object",
        "properties": {
            "request_id": _TEXT,
            "latency": {"type": "number", "description": "Seconds."},
            "tokens": {
                "type": "object",
                "properties": {
                    name: {"type": ["integer", "null"]} for name in ("prompt", "completion", "total")
                },
            },
            "timestamp": _TIME,
        },
    },
}
_EVENT: Final = {
    "event_type": {"type": "string", "minLength": 1},
    "request_id": _TEXT,
    "client_ip": _TEXT,
    "metadata": {
        "type": "object",
        "properties": {
            **dict.fromkeys(
                ("client_id", "soeid", "project_name", "target_service", "endpoint", "method"), _TEXT
            ),
            "status_code": {"type": "integer", "minimum": 0, "maximum": 999},
            "latency_ms": {"type": "number", "minimum": 0, "description": "Milliseconds."},
            "request_size": _SIZE,
            "response_size": _SIZE,
        },
        "additionalProperties": True,
    },
}


def ping_paths() -> dict[str, Any]:
    """Return this surface's part of the OpenAPI document."""
    chat = _with_token(
        "Answer a prompt, or a conversation", {**_COMPLETION, "messages": _MESSAGES}, (), _REPLY
    )
    completion = _with_token("Complete a prompt", _COMPLETION, ("prompt",), _REPLY)
    for operation in (chat, completion):
        operation["responses"]["200"]["content"]["text/event-stream"] = {}
    return {
        COMPLETION_PATH: {"post": completion},
        CHAT_PATH: {"post": chat},
        GENERATE_PATH: {
            "post": _with_secret(
                "Make a token for a user",
                {"soeid": {"type": "string", "default": "default_user"}},
                (),
                {"token": _TEXT, "soeid": _TEXT, "timestamp": _TIME},
            )
        },
        VERIFY_PATH: {
            "post": _with_secret(
                "Tell whether a token is valid, and whose it is",
                {"token": _TEXT},
                ("token",),
                {
                    "valid": {"type": "boolean"},
                    "data": {"type": "object", "properties": {"soeid": _TEXT}},
                    "detail": {"type": "string", "description": "Why the token is not valid."},
                    "timestamp": _TIME,
                },
            )
        },
        TELEMETRY_PATH: {
            "post": _with_token(
                "Report an event",
                _EVENT,
                ("event_type",),
                {"id": _TEXT, "status": {"type": "string", "const": "logged"}, "timestamp": _TIME},
            )
        },
        INFO_PATH: {
            "get": {
                "tags": ["dgen-ping"],
                "summary": "Describe the service: version, status, paths, defaults",
                "responses": {"200": {"description": "JSON without secrets."}},
            }
        },
    }


def _with_token(
    summary: str, fields: dict[str, Any], required: tuple[str, ...], reply: dict[str, Any]
) -> dict[str, Any]:
    text = "A token of POST /generate-token, a credential of the gateway, or 1 if ALLOW_DEFAULT_TOKEN is set."
    return _operation(summary, "X-API-Token", text, fields, required, reply)


def _with_secret(
    summary: str, fields: dict[str, Any], required: tuple[str, ...], reply: dict[str, Any]
) -> dict[str, Any]:
    return _operation(summary, "X-Token-Secret", "The gateway's TOKEN_SECRET.", fields, required, reply)


def _operation(
    summary: str,
    header: str,
    header_text: str,
    fields: dict[str, Any],
    required: tuple[str, ...],
    reply: dict[str, Any],
) -> dict[str, Any]:
    error = {"description": 'An error: {"detail", "error": {type, code, param, request_id}}.'}
    body: dict[str, Any] = {"type": "object", "properties": fields, "additionalProperties": False}
    if required:
        body["required"] = [*required]
    return {
        "tags": ["dgen-ping"],
        "summary": summary,
        "parameters": [
            {"name": header, "in": "header", "required": False, "schema": _TEXT, "description": header_text}
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": {"type": "object", "properties": reply}}},
            },
            "4XX": error,
            "5XX": error,
        },
    }
