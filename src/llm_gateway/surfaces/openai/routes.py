"""The paths of OpenAI's API, and what of them stands in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from llm_gateway.flow.probing import Prober
from llm_gateway.http.shell import RouteTable
from llm_gateway.http.surface import DataPlane
from llm_gateway.surfaces.openai.models import LIST_PATH, model_handler, model_list_handler
from llm_gateway.surfaces.openai.parsing import parse_chat, parse_completion

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"


def openai_routes(plane: DataPlane, prober: Prober) -> RouteTable:
    """Return the table of this surface."""
    return RouteTable(
        metered={
            ("POST", CHAT_PATH): plane.completion(CHAT_PATH, parse_chat),
            ("POST", COMPLETION_PATH): plane.completion(COMPLETION_PATH, parse_completion),
        },
        exact={("GET", LIST_PATH): model_list_handler(plane, prober)},
        below={("GET", f"{LIST_PATH}/"): model_handler(plane, prober)},
    )


def openai_paths() -> dict[str, Any]:
    """Return this surface's part of the OpenAPI document."""
    return {
        CHAT_PATH: {
            "post": _completion(
                "Create a chat completion", "messages", {"type": "array", "items": {"type": "object"}}
            )
        },
        COMPLETION_PATH: {
            "post": _completion("Create a completion (legacy)", "prompt", {"type": ["string", "array"]})
        },
        LIST_PATH: {"get": _operation("List the models this key may use")},
        f"{LIST_PATH}/{{model}}": {
            "get": {
                **_operation("Describe one model"),
                "parameters": [
                    {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
            }
        },
    }


def _operation(summary: str) -> dict[str, Any]:
    error = {"description": 'An error in OpenAI\'s shape: {"error": {message, type, param, code}}.'}
    return {
        "tags": ["OpenAI"],
        "summary": summary,
        "security": [{"Credential": []}],
        "responses": {"200": {"description": "As OpenAI answers."}, "4XX": error, "5XX": error},
    }


def _completion(summary: str, field: str, schema: dict[str, Any]) -> dict[str, Any]:
    required = ["model", field] if field == "messages" else ["model"]
    body = {
        "type": "object",
        "required": required,
        "properties": {
            "model": {"type": "string"},
            field: schema,
            "stream": {"type": "boolean", "default": False},
        },
        "additionalProperties": True,
        "description": "Every field of OpenAI's API, and any other, goes to the provider as it is.",
    }
    operation = _operation(summary)
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    operation["responses"]["200"]["content"] = {"application/json": {}, "text/event-stream": {}}
    return operation
