"""Builds Anthropic requests from a short user message and the fields that a test is about."""

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
    """Return the upstream request for a chat of one user message with these client fields."""
    body = {"model": "m", "messages": [USER]} | fields
    return ADAPTER.encode(chat(body), deployment(model, api_version=api_version), {})


def sent(model: str = "claude-opus-5", **fields: Any) -> dict[str, Any]:
    """Return its body, checked against the types of the SDK."""
    body: dict[str, Any] = json.loads(encoded(model, **fields).body)
    assert request_faults(body) == []
    return body


def refused(model: str = "claude-opus-5", **fields: Any) -> BadRequest:
    """Return the error that encoding raises."""
    with pytest.raises(BadRequest) as raised:
        encoded(model, **fields)
    return raised.value


def blocks(**message: Any) -> Any:
    """Return the content blocks that one message is translated to."""
    return sent(messages=[USER, message] if message["role"] != "user" else [message])["messages"][-1][
        "content"
    ]
