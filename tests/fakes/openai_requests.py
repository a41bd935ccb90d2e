"""Encodes requests for OpenAI-compatible providers as the unit tests need them."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.registry import ADAPTERS


def model_request(endpoint: EndpointName = "chat/completions", **fields: Any) -> ModelRequest:
    """Return a client's request with these fields alone."""
    return ModelRequest(
        endpoint=endpoint,
        model="public",
        stream=bool(fields.get("stream")),
        wants_usage="stream_options" in fields,
        fields={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()},
    )


def enabled_provider(kind: str, **settings: Any) -> EnabledProvider:
    """Return a provider of this kind, at its default address unless `settings` has an `api_base`."""
    adapter = ADAPTERS[kind]
    values: dict[str, Any] = {"id": 1, "provider_key": "p", "provider_type": kind}
    return EnabledProvider(
        Provider(**{**values, "api_base": adapter.kind.default_api_base, **settings}), adapter.kind
    )


def encoded(kind: str, request: ModelRequest, model: str = "m", **settings: Any) -> UpstreamRequest:
    """Return the upstream request for the upstream model `model`."""
    return ADAPTERS[kind].encode(request, enabled_provider(kind, **settings).deployment(model), {})


def body(sent: UpstreamRequest) -> Any:
    """Return the decoded body of an upstream request."""
    return msgspec.json.decode(sent.body)
