"""The paths of OpenAI's API, and their part of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from llm_gateway.flow.provider_checks.probes import Prober
from llm_gateway.http.data_plane import DataPlane
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.surfaces.base import Surface
from llm_gateway.surfaces.openai.dialect import CHAT, COMPLETION, EMBEDDING, RESPONSE
from llm_gateway.surfaces.openai.models import LIST_PATH, model_handler, model_list_handler
from llm_gateway.surfaces.openai.stored_responses import stored_response_handler

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
EMBEDDING_PATH = "/v1/embeddings"
RESPONSE_PATH = "/v1/responses"
_TEXT_OR_LIST = {"type": ["string", "array"]}


def openai_routes(plane: DataPlane, prober: Prober) -> RouteTable:
    """Return the routes of this surface."""
    stored = stored_response_handler(plane)
    return RouteTable(
        metered={
            ("POST", CHAT_PATH): plane.model_route(CHAT_PATH, CHAT),
            ("POST", COMPLETION_PATH): plane.model_route(COMPLETION_PATH, COMPLETION),
            ("POST", EMBEDDING_PATH): plane.model_route(EMBEDDING_PATH, EMBEDDING),
            ("POST", RESPONSE_PATH): plane.model_route(RESPONSE_PATH, RESPONSE),
        },
        exact={("GET", LIST_PATH): model_list_handler(plane, prober)},
        prefix={
            ("GET", f"{LIST_PATH}/"): model_handler(plane, prober),
            **{(method, f"{RESPONSE_PATH}/"): stored for method in ("GET", "POST", "DELETE")},
        },
        errors=CHAT,
        root="/v1/",
    )


def openai_paths() -> dict[str, Any]:
    """Return this surface's part of the OpenAPI document."""
    return {
        CHAT_PATH: {
            "post": _completion(
                "Create a chat completion", "messages", {"type": "array", "items": {"type": "object"}}
            )
        },
        COMPLETION_PATH: {"post": _completion("Create a completion (legacy)", "prompt", _TEXT_OR_LIST)},
        EMBEDDING_PATH: {"post": _completion("Embed texts", "input", _TEXT_OR_LIST, streams=False)},
        RESPONSE_PATH: {"post": _completion("Create a response", "input", _TEXT_OR_LIST)},
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
        "responses": {"200": {"description": "As in OpenAI's API."}, "4XX": error, "5XX": error},
    }


def _completion(summary: str, field: str, schema: dict[str, Any], *, streams: bool = True) -> dict[str, Any]:
    required = ["model", field] if field == "messages" or not streams else ["model"]
    properties = {"model": {"type": "string"}, field: schema}
    if streams:
        properties["stream"] = {"type": "boolean", "default": False}
    body = {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": True,
        "description": "All fields of OpenAI's API, and any others, are sent to the provider unchanged.",
    }
    operation = _operation(summary)
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    content: dict[str, Any] = {"application/json": {}}
    if streams:
        content["text/event-stream"] = {}
    operation["responses"]["200"]["content"] = content
    return operation


OPENAI: Final = Surface(name="openai", routes=openai_routes, openapi_paths=openai_paths)
