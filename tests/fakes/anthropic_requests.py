"""Asks the adapter for Anthropic's requests as the unit tests do: a user's greeting, and the fields in question."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.anthropic_wire import chat, deployment, request_faults

ADAPTER = AnthropicAdapter()
USER = {"role": "user", "content": "Hi"}
WEATHER = {"type": "function", "function": {"name": "weather"}}


def encoded(
    model: str = "claude-opus-5", *, api_version: str | None = None, **fields: Any
) -> UpstreamRequest:
    """Return the request for a user's greeting and these fields of the client's."""
    body = {"model": "m", "messages": [USER]} | fields
    return ADAPTER.encode(chat(body), deployment(model, api_version=api_version), {})


def sent(model: str = "claude-opus-5", **fields: Any) -> dict[str, Any]:
    """Return the body of it, which is one to the SDK's types."""
    body: dict[str, Any] = json.loads(encoded(model, **fields).body)
    assert request_faults(body) == []
    return body


def refused(model: str = "claude-opus-5", **fields: Any) -> BadRequest:
    """Return the error that there is in place of a request."""
    with pytest.raises(BadRequest) as raised:
        encoded(model, **fields)
    return raised.value


def blocks(**message: Any) -> Any:
    """Return how a message goes out."""
    return sent(messages=[USER, message] if message["role"] != "user" else [message])["messages"][-1][
        "content"
    ]
