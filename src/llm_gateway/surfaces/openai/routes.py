"""The paths of OpenAI's API, and their part of the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.surfaces.base import Surface, SurfaceServices
from llm_gateway.surfaces.openai.bound_responses import BoundResponses
from llm_gateway.surfaces.openai.deployments import DEPLOYMENTS_PATH, deployment_handlers
from llm_gateway.surfaces.openai.dialect import CHAT, COMPLETION, EMBEDDING, RESPONSE
from llm_gateway.surfaces.openai.models import LIST_PATH, model_handler, model_list_handler
from llm_gateway.surfaces.openai.stored_responses import stored_response_handler
from llm_gateway.surfaces.openai.usage import USAGE_PATH, usage_handler, usage_list_handler

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
EMBEDDING_PATH = "/v1/embeddings"
RESPONSE_PATH = "/v1/responses"
_TEXT_OR_LIST = {"type": ["string", "array"]}
_HEADERS: Final = {
    "x-llm-gateway-cost": "`on`: the usage that a stream reports last has `cost_usd`.",
    "x-llm-gateway-dry-run": "`true`: answer with an estimate of the cost, and call no provider.",
    "x-llm-gateway-max-cost-usd": "Decimal USD, such as 0.01; a request that can cost more is refused with 402.",
    "x-llm-gateway-cache": "`on`, `refresh`, `off` or `bypass`. Default: what the model or the credential sets.",
    "x-llm-gateway-tags": "Tags of the usage row, such as `team=red, job=42`.",
    "x-llm-gateway-agent": "The agent that sends the request.",
    "x-llm-gateway-user": "The user for whom it is sent. Default: `user` of the body.",
}
_USAGE_PARAMETERS: Final = {
    "since": (
        "string",
        "Requests from this time on: an ISO 8601 time (UTC unless it has an offset) or Unix seconds.",
    ),
    "until": ("string", "Requests before this time, likewise."),
    "model": ("string", "Only requests of this public model."),
    "cursor": ("string", "`next_cursor` of the previous page; omit it for the first page."),
    "limit": ("integer", "Rows per page; 50 by default, at most 200."),
}


def openai_routes(services: SurfaceServices) -> RouteTable:
    """Return the routes of this surface."""
    plane, prober = services.plane, services.prober
    stored = stored_response_handler(plane)
    responses = BoundResponses(plane.gateway) if plane.gateway.options.binds_response_ids else RESPONSE
    return RouteTable(
        metered={
            ("POST", CHAT_PATH): plane.model_route(CHAT_PATH, CHAT),
            ("POST", COMPLETION_PATH): plane.model_route(COMPLETION_PATH, COMPLETION),
            ("POST", EMBEDDING_PATH): plane.model_route(EMBEDDING_PATH, EMBEDDING),
            ("POST", RESPONSE_PATH): plane.model_route(RESPONSE_PATH, responses),
        },
        exact={
            ("GET", LIST_PATH): model_list_handler(plane, prober),
            ("GET", USAGE_PATH): usage_list_handler(services),
        },
        prefix={
            ("GET", f"{LIST_PATH}/"): model_handler(plane, prober),
            ("GET", f"{USAGE_PATH}/"): usage_handler(services),
            **{(method, f"{RESPONSE_PATH}/"): stored for method in ("GET", "POST", "DELETE")},
        },
        errors=CHAT,
        root="/v1/",
        # Where clients for Azure and Groq look.
        aliases=("/openai/v1/", "/openai/"),
        metered_below={("POST", DEPLOYMENTS_PATH): deployment_handlers(plane)},
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
        **_usage_operations(),
    }


def _usage_operations() -> dict[str, Any]:
    listing, one = _operation("List what this key's requests used"), _operation("Show what one request used")
    for operation in (listing, one):
        operation["tags"] = ["Usage"]
        operation["responses"]["200"]["description"] = (
            "Rows of this key's requests, newest first. `cost_usd` is decimal USD; null if nothing was used, or if "
            "the cost is not known: then `unpriced` says why."
        )
    listing["parameters"] = [
        {"name": name, "in": "query", "required": False, "schema": {"type": kind}, "description": text}
        for name, (kind, text) in _USAGE_PARAMETERS.items()
    ]
    one["parameters"] = [{"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {USAGE_PATH: {"get": listing}, f"{USAGE_PATH}/{{request_id}}": {"get": one}}


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
    operation["parameters"] = [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text}
        for name, text in _HEADERS.items()
    ]
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    content: dict[str, Any] = {"application/json": {}}
    if streams:
        content["text/event-stream"] = {}
    operation["responses"]["200"]["content"] = content
    return operation


OPENAI: Final = Surface(name="openai", routes=openai_routes, openapi_paths=openai_paths)
